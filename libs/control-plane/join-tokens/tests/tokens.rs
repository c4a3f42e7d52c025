//! Who may join, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bearer_auth::TokenDigest;
use join_tokens::{
    Effect, Event, IssuedCertificate, JoinError, JoinState, JoinToken, JoinTokenError,
    MAX_JOIN_TOKENS, MAX_LIFETIME, MAX_NODE_LIFETIME, MAX_USES, NewJoinToken, NodeCredentials,
};
use pool_registry_types::NodeId;
use proptest::prelude::*;

const NOW: SystemTime = UNIX_EPOCH;
const HOUR: Duration = Duration::from_secs(3600);

fn digest(number: u32) -> TokenDigest {
    format!("{number:08x}").repeat(8).parse().unwrap()
}

fn create(number: u32, request: NewJoinToken) -> Event {
    Event::Create {
        digest: digest(number),
        request,
    }
}

fn join(number: u32, node: &str) -> Event {
    Event::Use {
        digest: digest(number),
        node: node.parse().unwrap(),
        certificate: None,
    }
}

fn refused(state: &mut JoinState, event: Event, now: SystemTime) -> JoinError {
    match state.apply(event, now) {
        Err(JoinTokenError::Join(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A state as its effects leave it in a store.
fn stored(effects: &[Effect]) -> JoinState {
    let mut tokens = std::collections::BTreeMap::new();
    let mut revoked = std::collections::BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::SaveToken(token) => {
                let text = serde_json::to_string(token).unwrap();
                tokens.insert(token.token_id.clone(), serde_json::from_str(&text).unwrap());
            }
            Effect::ForgetToken(token_id) => drop(tokens.remove(token_id)),
            Effect::SaveNode(node) => {
                let text = serde_json::to_string(node).unwrap();
                revoked.insert(node.node_id.clone(), serde_json::from_str(&text).unwrap());
            }
            Effect::ForgetNode(node) => drop(revoked.remove(node)),
        }
    }
    JoinState::restore(
        tokens.into_values().collect(),
        revoked.into_values().collect(),
    )
}

// spec: JOIN-10, JOIN-11
#[test]
fn a_token_has_uses_an_end_and_a_node() {
    let mut state = JoinState::default();
    assert_eq!(refused(&mut state, join(1, "a"), NOW), JoinError::Unknown);
    let two = NewJoinToken {
        uses: 2,
        ..NewJoinToken::default()
    };
    state.apply(create(1, two), NOW).unwrap();
    let just_in_time = NOW + HOUR - Duration::from_millis(1);
    state.apply(join(1, "a"), just_in_time).unwrap();
    assert_eq!(
        refused(&mut state, join(1, "b"), NOW + HOUR),
        JoinError::Expired
    );
    state.apply(join(1, "b"), NOW).unwrap();
    assert_eq!(refused(&mut state, join(1, "c"), NOW), JoinError::UsedUp);
    assert_eq!(refused(&mut state, join(1, "a"), NOW), JoinError::UsedUp);
    let bound = NewJoinToken {
        node: Some("a".parse().unwrap()),
        ..NewJoinToken::default()
    };
    state.apply(create(2, bound), NOW).unwrap();
    let error = refused(&mut state, join(2, "b"), NOW);
    assert_eq!(
        error.to_string(),
        "node_id: this join token is for the node a only"
    );
    // The refusal cost no use.
    state.apply(join(2, "a"), NOW).unwrap();
    state
        .apply(create(3, NewJoinToken::default()), NOW)
        .unwrap();
    let token_id = digest(3).short().into();
    state.apply(Event::Revoke { token_id }, NOW).unwrap();
    assert_eq!(refused(&mut state, join(3, "a"), NOW), JoinError::Revoked);
    // Part of a digest is no digest.
    let whole = format!("{:08x}", 2).repeat(8);
    let other: TokenDigest = format!("{}f", &whole[..63]).parse().unwrap();
    let event = Event::Use {
        digest: other,
        node: "a".parse().unwrap(),
        certificate: None,
    };
    assert_eq!(refused(&mut state, event, NOW), JoinError::Unknown);
}

// spec: JOIN-10
#[test]
fn a_bad_field_is_named() {
    let mut state = JoinState::default();
    for (uses, lifetime, field) in [
        (0, HOUR, "uses"),
        (MAX_USES + 1, HOUR, "uses"),
        (1, Duration::ZERO, "expires_in_ms"),
        (1, MAX_LIFETIME + Duration::from_millis(1), "expires_in_ms"),
    ] {
        let request = NewJoinToken {
            node: None,
            uses,
            lifetime,
        };
        let error = state.apply(create(1, request), NOW).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
    let token_id = "no-such-one".into();
    let error = state.apply(Event::Revoke { token_id }, NOW).unwrap_err();
    assert!(matches!(error, JoinTokenError::Unknown(_)));
    for number in 0..MAX_JOIN_TOKENS {
        let number = u32::try_from(number).unwrap();
        state
            .apply(create(number, NewJoinToken::default()), NOW)
            .unwrap();
    }
    let one_more = create(u32::MAX, NewJoinToken::default());
    let error = state.apply(one_more.clone(), NOW).unwrap_err();
    assert_eq!(error, JoinTokenError::TooMany);
    // They end after an hour, and are forgotten 30 days later.
    let later = NOW + HOUR + MAX_LIFETIME;
    let effects = state.apply(one_more, later).unwrap();
    assert_eq!(effects.len(), MAX_JOIN_TOKENS + 1);
    assert_eq!(state.tokens().count(), 1);
}

// spec: JOIN-21
#[test]
fn a_revocation_is_remembered_while_a_certificate_may_live() {
    let mut state = JoinState::default();
    let revoke = |node: &str| Event::RevokeNode {
        node: node.parse().unwrap(),
    };
    let node = "a".parse().unwrap();
    assert_eq!(state.revoked_at(&node), None);
    state.apply(revoke("a"), NOW + HOUR).unwrap();
    // A clock that is set back shortens nothing.
    state.apply(revoke("a"), NOW).unwrap();
    assert_eq!(state.revoked_at(&node), Some(NOW + HOUR));
    assert_eq!(state.revocations().len(), 1);
    let effects = state
        .apply(revoke("b"), NOW + HOUR + MAX_NODE_LIFETIME)
        .unwrap();
    assert_eq!(effects.len(), 2);
    assert_eq!(state.revoked_at(&node), None);
}

// spec: JOIN-60, JOIN-62
#[test]
fn a_node_with_a_certificate_gives_way_to_a_token_for_it_only() {
    let mut state = JoinState::default();
    let request = |node: Option<&str>| NewJoinToken {
        node: node.map(|node| node.parse().unwrap()),
        uses: 9,
        ..NewJoinToken::default()
    };
    state.apply(create(1, request(None)), NOW).unwrap();
    state.apply(create(2, request(Some("a"))), NOW).unwrap();
    let at = |number: u32, node: &str, host: &str| Event::Use {
        digest: digest(number),
        node: node.parse().unwrap(),
        certificate: Some(IssuedCertificate::new(vec![host.to_owned()], NOW + HOUR)),
    };
    let mut all = state.apply(at(1, "a", "10.0.0.1"), NOW).unwrap();
    let id: NodeId = "a".parse().unwrap();
    // Neither the node nor its host, with or without a certificate of one's own.
    for (event, expected) in [
        (
            at(1, "a", "10.0.0.9"),
            JoinError::HasCredentials(id.clone()),
        ),
        (join(1, "a"), JoinError::HasCredentials(id.clone())),
        (
            at(1, "b", "10.0.0.1"),
            JoinError::HostOfOther {
                host: "10.0.0.1".to_owned(),
                other: id.clone(),
            },
        ),
    ] {
        assert_eq!(refused(&mut state, event, NOW), expected);
    }
    // Every machine has loopback.
    state.apply(at(1, "c", "127.0.0.1"), NOW).unwrap();
    state.apply(at(1, "d", "127.0.0.1"), NOW).unwrap();
    all.extend(state.apply(at(2, "a", "10.0.0.9"), NOW).unwrap());
    // The host that it had is free.
    state.apply(at(1, "b", "10.0.0.1"), NOW).unwrap();
    // A store has it, until it is revoked or expires.
    let tokens: Vec<_> = state
        .tokens()
        .map(|token| JoinToken::clone(token))
        .collect();
    let nodes = all.into_iter().filter_map(|effect| match effect {
        Effect::SaveNode(node) => Some(NodeCredentials::clone(&node)),
        _ => None,
    });
    let nodes: Vec<_> = nodes.collect();
    let mut state = JoinState::restore(tokens, vec![nodes.last().unwrap().clone()]);
    let error = refused(&mut state.clone(), at(1, "a", "10.0.0.9"), NOW);
    assert_eq!(error, JoinError::HasCredentials(id.clone()));
    let renewed = Event::Renew {
        node: id.clone(),
        certificate: IssuedCertificate::new(vec!["10.0.0.9".to_owned()], NOW + 2 * HOUR),
    };
    let mut renewing = state.clone();
    renewing
        .apply(create(3, request(None)), NOW + HOUR)
        .unwrap();
    assert!(
        renewing
            .clone()
            .apply(at(3, "a", "10.0.0.9"), NOW + HOUR)
            .is_ok()
    );
    renewing.apply(renewed, NOW + HOUR).unwrap();
    let error = refused(&mut renewing, at(3, "a", "10.0.0.9"), NOW + HOUR);
    assert_eq!(error, JoinError::HasCredentials(id.clone()));
    let effects = state.apply(Event::RevokeNode { node: id }, NOW).unwrap();
    assert_eq!(effects.len(), 1);
    state.apply(at(1, "a", "10.0.0.9"), NOW).unwrap();
}

proptest! {
    /// However events are mixed, a token is used as often as it allows, and a store has the state.
    // spec: JOIN-11
    #[test]
    fn no_token_is_used_more_often_than_it_allows(
        events in prop::collection::vec((0_u32..3, 0_u8..4, 0_u64..7200), 0..60),
    ) {
        let mut state = JoinState::default();
        let mut all = Vec::new();
        let mut joined = [0; 3];
        for (number, kind, at) in events {
            let now = NOW + Duration::from_secs(at);
            let event = match kind {
                0 => create(number, NewJoinToken { uses: number + 1, ..NewJoinToken::default() }),
                1 => Event::Revoke { token_id: digest(number).short().into() },
                _ => join(number, "a"),
            };
            let is_join = kind > 1;
            if let Ok(effects) = state.apply(event, now) {
                all.extend(effects);
                joined[number as usize] += u32::from(is_join);
            }
            let restored = stored(&all);
            prop_assert!(state.tokens().eq(restored.tokens()));
        }
        for (uses, most) in joined.into_iter().zip(1..) {
            prop_assert!(uses <= most);
        }
    }
}
