//! The test suite of every store.
//!
//! ```
//! registry_store::conformance::check(|| Box::new(registry_store::MemoryStore::default()));
//! ```

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a suite of tests fails by panicking"
)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use access_keys::{AccessKey, AccessKeys, Effect, Event, NewKey};
use bearer_auth::Scope;
use join_tokens::{Effect as JoinEffect, Event as JoinEvent, JoinState, NewJoinToken};
use pool_registry_types::{
    HttpUrl, MachineId, ModelName, NodeId, PoolId, PoolStatus, RegisterRequest, Slots, Text,
};
use service_registry::{PersistedDrain, PersistedNode, PersistedRegistration};

use crate::{Change, JoinStore, KeyStore, RegistryStore, StateStore, StoredNode};

/// Enough for more than one page of a file.
const MANY: usize = 300;

/// Checks the stores that `empty` makes. Each must be new and empty.
pub fn check(empty: impl Fn() -> Box<dyn RegistryStore>) {
    a_new_store_is_empty(&*empty());
    what_is_put_is_loaded(&*empty());
    the_last_put_counts(&*empty());
    what_is_removed_is_gone(&*empty());
    changes_take_effect_in_order(&*empty());
    changes_may_be_repeated(&*empty());
    many_nodes_come_and_go(&*empty());
    threads_do_not_lose_each_others_changes(&*empty());
}

/// Checks stores of keys that `empty` makes. Each must be new and empty.
pub fn check_keys(empty: impl Fn() -> Box<dyn KeyStore>) {
    let store = &*empty();
    let load = || store.load_keys().expect("a healthy store can be read");
    let apply = |changes: &[Effect]| {
        store
            .apply_keys(changes)
            .expect("a healthy store takes changes");
    };
    assert_eq!(load(), []);
    apply(&[]);
    let mut keys = AccessKeys::default();
    let mut all = Vec::new();
    for number in 0..MANY {
        let event = Event::Create {
            digest: format!("{number:08x}").repeat(8).parse().expect("a digest"),
            request: NewKey::new(format!("key {number}"), Scope::Operator.into()),
        };
        all.extend(keys.apply(event, UNIX_EPOCH).expect("a new key"));
    }
    apply(&all);
    // Made again, they change nothing.
    apply(&all);
    let stored = |keys: &AccessKeys| -> Vec<AccessKey> {
        let page = keys.page(None, usize::MAX).keys;
        page.iter().map(|key| AccessKey::clone(key)).collect()
    };
    assert_eq!(load(), stored(&keys), "sorted by id");
    let first = load().remove(0).key_id;
    let revoked = keys.apply(
        Event::Revoke {
            key_id: first.clone(),
        },
        UNIX_EPOCH,
    );
    apply(&revoked.expect("a known key"));
    assert_eq!(load(), stored(&keys), "the last record counts");
    apply(&[Effect::Forget(first), Effect::Forget("never-there".into())]);
    assert_eq!(load(), stored(&keys)[1..]);
}

/// Checks stores of join tokens that `empty` makes. Each must be new and empty.
pub fn check_joins(empty: impl Fn() -> Box<dyn JoinStore>) {
    let store = &*empty();
    let load = || store.load_joins().expect("a healthy store can be read");
    let apply = |changes: &[JoinEffect]| {
        store
            .apply_joins(changes)
            .expect("a healthy store takes changes");
    };
    assert_eq!(load(), (vec![], vec![]));
    apply(&[]);
    let mut state = JoinState::default();
    let mut all = Vec::new();
    for number in 0..MANY {
        let digest = format!("{number:08x}").repeat(8);
        let event = JoinEvent::Create {
            digest: digest.parse().expect("a digest"),
            request: NewJoinToken::default(),
        };
        all.extend(state.apply(event, UNIX_EPOCH).expect("a new token"));
        let node = id(&format!("node-{number}"));
        let event = JoinEvent::RevokeNode { node };
        all.extend(state.apply(event, UNIX_EPOCH).expect("a revocation"));
    }
    apply(&all);
    // Made again, they change nothing.
    apply(&all);
    let (tokens, revoked) = load();
    let stored = tokens.clone();
    let restored = JoinState::restore(tokens, revoked.clone());
    assert!(restored.tokens().eq(state.tokens()), "sorted by id");
    assert_eq!(restored.revocations(), state.revocations());
    let first = stored.first().expect("a token").token_id.clone();
    let node = revoked.first().expect("a node").node_id.clone();
    apply(&[
        JoinEffect::ForgetToken(first),
        JoinEffect::ForgetToken("never-there".into()),
        JoinEffect::ForgetNode(node),
    ]);
    let (tokens, after) = load();
    assert_eq!(tokens.as_slice(), stored.get(1..).expect("a token"));
    assert_eq!(after.as_slice(), revoked.get(1..).expect("a node"));
}

/// Checks that stores which `empty` makes show all of their records at once. Each must be new and
/// empty.
pub fn check_all(empty: impl Fn() -> Box<dyn StateStore>) {
    let store = &*empty();
    let all = || store.load_all().expect("a healthy store can be read");
    assert_eq!(all(), Default::default());
    let mut keys = AccessKeys::default();
    let digest = "0123456789abcdef".repeat(4).parse().expect("a digest");
    let request = NewKey::new("a", Scope::Operator.into());
    let event = Event::Create { digest, request };
    let key = keys.apply(event, UNIX_EPOCH).expect("a new key");
    let mut joins = JoinState::default();
    let events = [
        JoinEvent::Create {
            digest,
            request: NewJoinToken::default(),
        },
        JoinEvent::RevokeNode { node: id("gone") },
    ];
    let apply = |event| joins.apply(event, UNIX_EPOCH).expect("a change");
    let join_changes: Vec<JoinEffect> = events.into_iter().flat_map(apply).collect();
    store
        .apply(&[put(&node("a", UNIX_EPOCH))])
        .and_then(|()| store.apply_keys(&key))
        .and_then(|()| store.apply_joins(&join_changes))
        .expect("a healthy store takes changes");
    let found = all();
    let (tokens, revoked) = store.load_joins().expect("a healthy store can be read");
    assert_eq!(found.nodes, [node("a", UNIX_EPOCH)]);
    assert_eq!(Ok(found.keys), store.load_keys().map_err(|_| ()));
    assert_eq!(
        (found.join_tokens, found.node_credentials),
        (tokens, revoked)
    );
}

/// A node with one pool, drained for two hours from `now`, to be forgotten in twenty.
#[must_use]
pub fn node(node_id: &str, now: SystemTime) -> StoredNode {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let node_id = id(node_id);
    let pool_id = PoolId::new("pool-0").expect("a good id");
    let mut registration = RegisterRequest::new(
        node_id.clone(),
        MachineId::new("machine-a").expect("a good id"),
        HttpUrl::new("http://192.168.1.100:9200").expect("a good URL"),
    );
    registration.pools = vec![pool_id.clone()];
    registration.version = Some(Text::cut("0.1.0"));
    registration.incarnation = Some(1_763_884_800_123);
    registration.metrics_address =
        Some(HttpUrl::new("http://192.168.1.100:9201").expect("a good URL"));
    registration.takes_replica_hint = true;
    let mut pool = PoolStatus::new(pool_id.clone()).with_slots(Slots::clamped(4, 4));
    pool.ready = true;
    pool.engine_version = Some(Text::cut("b10434"));
    let models = ["tiny", "\u{1f999}"].map(|name| ModelName::new(name).expect("a good name"));
    pool.models_available = Some(models.to_vec());
    let node = PersistedNode {
        node_id,
        registered: Some(PersistedRegistration {
            registration,
            pools: vec![pool],
            reported: true,
        }),
        forget_in: Some(hours(20)),
        drain: Some(PersistedDrain {
            time_left: Some(hours(2)),
        }),
        pool_drains: vec![(pool_id, PersistedDrain { time_left: None })],
    };
    StoredNode::new(node, now)
}

fn id(node_id: &str) -> NodeId {
    NodeId::new(node_id).expect("a good id")
}

fn put(node: &StoredNode) -> Change {
    Change::Put(Arc::new(node.clone()))
}

fn apply(store: &dyn RegistryStore, changes: &[Change]) {
    store.apply(changes).expect("a healthy store takes changes");
}

fn load(store: &dyn RegistryStore) -> Vec<StoredNode> {
    store.load().expect("a healthy store can be read")
}

fn a_new_store_is_empty(store: &dyn RegistryStore) {
    assert_eq!(load(store), []);
    apply(store, &[]);
    assert_eq!(load(store), []);
}

fn what_is_put_is_loaded(store: &dyn RegistryStore) {
    let [a, b] = ["a", "b"].map(|name| node(name, UNIX_EPOCH));
    // Only its drains are kept.
    let mut gone = node("c", UNIX_EPOCH).to_persisted(UNIX_EPOCH);
    gone.registered = None;
    let gone = StoredNode::new(gone, UNIX_EPOCH);
    apply(store, &[put(&gone), put(&b), put(&a)]);
    assert_eq!(
        load(store),
        [a.clone(), b.clone(), gone.clone()],
        "sorted by node"
    );
    assert_eq!(load(store), [a, b, gone], "reading changes nothing");
}

fn the_last_put_counts(store: &dyn RegistryStore) {
    let first = node("a", UNIX_EPOCH);
    let second = node("a", UNIX_EPOCH + Duration::from_secs(1));
    apply(store, &[put(&first)]);
    apply(store, &[put(&second)]);
    assert_eq!(load(store), [second]);
}

fn what_is_removed_is_gone(store: &dyn RegistryStore) {
    let [a, b] = ["a", "b"].map(|name| node(name, UNIX_EPOCH));
    apply(store, &[put(&a), put(&b)]);
    apply(
        store,
        &[Change::Remove(id("a")), Change::Remove(id("never-there"))],
    );
    assert_eq!(load(store), [b]);
}

fn changes_take_effect_in_order(store: &dyn RegistryStore) {
    let a = node("a", UNIX_EPOCH);
    apply(store, &[put(&a), Change::Remove(id("a"))]);
    assert_eq!(load(store), []);
    apply(store, &[Change::Remove(id("a")), put(&a)]);
    assert_eq!(load(store), [a]);
}

fn changes_may_be_repeated(store: &dyn RegistryStore) {
    let a = node("a", UNIX_EPOCH);
    let changes = [put(&a), Change::Remove(id("b"))];
    apply(store, &changes);
    apply(store, &changes);
    assert_eq!(load(store), [a]);
}

fn many_nodes_come_and_go(store: &dyn RegistryStore) {
    let mut nodes: Vec<StoredNode> = (0..MANY)
        .map(|i| node(&format!("node-{i:04}"), UNIX_EPOCH))
        .collect();
    apply(store, &nodes.iter().map(put).collect::<Vec<_>>());
    assert_eq!(load(store), nodes);
    let gone = nodes.split_off(1);
    let removals: Vec<Change> = gone
        .iter()
        .map(|node| Change::Remove(node.node_id().clone()))
        .collect();
    apply(store, &removals);
    assert_eq!(load(store), nodes);
}

fn threads_do_not_lose_each_others_changes(store: &dyn RegistryStore) {
    let names: Vec<String> = (0..4).map(|i| format!("node-{i}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| apply(store, &[put(&node(name, UNIX_EPOCH))]));
        }
    });
    let found: Vec<String> = load(store)
        .iter()
        .map(|node| node.node_id().to_string())
        .collect();
    assert_eq!(found, names);
}
