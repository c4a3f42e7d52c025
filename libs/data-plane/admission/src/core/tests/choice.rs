//! The choice of an endpoint: affinity, round-robin and explanations.

use placement::SkipReason;
use routing_table::EndpointState;

use super::{super::*, fixture::*};

// spec: PLACE-9
#[test]
fn a_prompt_goes_to_the_endpoint_that_saw_its_prefix() {
    let mut core = core(&[idle("a", 4), idle("b", 4), idle("c", 4)]);
    let preference = |blocks: &[u64]| {
        let affinity = placement::Affinity {
            blocks: blocks.to_vec(),
            session: None,
        };
        Arc::new(RoutingPreference {
            strategy: placement::Strategy::Prefix,
            pin: None,
            affinity,
        })
    };
    let first = granted(core.acquire(
        &AcquireRequest {
            preference: &preference(&[1, 2, 3]),
            ..request("m")
        },
        MS,
        || 0,
    ));
    let other = granted(core.acquire(
        &AcquireRequest {
            preference: &preference(&[7, 8, 9]),
            ..request("m")
        },
        MS,
        || 0,
    ));
    let again = granted(core.acquire(
        &AcquireRequest {
            preference: &preference(&[1, 2, 3, 4]),
            ..request("m")
        },
        MS,
        || 0,
    ));
    assert_ne!(node(&first), node(&other));
    assert_eq!(node(&first), node(&again));
}

// spec: PLACE-11
#[test]
fn an_explanation_changes_nothing() {
    let draining = TestEndpoint {
        state: EndpointState::Draining,
        ..idle("b", 2)
    };
    let mut core = core(&[idle("a", 1), draining, idle("c", 1)]);
    let _held = take(&mut core, MS);
    let before = core.snapshot(MS);
    let explanation = core.explain("m", anywhere(), MS);
    let candidates: Vec<_> = explanation
        .candidates
        .iter()
        .map(|c| (c.key.node.as_str(), c.skip, c.chosen))
        .collect();
    assert_eq!(
        candidates,
        [
            ("a", Some(SkipReason::Full), false),
            ("b", Some(SkipReason::Draining), false),
            ("c", None, true)
        ]
    );
    assert_eq!((explanation.error, explanation.waiting), (None, 0));
    assert_eq!(
        core.explain("x", anywhere(), MS).error,
        Some(PlacementError::UnknownModel)
    );
    assert_eq!(core.snapshot(MS), before);
}

// spec: PLACE-10
#[test]
fn two_alternating_models_each_use_all_their_endpoints() {
    let with = |name: &str, model: &str| TestEndpoint {
        models: Some(vec![model.to_owned()]),
        ..idle(name, 8)
    };
    let mut core = core(&[
        with("a", "x"),
        with("b", "x"),
        with("c", "y"),
        with("d", "y"),
    ]);
    let preference: Arc<RoutingPreference> = Arc::new(RoutingPreference {
        strategy: placement::Strategy::RoundRobin,
        ..RoutingPreference::default()
    });
    let mut used = String::new();
    for _ in 0..2 {
        for model in ["x", "y"] {
            used.push_str(node(&granted(core.acquire(
                &AcquireRequest {
                    preference: &preference,
                    ..request(model)
                },
                MS,
                || 0,
            ))));
        }
    }
    assert_eq!(used, "acbd");
}
