//! Queues: the order of service, refusals and retries.

use pool_registry_types::NodeId;
use routing_table::EndpointState;

use super::{
    super::{grant::RequestEnd, *},
    fixture::*,
};
use crate::request::{Flow, Priority};

// spec: ADM-1
#[test]
fn a_freed_slot_goes_to_the_oldest_request_and_to_no_other() {
    let mut core = core(&[idle("a", 1)]);
    let first = take(&mut core, MS);
    for waiter in 1..=3 {
        queued(core.acquire(&request("m"), MS, || waiter));
    }
    let woken = core.released(&first, RequestEnd::Served, 2 * MS);
    assert_eq!(waiters(&woken), [1]);
    let woken = core.released(&woken[0].1, RequestEnd::Served, 3 * MS);
    assert_eq!(waiters(&woken), [2]);
}

// spec: ADM-1
#[test]
fn a_new_request_does_not_overtake() {
    let mut core = core(&[idle("a", 1)]);
    let first = take(&mut core, MS);
    let ticket = queued(core.acquire(&request("m"), MS, || 1));
    assert_eq!(core.ahead_of("m", ticket), 0);
    let woken = core.released(&first, RequestEnd::Served, MS);
    // The waiting request got the slot, so a new request finds it taken.
    queued(core.acquire(&request("m"), MS, || 2));
    drop(woken);
}

#[test]
fn a_request_that_left_the_queue_is_not_woken() {
    let mut core = core(&[idle("a", 1)]);
    let first = take(&mut core, MS);
    let ticket = queued(core.acquire(&request("m"), MS, || 1));
    queued(core.acquire(&request("m"), MS, || 2));
    assert!(core.leave("m", ticket));
    assert!(!core.leave("m", ticket));
    assert_eq!(core.released(&first, RequestEnd::Served, MS)[0].0, 2);
}

// spec: ADM-2
#[test]
fn a_full_queue_refuses_with_an_estimated_retry_after() {
    let mut core = core(&[idle("a", 2)]);
    // Two requests of 4 s each have finished: two slots free one slot every 2 s.
    for _ in 0..2 {
        let grant = take(&mut core, Duration::ZERO);
        core.released(&grant, RequestEnd::Served, 4 * S);
    }
    let held = [take(&mut core, 4 * S), take(&mut core, 4 * S)];
    for waiter in 0..4 {
        queued(core.acquire(&request("m"), 4 * S, || waiter));
    }
    let refusal = refused(core.acquire(&request("m"), 4 * S, || 9));
    assert_eq!(refusal.reason, RefusalReason::QueueFull);
    // Four requests wait, so the fifth slot is free after 5 × 2 s.
    assert_eq!(refusal.retry_after, Some(10 * S));
    drop(held);
}

// spec: ADM-5
#[test]
fn an_unknown_model_is_refused_at_once_but_waits_during_warm_up() {
    let mut core = core(&[idle("a", 1)]);
    assert_eq!(
        refused(core.acquire(&request("x"), S, || 1)).reason,
        RefusalReason::UnknownModel
    );

    let config = AdmissionConfig {
        warm_up: 10 * S,
        ..AdmissionConfig::default()
    };
    let mut core = AdmissionCore::new(config);
    queued(core.acquire(&request("m"), S, || 1));
    assert_eq!(core.replaced(&[idle("a", 1)], 2 * S)[0].0, 1);
    assert_eq!(
        refused(core.acquire(&request("x"), 10 * S, || 2)).reason,
        RefusalReason::UnknownModel
    );
}

// spec: ADM-5
#[test]
fn a_known_model_without_available_endpoints_is_waited_for() {
    let unavailable = TestEndpoint {
        state: EndpointState::NotReady,
        ..idle("a", 1)
    };
    let mut core = core(&[unavailable]);
    let timed_out = queued(core.acquire(&request("m"), S, || 0));
    queued(core.acquire(&request("m"), S, || 1));
    assert_eq!(
        core.time_out("m", timed_out, true, S).unwrap().reason,
        RefusalReason::NoneRoutable
    );
    assert_eq!(core.replaced(&[idle("a", 1)], 2 * S)[0].0, 1);
}

#[test]
fn a_retry_goes_elsewhere_and_keeps_its_position() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let on_a = take(&mut core, MS);
    let on_b = take(&mut core, MS);
    assert_eq!((node(&on_a), node(&on_b)), ("a", "b"));
    queued(core.acquire(&request("m"), MS, || 1));
    let tried = [on_a.endpoint.clone()];
    let ticket = on_a.ticket;
    let woken = core.released(&on_a, RequestEnd::Failed(EndpointFailure::Broken), MS);
    assert_eq!((woken[0].0, node(&woken[0].1)), (1, "a"));
    // The retry came before the others and may not use a: it waits for b, ahead of a new request.
    queued(core.acquire(&request("m"), MS, || 2));
    let retry = AcquireRequest {
        tried: &tried,
        ticket: Some(ticket),
        ..request("m")
    };
    assert_eq!(queued(core.acquire(&retry, MS, || 3)), ticket);
    let woken = core.released(&on_b, RequestEnd::Served, MS);
    assert_eq!((woken[0].0, node(&woken[0].1)), (3, "b"));
}

#[test]
fn a_retry_that_has_tried_every_endpoint_does_not_wait() {
    let mut core = core(&[idle("a", 1)]);
    let grant = take(&mut core, MS);
    let tried = [grant.endpoint.clone()];
    core.released(&grant, RequestEnd::Failed(EndpointFailure::Broken), MS);
    let retry = AcquireRequest {
        tried: &tried,
        ticket: Some(grant.ticket),
        ..request("m")
    };
    assert_eq!(
        refused(core.acquire(&retry, MS, || 1)).reason,
        RefusalReason::Exhausted
    );
}

#[test]
fn a_retry_that_is_pinned_to_the_node_that_failed_does_not_wait() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let pinned = Arc::new(RoutingPreference {
        pin: Some(NodeId::new("a").unwrap()),
        ..RoutingPreference::default()
    });
    let mut request = request("m");
    request.preference = &pinned;
    let first = granted(core.acquire(&request, MS, || 1));
    core.released(&first, RequestEnd::Failed(EndpointFailure::Broken), MS);
    let tried = [first.endpoint.clone()];
    request.tried = &tried;
    request.ticket = Some(first.ticket);
    let refusal = refused(core.acquire(&request, 2 * MS, || 2));
    assert_eq!(refusal.reason, RefusalReason::Exhausted);
}

// spec: ADM-12
#[test]
fn batch_requests_wait_for_interactive_ones_but_never_starve() {
    let mut core = core(&[idle("a", 1)]);
    core.config.queue_limit = 20;
    let mut held = take(&mut core, MS);
    let batch = AcquireRequest {
        priority: Priority::Batch,
        ..request("m")
    };
    for waiter in 100..103 {
        queued(core.acquire(&batch, MS, || waiter));
    }
    for waiter in 0..10 {
        queued(core.acquire(&request("m"), MS, || waiter));
    }
    let mut order = Vec::new();
    while let Some((waiter, grant)) = core.released(&held, RequestEnd::Served, MS).pop() {
        order.push(waiter);
        held = grant;
    }
    assert_eq!(order, [0, 1, 2, 3, 100, 4, 5, 6, 7, 101, 8, 9, 102]);
}

// spec: ADM-12
#[test]
fn a_batch_request_does_not_overtake_interactive_ones_and_has_its_own_limit() {
    let mut core = core(&[idle("a", 1)]);
    let held = take(&mut core, MS);
    let batch = AcquireRequest {
        priority: Priority::Batch,
        ..request("m")
    };
    for waiter in 0..4 {
        queued(core.acquire(&batch, MS, || waiter));
    }
    assert_eq!(
        refused(core.acquire(&batch, MS, || 9)).reason,
        RefusalReason::QueueFull
    );
    let interactive = queued(core.acquire(&request("m"), MS, || 10));
    assert_eq!(core.ahead_of("m", interactive), 0);
    assert_eq!(core.released(&held, RequestEnd::Served, MS)[0].0, 10);
}

// spec: PLACE-10
#[test]
fn a_pinned_request_in_the_queue_does_not_block_others() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let pinned = Arc::new(RoutingPreference {
        pin: NodeId::new("a").ok(),
        ..RoutingPreference::default()
    });
    let on_a = granted(core.acquire(
        &AcquireRequest {
            preference: &pinned,
            ..request("m")
        },
        MS,
        || 0,
    ));
    queued(core.acquire(
        &AcquireRequest {
            preference: &pinned,
            ..request("m")
        },
        MS,
        || 1,
    ));
    let on_b = take(&mut core, MS);
    assert_eq!((node(&on_a), node(&on_b)), ("a", "b"));
    queued(core.acquire(&request("m"), MS, || 2));
    assert_eq!(core.released(&on_b, RequestEnd::Served, MS)[0].0, 2);
    assert_eq!(core.released(&on_a, RequestEnd::Served, MS)[0].0, 1);
}

#[test]
fn a_model_that_was_known_is_unavailable_and_not_unknown() {
    let config = AdmissionConfig {
        warm_up: 10 * S,
        ..AdmissionConfig::default()
    };
    let mut core: AdmissionCore<u32> = AdmissionCore::new(config);
    for (known, reason) in [
        (true, RefusalReason::NoneRoutable),
        (false, RefusalReason::UnknownModel),
    ] {
        let ticket = queued(core.acquire(&request("m"), S, || 1));
        assert_eq!(
            core.time_out("m", ticket, known, 6 * S).unwrap().reason,
            reason
        );
    }
}

fn of<'a>(key: &'a Arc<str>, weight: u32) -> AcquireRequest<'a> {
    AcquireRequest {
        flow: Flow {
            key: Some(key),
            weight,
        },
        ..request("m")
    }
}

// spec: KEY-10
#[test]
fn keys_take_turns_by_weight_within_a_priority() {
    let mut core = core(&[idle("a", 1)]);
    core.config.queue_limit = 20;
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let mut held = take(&mut core, MS);
    for waiter in 0..6 {
        queued(core.acquire(&of(&a, 1), MS, || waiter));
    }
    for waiter in 10..14 {
        queued(core.acquire(&of(&b, 2), MS, || waiter));
    }
    // Requests without a key are a flow as well, and batch requests have their own turns.
    queued(core.acquire(&request("m"), MS, || 20));
    let batch = AcquireRequest {
        priority: Priority::Batch,
        ..of(&b, 2)
    };
    queued(core.acquire(&batch, MS, || 30));
    let mut order = Vec::new();
    while let Some((waiter, grant)) = core.released(&held, RequestEnd::Served, MS).pop() {
        order.push(waiter);
        held = grant;
    }
    assert_eq!(order, [0, 10, 11, 20, 30, 1, 12, 13, 2, 3, 4, 5]);
}

// spec: KEY-11
#[test]
fn a_key_with_fewer_requests_displaces_the_newest_of_the_key_with_the_most() {
    let mut core = core(&[idle("a", 1)]);
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let held = take(&mut core, MS);
    for waiter in 0..4 {
        queued(core.acquire(&of(&a, 1), MS, || waiter));
    }
    // The key that fills the queue gets no more room, and another one gets its share.
    refused(core.acquire(&of(&a, 1), MS, || 9));
    let displaced = |core: &mut AdmissionCore<u32>, waiter| {
        queued(core.acquire(&of(&b, 1), MS, || waiter));
        let effects = core.take_effects();
        assert!(effects.granted.is_empty());
        effects.displaced
    };
    for (waiter, expected) in [(10, 3), (11, 2)] {
        let [(displaced, refusal)] = displaced(&mut core, waiter).try_into().unwrap();
        assert_eq!(
            (displaced, refusal.reason),
            (expected, RefusalReason::QueueFull)
        );
        // One slot, with an assumed second of service, and a full queue before the next one.
        assert_eq!(refusal.retry_after, Some(5 * S));
    }
    for key in [&a, &b] {
        let refusal = refused(core.acquire(&of(key, 1), MS, || 12));
        assert_eq!(refusal.reason, RefusalReason::QueueFull);
    }
    // A heavier key has a larger share.
    queued(core.acquire(&of(&b, 3), MS, || 13));
    assert_eq!(core.take_effects().displaced[0].0, 1);
    let woken = core.released(&held, RequestEnd::Served, MS);
    assert_eq!(waiters(&woken), [0]);
}

// spec: KEY-10
#[test]
fn a_retry_of_another_key_is_not_blocked_and_is_the_first_of_its_own() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let first = granted(core.acquire(&of(&a, 1), MS, || unreachable!("does not wait")));
    let other = take(&mut core, MS);
    queued(core.acquire(&of(&b, 1), MS, || 1));
    queued(core.acquire(&of(&a, 1), MS, || 2));
    let tried = [first.endpoint.clone(), other.endpoint.clone()];
    let retry = AcquireRequest {
        tried: &tried,
        ticket: Some(first.ticket),
        ..of(&a, 1)
    };
    // It has tried everything: it is told so, although others wait.
    let refusal = refused(core.acquire(&retry, MS, || 3));
    assert_eq!(refusal.reason, RefusalReason::Exhausted);
    let retry = AcquireRequest {
        tried: &tried[..1],
        ..retry
    };
    queued(core.acquire(&retry, MS, || 3));
    let woken = core.released(&other, RequestEnd::Served, MS);
    assert_eq!(waiters(&woken), [1]);
    let woken = core.released(&woken[0].1, RequestEnd::Served, MS);
    assert_eq!(waiters(&woken), [3]);
}
