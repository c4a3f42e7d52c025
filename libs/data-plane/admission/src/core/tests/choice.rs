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
            ..RoutingPreference::default()
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

fn with_context(node: &str, tokens: Option<u32>) -> TestEndpoint {
    TestEndpoint {
        context_length: tokens,
        ..idle(node, 1)
    }
}

fn needs(at_least: Option<u32>, likely: Option<u32>) -> Arc<RoutingPreference> {
    Arc::new(RoutingPreference {
        context: ContextNeed { at_least, likely },
        ..RoutingPreference::default()
    })
}

// spec: PATH-120
#[test]
fn an_estimated_context_orders_endpoints_and_excludes_none() {
    let endpoints = [
        with_context("a", Some(1000)),
        with_context("b", Some(8000)),
        with_context("c", None),
    ];
    let mut core = core(&endpoints);
    let likely = needs(None, Some(2000));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let preference = &likely;
        let wanted = AcquireRequest {
            preference,
            ..request("m")
        };
        let grant = granted(core.acquire(&wanted, MS, || 0));
        nodes.push(node(&grant).to_owned());
    }
    nodes[..2].sort();
    assert_eq!(
        nodes,
        ["b", "c", "a"],
        "the one that seems too small comes last"
    );
}

// spec: PATH-121
#[test]
fn a_refused_context_excludes_what_is_no_larger() {
    let mut core = core(&[with_context("a", Some(1000)), with_context("b", Some(8000))]);
    assert!(core.has_context("m", 8000) && !core.has_context("m", 8001));
    let preference = &needs(Some(1001), None);
    let wanted = AcquireRequest {
        preference,
        ..request("m")
    };
    assert_eq!(node(&granted(core.acquire(&wanted, MS, || 0))), "b");
    // It waits for the large one although the small one is free, and blocks no other request.
    let waiting = core.acquire(&wanted, MS, || 1);
    assert!(
        matches!(waiting, AcquireDecision::Queued { .. }),
        "{waiting:?}"
    );
    assert_eq!(node(&take(&mut core, MS)), "a");
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
