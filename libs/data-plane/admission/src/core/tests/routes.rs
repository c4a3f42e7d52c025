//! Changes of the routing table, and requests that a node moves to another replica.

use routing_table::RouteChange;

use super::{
    super::{grant::RequestEnd, *},
    fixture::*,
};

// spec: ADM-30
#[test]
fn a_change_serves_only_queues_for_models_of_its_endpoint() {
    let with = |name: &str, model: Option<&str>, slots: u32| TestEndpoint {
        models: model.map(|model| vec![model.to_owned()]),
        ..replica(name, slots)
    };
    let mut core = core(&[
        with("r0", Some("x"), 0),
        with("r1", Some("y"), 0),
        with("r2", None, 0),
    ]);
    for (waiter, model) in [(1, "x"), (2, "y"), (3, "unheard-of")] {
        queued(core.acquire(&request(model), MS, || waiter));
    }
    for (change, served) in [
        (with("r1", Some("y"), 1), 2),
        (with("r2", None, 1), 3),
        (with("r0", Some("x"), 1), 1),
    ] {
        core.apply(&[change.set()], MS);
        assert_eq!(waiters(&core.granted()), [served]);
    }
}

// spec: ADM-30
#[test]
fn a_request_for_a_model_that_no_endpoint_names_goes_to_one_without_models() {
    let unnamed = TestEndpoint {
        models: None,
        ..replica("r1", 1)
    };
    let mut core = core(&[replica("r0", 0), unnamed]);
    queued(core.acquire(&request("m"), MS, || 1));
    core.apply(&[RouteChange::Remove(replica("r0", 0).endpoint())], MS);
    assert_eq!(waiters(&core.granted()), [1]);
}

// spec: ADM-30
#[test]
fn a_freed_slot_serves_the_present_models_of_its_endpoint() {
    let other = TestEndpoint {
        models: Some(vec!["other".to_owned()]),
        ..replica("r0", 1)
    };
    let mut core = core(&[replica("r0", 1)]);
    let held = take(&mut core, MS);
    core.apply(&[other.set()], MS);
    queued(core.acquire(&request("other"), MS, || 1));
    assert_eq!(waiters(&core.released(&held, RequestEnd::Served, MS)), [1]);
}

// spec: ADM-31
#[test]
fn due_deadlines_are_applied_once() {
    let reports_load = |n: u32| TestEndpoint {
        free: 0,
        ..replica(&format!("r{n}"), 4)
    };
    let endpoints: Vec<_> = (0..1_000).map(reports_load).collect();
    let mut core = core(&endpoints);
    assert_eq!(
        core.deadlines.next(),
        Some(S),
        "reported load is trusted for a second"
    );
    queued(core.acquire(&request("m"), MS, || 1));
    assert_eq!(waiters(&core.ticked(S)), [1]);
    assert_eq!(core.deadlines.next(), None);
}

// spec: ADM-32
#[test]
fn a_new_generation_starts_with_a_closed_breaker_and_counts_running_requests() {
    let again = |generation| TestEndpoint {
        generation,
        ..replica("r0", 2)
    };
    let mut core = core(&[again(1)]);
    let (old, probe) = (take(&mut core, S), take(&mut core, S));
    core.release(
        &probe,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        S,
        0.0,
    );
    let probe = take(&mut core, 2 * S);
    let _ = core.take_effects();
    core.apply(&[again(2).set()], 2 * S);
    let changes = core.take_effects().breaker_changes;
    assert_eq!(
        changes
            .iter()
            .map(|change| change.opened_by)
            .collect::<Vec<_>>(),
        [None]
    );
    let status = core.only_status(2 * S);
    assert!(status.open_breaker.is_none() && status.in_flight == 2);
    // Requests to the earlier generation are no evidence about this one.
    core.release(
        &old,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        2 * S,
        0.0,
    );
    core.release(
        &probe,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        2 * S,
        0.0,
    );
    let status = core.only_status(2 * S);
    assert!(status.open_breaker.is_none() && status.in_flight == 0);
}

// spec: ADM-32
#[test]
fn a_retry_may_go_to_the_next_generation_of_a_failed_engine() {
    let again = |generation| TestEndpoint {
        generation,
        ..replica("r0", 1)
    };
    let mut core = core(&[again(1)]);
    let grant = take(&mut core, MS);
    let tried = [grant.endpoint.clone()];
    core.release(&grant, RequestEnd::Failed(EndpointFailure::Broken), MS, 0.0);
    let retry = AcquireRequest {
        tried: &tried,
        ticket: Some(grant.ticket),
        ..request("m")
    };
    assert_eq!(
        refused(core.acquire(&retry, MS, || 1)).reason,
        RefusalReason::Exhausted
    );
    core.apply(&[replica("r1", 0).set()], MS);
    queued(core.acquire(&retry, MS, || 1));
    core.apply(&[again(2).set()], MS);
    assert_eq!(waiters(&core.granted()), [1]);
}

// spec: ADM-33
#[test]
fn a_batch_of_changes_is_applied_before_requests_are_served() {
    let mut core = core(&[replica("r0", 0), replica("r1", 0)]);
    queued(core.acquire(&request("m"), MS, || 1));
    let gone = RouteChange::Remove(replica("r0", 1).endpoint());
    core.apply(&[replica("r0", 1).set(), replica("r1", 1).set(), gone], MS);
    let granted = core.granted();
    assert_eq!(
        (waiters(&granted), replica_of(&granted[0].1)),
        (vec![1], "r1")
    );
}

#[test]
fn a_reused_index_keeps_nothing_of_the_previous_endpoint() {
    let mut core = core(&[replica("r0", 1)]);
    let held = take(&mut core, S);
    core.replaced(&[replica("r1", 1)], S);
    assert_eq!(core.only_status(S).in_flight, 0);
    let other = take(&mut core, S);
    assert_eq!(held.index, other.index);
    queued(core.acquire(&request("m"), S, || 1));
    assert!(
        core.released(&held, RequestEnd::Failed(EndpointFailure::Unreachable), S)
            .is_empty()
    );
    assert!(core.only_status(S).open_breaker.is_none());
    assert_eq!(waiters(&core.released(&other, RequestEnd::Served, S)), [1]);
}

// spec: SLOT-30
#[test]
fn a_request_counts_at_the_used_replica_and_the_hinted_one_is_full_for_a_moment() {
    let mut core = core(&[replica("r0", 2), replica("r1", 2)]);
    let mut grant = take(&mut core, MS);
    assert_eq!(replica_of(&grant), "r0");
    core.response_started(&mut grant, Some(&"r1".parse().unwrap()), Some((1, 2)), MS);
    let load = |core: &AdmissionCore<u32>, name: &str, now| {
        let index = core.table.find(&replica(name, 2).key()).unwrap();
        let slot = core.slots_at(index).unwrap();
        (slot.in_flight, slot.used_by_others(now))
    };
    assert_eq!(
        (load(&core, "r0", MS), load(&core, "r1", MS)),
        ((0, 2), (1, 0))
    );
    assert_eq!(load(&core, "r0", 300 * MS), (0, 0));
    // Further evidence is about the used replica.
    core.release(
        &grant,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        MS,
        0.0,
    );
    let key = |name: &str| replica(name, 2).key();
    assert!(core.open_breaker_of(&key("r0"), MS).is_none());
    assert!(core.open_breaker_of(&key("r1"), MS).is_some());
    assert_eq!(load(&core, "r1", MS).0, 0);
}

// spec: SLOT-30
#[test]
fn a_response_closes_the_breaker_of_the_used_replica_and_not_of_the_hinted_one() {
    let mut core = core(&[replica("r0", 1), replica("r1", 1)]);
    for _ in 0..2 {
        let grant = take(&mut core, S);
        core.release(
            &grant,
            RequestEnd::Failed(EndpointFailure::Unreachable),
            S,
            0.0,
        );
    }
    let mut probe = take(&mut core, 2 * S);
    assert!(replica_of(&probe) == "r0" && probe.probe.is_some());
    core.response_started(&mut probe, Some(&"r1".parse().unwrap()), None, 2 * S);
    let breaker = |name: &str| core.open_breaker_of(&replica(name, 1).key(), 2 * S);
    assert!(breaker("r0").is_some() && breaker("r1").is_none());
}

// spec: SLOT-30
#[test]
fn an_unknown_replica_releases_the_hinted_one_once() {
    let mut core = core(&[replica("r0", 1)]);
    let mut grant = take(&mut core, MS);
    for _ in 0..2 {
        core.response_started(&mut grant, Some(&"new".parse().unwrap()), Some((0, 1)), MS);
        assert_eq!(core.only_status(MS).in_flight, 0);
    }
    core.apply(
        &[
            reported("n", 1, 2, 1).set(),
            TestEndpoint {
                report: 2,
                ..replica("r0", 1)
            }
            .set(),
        ],
        MS,
    );
    let next = take(&mut core, MS);
    core.release(
        &grant,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        MS,
        0.0,
    );
    let held: u32 = core
        .snapshot(MS)
        .endpoints
        .iter()
        .map(|endpoint| endpoint.in_flight)
        .sum();
    assert_eq!(held, 1);
    assert!(core.open_breaker_of(next.endpoint.key(), MS).is_none());
}

// spec: SLOT-31
#[test]
fn a_pool_that_is_one_endpoint_ignores_the_used_replica() {
    let mut core = core(&[idle("a", 2)]);
    let mut grant = take(&mut core, MS);
    core.response_started(&mut grant, Some(&"r1".parse().unwrap()), Some((0, 2)), MS);
    let status = core.only_status(MS);
    assert_eq!((status.in_flight, status.used_by_others), (1, 1));
    core.release(&grant, RequestEnd::Served, MS, 0.0);
    assert_eq!(core.only_status(MS).in_flight, 0);
}

// spec: SLOT-32
#[test]
fn own_requests_that_end_while_a_response_is_on_its_way_are_not_counted_as_others() {
    let mut core = core(&[replica("r0", 4)]);
    let mut grants: Vec<_> = (0..3).map(|_| take(&mut core, S)).collect();
    let mut last = grants.pop().unwrap();
    for grant in &grants {
        core.release(grant, RequestEnd::Served, S, 0.0);
    }
    // The node wrote the response while three requests ran.
    core.response_started(&mut last, None, Some((1, 4)), S + 20 * MS);
    assert_eq!(core.only_status(S + 20 * MS).used_by_others, 0);
    // Later figures are about others.
    core.response_started(&mut last, None, Some((1, 4)), S + 200 * MS);
    assert_eq!(core.only_status(S + 200 * MS).used_by_others, 2);
}

// spec: SLOT-33
#[test]
fn a_slot_freed_by_time_is_served_before_a_move_to_its_replica() {
    // Others use all slots of r1 until its report is old.
    let full = TestEndpoint {
        free: 0,
        ..replica("r1", 2)
    };
    let mut core = core(&[replica("r0", 1), full]);
    let mut grant = take(&mut core, MS);
    assert_eq!(replica_of(&grant), "r0");
    queued(core.acquire(&request("m"), 2 * MS, || 1));
    // The report is old now, but no event has noticed it yet.
    let later = 10 * S;
    core.response_started(&mut grant, Some(&"r1".parse().unwrap()), None, later);
    assert_eq!(waiters(&core.granted()), [1], "it waits beside a free slot");
}

// spec: ADM-35
#[test]
fn an_unreachable_node_opens_the_breakers_of_all_its_endpoints() {
    let mut core = core(&[
        replica("r0", 2),
        replica("r1", 2),
        replica("r2", 2),
        idle("other", 2),
    ]);
    let grant = take(&mut core, S);
    assert_eq!(grant.endpoint.key().node.as_str(), "n");
    core.release(
        &grant,
        RequestEnd::Failed(EndpointFailure::NodeUnreachable),
        S,
        0.0,
    );
    for name in ["r0", "r1", "r2"] {
        let breaker = core.open_breaker_of(&replica(name, 2).key(), S).unwrap();
        assert_eq!(breaker.cause, EndpointFailure::NodeUnreachable);
    }
    assert_eq!(core.take_effects().breaker_changes.len(), 3);
    assert_eq!(take(&mut core, S).endpoint.key().node.as_str(), "other");

    // An unreachable engine is no evidence about other engines.
    let mut core = self::core(&[replica("r0", 2), replica("r1", 2)]);
    let grant = take(&mut core, S);
    core.release(
        &grant,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        S,
        0.0,
    );
    assert!(core.open_breaker_of(&replica("r1", 2).key(), S).is_none());
}
