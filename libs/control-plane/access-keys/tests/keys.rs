//! What becomes of keys, step by step and in any order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use access_keys::{
    AccessKey, AccessKeys, Effect, Event, KeyError, MAX_KEY_LIFETIME, MAX_OVERLAP, NewKey, Rotation,
};
use bearer_auth::{Scope, Scopes, TokenDigest};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const START: SystemTime = UNIX_EPOCH;

fn digest(number: u8) -> TokenDigest {
    format!("{number:02x}").repeat(32).parse().unwrap()
}

fn key_id(number: u8) -> Arc<str> {
    digest(number).short().into()
}

fn create(number: u8, request: NewKey) -> Event {
    Event::Create {
        digest: digest(number),
        request,
    }
}

fn operator(name: &str) -> NewKey {
    NewKey::new(name, Scope::Operator.into())
}

fn client(name: &str) -> NewKey {
    NewKey::new(name, Scope::Client.into())
}

fn rotate(number: u8, token: u8, rotation: Rotation) -> Event {
    Event::Rotate {
        key_id: key_id(number),
        digest: digest(token),
        rotation,
    }
}

fn revoke(number: u8) -> Event {
    Event::Revoke {
        key_id: key_id(number),
    }
}

/// Keys beside an API token.
fn keys() -> AccessKeys {
    AccessKeys::restore(vec![], true)
}

fn saved(effects: &[Effect]) -> &AccessKey {
    match effects {
        [Effect::Save(key)] => key,
        other => panic!("{other:?}"),
    }
}

// spec: AUTH-30
#[test]
fn a_key_is_created_with_what_was_asked_for() {
    let mut keys = keys();
    let request = NewKey {
        node: Some("gpu-1".parse().unwrap()),
        lifetime: Some(HOUR),
        ..NewKey::new("a node", Scope::Node.into())
    };
    let effects = keys.apply(create(1, request), START + HOUR).unwrap();
    let key = saved(&effects);
    assert_eq!(
        (&*key.name, key.key_id.as_ref()),
        ("a node", "010101010101")
    );
    assert_eq!(
        (key.created_at_ms, key.expires_at_ms),
        (3_600_000, Some(7_200_000))
    );
    assert!(key.is_valid(START + HOUR) && !key.is_valid(START + 2 * HOUR));
    let json = serde_json::to_value(key).unwrap();
    assert_eq!(
        serde_json::from_value::<AccessKey>(json.clone()).unwrap(),
        *key
    );
    assert_eq!(json["scopes"], serde_json::json!(["node"]));
    let [credential] = keys.credentials().try_into().unwrap();
    assert_eq!(credential.digest, digest(1));
    assert_eq!(credential.identity.node.as_ref().unwrap().as_str(), "gpu-1");
}

// spec: AUTH-30
#[test]
fn bad_requests_name_the_field() {
    let mut keys = keys();
    keys.apply(create(1, client("taken")), START).unwrap();
    let node = || NewKey::new("n", Scope::Node.into());
    let with = |lifetime: Duration| NewKey {
        lifetime: Some(lifetime),
        ..client("x")
    };
    for (request, field) in [
        (client(""), "name: must"),
        (client(" x"), "name: must"),
        (client("a\nb"), "name: must"),
        (client(&"x".repeat(65)), "name: must"),
        (client("taken"), "name: there is"),
        (NewKey::new("x", Scopes::default()), "scopes: "),
        (node(), "node: "),
        (
            NewKey {
                node: Some("a".parse().unwrap()),
                ..client("x")
            },
            "node: only",
        ),
        (with(Duration::ZERO), "expires_in_ms: "),
        (with(MAX_KEY_LIFETIME + HOUR), "expires_in_ms: "),
    ] {
        let error = keys
            .apply(create(2, request), START)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(field), "{error}");
    }
    let long = Rotation {
        overlap: Some(MAX_OVERLAP + HOUR),
        lifetime: None,
    };
    let error = keys.apply(rotate(1, 2, long), START).unwrap_err();
    assert_eq!(error, KeyError::BadOverlap);
    assert_eq!(keys.len(), 1);
}

// spec: AUTH-31
#[test]
fn a_replaced_token_stays_valid_for_the_overlap() {
    let mut keys = keys();
    keys.apply(create(1, client("a")), START).unwrap();
    keys.apply(rotate(1, 2, Rotation::default()), START)
        .unwrap();
    let mut valid: Vec<_> = keys.credentials();
    valid.sort_by_key(|credential| credential.valid_until);
    let shown: Vec<_> = valid
        .iter()
        .map(|credential| (credential.digest, credential.valid_until))
        .collect();
    assert_eq!(shown, [(digest(2), None), (digest(1), Some(START + HOUR))]);
    // A third token ends the first one: a key has two at most.
    keys.apply(rotate(1, 3, Rotation::default()), START)
        .unwrap();
    assert!(
        keys.credentials()
            .iter()
            .all(|valid| valid.digest != digest(1))
    );
    // An expired key needs a new end.
    let short = NewKey {
        lifetime: Some(HOUR),
        ..client("b")
    };
    keys.apply(create(5, short), START).unwrap();
    let later = START + 2 * HOUR;
    let again = keys.apply(rotate(5, 6, Rotation::default()), later);
    assert_eq!(again, Err(KeyError::Expired("b".into())));
    let longer = Rotation {
        overlap: Some(Duration::ZERO),
        lifetime: Some(HOUR),
    };
    keys.apply(rotate(5, 6, longer), later).unwrap();
    assert!(keys.get(&key_id(5)).unwrap().is_valid(later));
}

// spec: AUTH-32
#[test]
fn a_revoked_key_is_remembered_for_a_while() {
    let mut keys = keys();
    keys.apply(create(1, client("a")), START).unwrap();
    let effects = keys.apply(revoke(1), START).unwrap();
    assert_eq!(saved(&effects).revoked_at_ms, Some(0));
    assert!(
        keys.credentials()
            .iter()
            .all(|credential| credential.is_revoked)
    );
    // Again, later: nothing changes.
    let again = keys.apply(revoke(1), START + HOUR).unwrap();
    assert_eq!(saved(&again).revoked_at_ms, Some(0));
    let rotated = keys.apply(rotate(1, 2, Rotation::default()), START);
    assert_eq!(rotated, Err(KeyError::Revoked("a".into())));
    assert_eq!(
        keys.apply(revoke(9), START),
        Err(KeyError::Unknown("090909090909".into()))
    );
    // Its name is free.
    keys.apply(create(2, client("a")), START).unwrap();
    // After a month it is forgotten, with the next change.
    let later = START + 24 * 30 * HOUR;
    let effects = keys.apply(create(3, client("c")), later).unwrap();
    assert_eq!(effects[0], Effect::Forget(key_id(1)));
    assert!(keys.get(&key_id(1)).is_none() && keys.len() == 2);
}

// spec: AUTH-33
#[test]
fn operators_are_not_locked_out_without_an_api_token() {
    let mut keys = AccessKeys::default();
    let ends = NewKey {
        lifetime: Some(HOUR),
        ..operator("o")
    };
    for first in [client("c"), ends] {
        let refused = keys.apply(create(1, first), START);
        assert_eq!(refused, Err(KeyError::LocksOut));
    }
    keys.apply(create(1, operator("o")), START).unwrap();
    keys.apply(create(2, client("c")), START).unwrap();
    assert_eq!(keys.apply(revoke(1), START), Err(KeyError::LocksOut));
    let ends = Rotation {
        lifetime: Some(HOUR),
        ..Rotation::default()
    };
    assert_eq!(
        keys.apply(rotate(1, 4, ends), START),
        Err(KeyError::LocksOut)
    );
    keys.apply(rotate(1, 4, Rotation::default()), START)
        .unwrap();
    keys.apply(create(3, operator("p")), START).unwrap();
    keys.apply(revoke(1), START).unwrap();
    assert!(!keys.locks_out());
    // The API token was there when these keys were made, and is gone.
    let stored = keys.page(None, 10).keys;
    let clients = stored.iter().filter(|key| &*key.name == "c");
    let clients = clients.map(|key| AccessKey::clone(key)).collect();
    assert!(AccessKeys::restore(clients, false).locks_out());
}

#[test]
fn pages_hold_every_key_once() {
    let mut keys = keys();
    for number in 0..7 {
        keys.apply(create(number, client(&format!("k{number}"))), START)
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = keys.page(after.as_deref(), 3);
        seen.extend(page.keys.iter().map(|key| Arc::clone(&key.key_id)));
        after = seen.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (0..7).map(key_id).collect::<Vec<_>>());
}

fn any_event() -> impl Strategy<Value = (Event, u32)> {
    let number = 0_u8..6;
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let scope = prop::sample::select(vec![Scope::Client, Scope::Operator]);
    let life = prop::option::of((1_u32..100).prop_map(|hours| hours * HOUR));
    let create =
        (number.clone(), name, scope, life.clone()).prop_map(|(number, name, scope, life)| {
            let request = NewKey {
                lifetime: life,
                ..NewKey::new(name, scope.into())
            };
            create(number, request)
        });
    let rotate = (number.clone(), 6_u8..60, life).prop_map(|(number, token, lifetime)| {
        rotate(
            number,
            token,
            Rotation {
                overlap: None,
                lifetime,
            },
        )
    });
    let event = prop_oneof![create, rotate, number.prop_map(revoke)];
    (event, 0_u32..200)
}

proptest! {
    // spec: AUTH-33
    /// Effects replayed into an empty store give the same keys; a refused event changes nothing;
    /// and where no API token is set, an operator can always get in.
    #[test]
    fn the_store_has_what_memory_has(
        has_api_token: bool,
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let mut keys = AccessKeys::restore(vec![], has_api_token);
        let mut stored: std::collections::BTreeMap<Arc<str>, AccessKey> = Default::default();
        let mut now = START;
        for (event, hours) in events {
            now += hours * HOUR;
            let before = keys.page(None, 1000);
            match keys.apply(event, now) {
                Err(_) => prop_assert_eq!(keys.page(None, 1000), before),
                Ok(effects) => for effect in effects {
                    match effect {
                        Effect::Save(key) => {
                            stored.insert(Arc::clone(&key.key_id), AccessKey::clone(&key));
                        }
                        Effect::Forget(key_id) => {
                            stored.remove(&key_id);
                        }
                    }
                }
            }
            let restored = AccessKeys::restore(stored.values().cloned().collect(), has_api_token);
            prop_assert_eq!(restored.page(None, 1000), keys.page(None, 1000));
            prop_assert!(!keys.locks_out());
            let living: Vec<_> = keys.page(None, 1000).keys;
            let valid = living.iter().filter(|key| key.is_valid(now));
            let mut names: Vec<_> = valid.map(|key| &key.name).collect();
            names.sort();
            let all = names.len();
            names.dedup();
            prop_assert_eq!(names.len(), all, "living keys have different names");
        }
    }
}
