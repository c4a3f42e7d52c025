//! Lookups, and a model test: any sequence of changes leads to the same table as a fresh one.

use std::collections::BTreeMap;

use pool_registry_types::{HttpUrl, NodeId, PoolId};
use proptest::prelude::*;

use super::*;
use crate::EndpointState;

fn endpoint(node: &str, models: Option<&[&str]>) -> Arc<Endpoint> {
    let key = EndpointKey {
        node: NodeId::new(node).unwrap(),
        pool: PoolId::new("p").unwrap(),
        replica: None,
    };
    let target = Arc::new(HttpUrl::new("http://localhost:1").unwrap());
    let models = models.map(|models| models.iter().map(|model| model.parse().unwrap()).collect());
    Arc::new(Endpoint::new(key, 1, 0, target, models))
}

fn report(state: EndpointState) -> EndpointReport {
    EndpointReport {
        number: 1,
        state,
        slots_total: 1,
        slots_free: 1,
        vram_free_bytes: 0,
    }
}

fn names(table: &RoutingTable, model: &str) -> Vec<String> {
    let candidates = table.candidates(model).iter();
    let names = candidates.map(|&index| table.endpoint(index).unwrap().key().node.to_string());
    names.collect()
}

// spec: PLACE-6
#[test]
fn candidates_name_the_model_and_are_sorted_by_key() {
    let mut table = RoutingTable::default();
    for (node, models) in [
        ("c", Some(&["x", "x", "y"][..])),
        ("a", Some(&["x"])),
        ("b", None),
    ] {
        table.set(&endpoint(node, models), report(EndpointState::Ready));
    }
    assert_eq!(names(&table, "x"), ["a", "c"]);
    assert_eq!(names(&table, "y"), ["c"]);
    assert_eq!(names(&table, "unheard-of"), ["b"]);
    assert_eq!(table.only_model(), None);
    for (index, endpoint, _) in table.iter() {
        assert_eq!(table.by_hash(endpoint.hash()), Some(index));
    }
    assert_eq!(table.by_hash(0), None);
}

#[test]
fn the_only_model_needs_no_name() {
    let mut table = RoutingTable::default();
    for node in ["a", "b"] {
        table.set(&endpoint(node, Some(&["x"])), report(EndpointState::Ready));
    }
    assert_eq!(table.only_model(), Some("x"));
    assert_eq!(names(&table, "y"), Vec::<String>::new());
}

#[test]
fn an_index_is_stable_until_its_endpoint_is_removed() {
    let mut table = RoutingTable::default();
    let (first, second) = (endpoint("a", Some(&["x"])), endpoint("b", Some(&["x"])));
    let index = table.set(&first, report(EndpointState::Ready)).index;
    table.set(&second, report(EndpointState::Ready));
    let again = table.set(
        &endpoint("a", Some(&["y"])),
        report(EndpointState::Draining),
    );
    assert_eq!((again.index, again.is_new), (index, false));
    assert_eq!(again.replaced.as_ref(), Some(&first));
    assert_eq!(table.remove(&first), Some(index));
    assert_eq!(
        table.summaries()[index as usize].state,
        EndpointState::NotReady
    );
    assert_eq!(
        table
            .set(&endpoint("c", None), report(EndpointState::Ready))
            .index,
        index
    );
}

// spec: ADM-36
#[test]
fn pool_peers_share_the_pool_and_a_model() {
    let at = |node: &str, pool: &str, replica: &str, models: Option<&[&str]>| {
        let key = EndpointKey {
            pool: PoolId::new(pool).unwrap(),
            replica: Some(replica.parse().unwrap()),
            ..endpoint(node, None).key().clone()
        };
        let target = Arc::new(HttpUrl::new("http://localhost:1").unwrap());
        let models =
            models.map(|models| models.iter().map(|model| model.parse().unwrap()).collect());
        Arc::new(Endpoint::new(key, 1, 0, target, models))
    };
    let endpoints = [
        at("a", "p", "r0", Some(&["x"])),
        at("b", "o", "r0", Some(&["x"])),
        at("b", "p", "r0", Some(&["x"])),
        at("b", "p", "r1", Some(&["x", "y"])),
        at("b", "p", "r2", Some(&["y"])),
        at("b", "p", "r3", None),
        at("b", "q", "r0", Some(&["x"])),
    ];
    let mut table = RoutingTable::default();
    for endpoint in &endpoints {
        table.set(endpoint, report(EndpointState::Ready));
    }
    let peers =
        |table: &RoutingTable, of: usize| table.pool_peers(&endpoints[of]).collect::<Vec<_>>();
    assert_eq!(peers(&table, 2), [2, 3]);
    assert_eq!(peers(&table, 3), [2, 3, 3, 4]);
    assert_eq!(peers(&table, 5), [5]);
    table.remove(&endpoints[3]);
    assert_eq!(peers(&table, 2), [2]);
}

const MODELS: [&str; 3] = ["m0", "m1", "m2"];

/// A random change: sets a node's models and readiness, or removes the node.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, Option<Vec<u8>>, bool),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let models = proptest::option::of(proptest::collection::vec(0_u8..3, 0..3));
    prop_oneof![
        3 => (0_u8..6, models, any::<bool>())
            .prop_map(|(node, models, ready)| Step::Set(node, models, ready)),
        1 => (0_u8..6).prop_map(Step::Remove),
    ]
}

proptest! {
    // spec: PLACE-6
    #[test]
    fn any_sequence_of_changes_equals_a_fresh_table(
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut table = RoutingTable::default();
        let mut model: BTreeMap<u8, (Arc<Endpoint>, bool)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(node, models, ready) => {
                    let names: Option<Vec<&str>> =
                        models.map(|all| all.iter().map(|&n| MODELS[usize::from(n)]).collect());
                    let endpoint = endpoint(&format!("n{node}"), names.as_deref());
                    let state = if ready { EndpointState::Ready } else { EndpointState::NotReady };
                    table.set(&endpoint, report(state));
                    model.insert(node, (endpoint, ready));
                }
                Step::Remove(node) => {
                    let known = model.remove(&node);
                    let gone = endpoint(&format!("n{node}"), None);
                    prop_assert_eq!(table.remove(&gone).is_some(), known.is_some());
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for name in MODELS {
                let is_named = |(endpoint, _): &&(Arc<Endpoint>, bool)| {
                    let models = endpoint.models();
                    models.is_some_and(|models| models.iter().any(|model| model == name))
                };
                let has_no_models = |(endpoint, _): &&(Arc<Endpoint>, bool)| {
                    endpoint.models().is_none()
                };
                let named: Vec<_> = model.values().filter(is_named).collect();
                let without_models: Vec<_> = model.values().filter(has_no_models).collect();
                let expected = if named.is_empty() { &without_models } else { &named };
                let node = |(endpoint, _): &&(Arc<Endpoint>, bool)| endpoint.key().node.to_string();
                let expected: Vec<String> = expected.iter().map(node).collect();
                prop_assert_eq!(names(&table, name), expected);
                prop_assert_eq!(table.names(name), !named.is_empty());
                prop_assert_eq!(table.serves(name), named.iter().any(|(_, ready)| *ready));
            }
        }
    }
}
