//! State as a control plane makes it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use access_keys::{AccessKeys, Event, NewKey};
use bearer_auth::{KeyLimits, Scope, UncheckedKeyLimits};
use join_tokens::{Event as JoinEvent, JoinState, NewJoinToken};
use node_ca::{CaDirectory, Host};
use registry_store::{StoredState, conformance::node};
use state_export::{ImportOptions, Profile, StateExport};
use usage_log::{Day, Usage, UsageRow};

/// How much of each kind there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    pub(crate) nodes: usize,
    pub(crate) keys: usize,
    pub(crate) tokens: usize,
    pub(crate) revoked: usize,
    pub(crate) usage: usize,
}

/// The digest of a token, by a number.
fn digest(number: usize) -> bearer_auth::TokenDigest {
    format!("{number:012x}{:052x}", number * 7).parse().unwrap()
}

/// State with so much of each kind.
pub(crate) fn state(profile: Profile, amounts: Amounts, seed: u64) -> StateExport {
    let now = UNIX_EPOCH + Duration::from_secs(1_763_884_800 + seed);
    let mut export = StateExport::new(profile, "0.1.0", now);
    if profile == Profile::Home {
        export.node_id = Some("this-machine".parse().unwrap());
    }
    let names = (0..amounts.nodes).map(|number| format!("gpu-{number:03}"));
    let mut keys = AccessKeys::default();
    for number in 0..amounts.keys {
        let mut request = NewKey::new(format!("key \u{1f999} {number}"), Scope::Operator.into());
        if number % 3 == 1 {
            request.lifetime = Some(Duration::from_millis(1 + seed));
            request.limits = limits(seed);
        }
        let event = Event::Create {
            digest: digest(number),
            request,
        };
        keys.apply(event, now).unwrap();
    }
    let mut joins = JoinState::default();
    for number in 0..amounts.tokens {
        let event = JoinEvent::Create {
            digest: digest(number),
            request: NewJoinToken::default(),
        };
        joins.apply(event, now).unwrap();
    }
    let mut node_credentials = Vec::new();
    for number in 0..amounts.revoked {
        let node = format!("gone-{number:03}").parse().unwrap();
        let effects = joins.apply(JoinEvent::RevokeNode { node }, now).unwrap();
        node_credentials.extend(effects.into_iter().filter_map(|effect| match effect {
            join_tokens::Effect::SaveNode(node) => Some(Arc::unwrap_or_clone(node)),
            _ => None,
        }));
    }
    export.records = StoredState {
        nodes: names.map(|name| node(&name, now)).collect(),
        keys: keys
            .page(None, usize::MAX)
            .keys
            .into_iter()
            .map(Arc::unwrap_or_clone)
            .collect(),
        join_tokens: joins.tokens().map(|token| token.as_ref().clone()).collect(),
        node_credentials,
    };
    export.usage = (0..amounts.usage).map(|number| row(number, seed)).collect();
    export
        .usage
        .sort_by_key(|row| (row.day, row.key_id.clone(), row.model.clone()));
    export
}

fn limits(seed: u64) -> KeyLimits {
    let unchecked = UncheckedKeyLimits {
        models: Some(vec!["tiny".parse().unwrap()]),
        requests_per_minute: Some(1 + seed % 1000),
        ..UncheckedKeyLimits::default()
    };
    unchecked.try_into().unwrap()
}

fn row(number: usize, seed: u64) -> UsageRow {
    UsageRow {
        day: Day::of(UNIX_EPOCH + Duration::from_secs(86_400 * (20_000 + number as u64 % 3))),
        key_id: format!("{number:012x}").into(),
        key_name: format!("key {number}").into(),
        model: ["tiny", "org/large"][number % 2].into(),
        usage: Usage {
            requests: seed,
            input_tokens: u64::MAX,
            output_tokens: number as u64,
            slot_ms: 1,
        },
    }
}

/// Some of everything.
pub(crate) fn some(profile: Profile) -> StateExport {
    let amounts = Amounts {
        nodes: 3,
        keys: 5,
        tokens: 2,
        revoked: 2,
        usage: 9,
    };
    state(profile, amounts, 7)
}

/// Makes a CA.
pub(crate) fn make_ca(directory: &Path) {
    let hosts = [Host::new("control.example").unwrap()];
    CaDirectory::init(directory, &hosts, SystemTime::now()).unwrap();
}

/// An import into a new directory.
pub(crate) fn into(directory: &Path) -> ImportOptions {
    ImportOptions {
        state_dir: directory.to_owned(),
        ca_dir: None,
        without_ca: false,
        replace: false,
    }
}
