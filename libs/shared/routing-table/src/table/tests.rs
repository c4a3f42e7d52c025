//! The table as a whole: what it finds, and that any changes lead to the table of what is there.

use std::collections::BTreeMap;

use pool_registry_types::{HttpUrl, NodeId, PoolId};
use proptest::prelude::*;

use super::*;
use crate::State;

fn endpoint(node: &str, models: Option<&[&str]>) -> Arc<Endpoint> {
    let key = EndpointKey {
        node: NodeId::new(node).unwrap(),
        pool: PoolId::new("p").unwrap(),
        replica: None,
    };
    let target = Arc::new(HttpUrl::new("http://localhost:1").unwrap());
    let models = models.map(|models| models.iter().map(|&model| model.to_owned()).collect());
    Arc::new(Endpoint::new(key, 1, 0, target, models))
}

fn report(state: State) -> Report {
    Report {
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
fn finds_those_that_name_the_model_in_the_order_of_their_keys() {
    let mut table = RoutingTable::default();
    for (node, models) in [
        ("c", Some(&["x", "x", "y"][..])),
        ("a", Some(&["x"])),
        ("b", None),
    ] {
        table.set(&endpoint(node, models), report(State::Ready));
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
fn one_model_can_go_without_saying() {
    let mut table = RoutingTable::default();
    for node in ["a", "b"] {
        table.set(&endpoint(node, Some(&["x"])), report(State::Ready));
    }
    assert_eq!(table.only_model(), Some("x"));
    assert_eq!(names(&table, "y"), Vec::<String>::new());
}

#[test]
fn an_index_is_kept_until_its_endpoint_is_removed() {
    let mut table = RoutingTable::default();
    let (first, second) = (endpoint("a", Some(&["x"])), endpoint("b", Some(&["x"])));
    let index = table.set(&first, report(State::Ready)).index;
    table.set(&second, report(State::Ready));
    let again = table.set(&endpoint("a", Some(&["y"])), report(State::Draining));
    assert_eq!((again.index, again.is_new), (index, false));
    assert_eq!(again.replaced.as_ref(), Some(&first));
    assert_eq!(table.remove(&first), Some(index));
    assert_eq!(table.summaries()[index as usize].state, State::NotReady);
    assert_eq!(
        table.set(&endpoint("c", None), report(State::Ready)).index,
        index
    );
}

/// What a test does: sets a node with some models in a state, or removes it.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, Option<Vec<u8>>, bool),
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let models = proptest::option::of(proptest::collection::vec(0_u8..3, 0..3));
    prop_oneof![
        3 => (0_u8..6, models, any::<bool>()).prop_map(|(node, models, ready)| Step::Set(node, models, ready)),
        1 => (0_u8..6).prop_map(Step::Remove),
    ]
}

proptest! {
    // spec: PLACE-6
    #[test]
    fn after_any_changes_it_is_the_table_of_what_is_there(steps in proptest::collection::vec(step(), 0..40)) {
        let mut table = RoutingTable::default();
        let mut model: BTreeMap<u8, (Arc<Endpoint>, bool)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(node, models, ready) => {
                    let names: Option<Vec<String>> =
                        models.map(|models| models.iter().map(|model| format!("m{model}")).collect());
                    let names: Option<Vec<&str>> =
                        names.as_ref().map(|names| names.iter().map(String::as_str).collect());
                    let endpoint = endpoint(&format!("n{node}"), names.as_deref());
                    let state = if ready { State::Ready } else { State::NotReady };
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
            for name in ["m0", "m1", "m2"] {
                let serves = |endpoint: &Endpoint| endpoint.models().is_some_and(|all| all.iter().any(|one| one == name));
                let named: Vec<_> = model.values().filter(|(endpoint, _)| serves(endpoint)).collect();
                let unnamed: Vec<_> = model.values().filter(|(endpoint, _)| endpoint.models().is_none()).collect();
                let expected = if named.is_empty() { &unnamed } else { &named };
                let expected: Vec<String> =
                    expected.iter().map(|(endpoint, _)| endpoint.key().node.to_string()).collect();
                prop_assert_eq!(names(&table, name), expected);
                prop_assert_eq!(table.names(name), !named.is_empty());
                prop_assert_eq!(table.serves(name), named.iter().any(|(_, ready)| *ready));
            }
        }
    }
}
