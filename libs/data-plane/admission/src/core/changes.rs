//! What a change of the routing table does to slots, breakers and waiting requests, and which
//! replica a request is at.

use routing_table::RouteChange;

use super::{fixture::*, *};

// spec: ADM-30
#[test]
fn a_change_helps_those_who_wait_for_a_model_of_its_endpoint_and_no_others() {
    let with = |name: &str, model: Option<&str>, slots: u32| Fake {
        models: model.map(|model| vec![model.to_owned()]),
        ..replica(name, slots)
    };
    let mut core = core(&[
        with("r0", Some("x"), 0),
        with("r1", Some("y"), 0),
        with("r2", None, 0),
    ]);
    for (waiter, model) in [(1, "x"), (2, "y"), (3, "unheard-of")] {
        waits(core.arrive(&ask(model), MS, || waiter));
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
fn who_waits_for_a_model_that_nobody_names_any_more_goes_to_those_that_name_none() {
    let unnamed = Fake {
        models: None,
        ..replica("r1", 1)
    };
    let mut core = core(&[replica("r0", 0), unnamed]);
    waits(core.arrive(&ask("m"), MS, || 1));
    core.apply(&[RouteChange::Remove(replica("r0", 0).endpoint())], MS);
    assert_eq!(waiters(&core.granted()), [1]);
}

// spec: ADM-30
#[test]
fn a_slot_that_comes_back_serves_the_models_that_its_endpoint_has_now() {
    let other = Fake {
        models: Some(vec!["other".to_owned()]),
        ..replica("r0", 1)
    };
    let mut core = core(&[replica("r0", 1)]);
    let held = take(&mut core, MS);
    core.apply(&[other.set()], MS);
    waits(core.arrive(&ask("other"), MS, || 1));
    assert_eq!(waiters(&core.released(&held, Ending::Served, MS)), [1]);
}

// spec: ADM-31
#[test]
fn one_request_pays_for_what_is_due_once() {
    let reports_load = |n: u32| Fake {
        free: 0,
        ..replica(&format!("r{n}"), 4)
    };
    let fakes: Vec<_> = (0..1_000).map(reports_load).collect();
    let mut core = core(&fakes);
    assert_eq!(
        core.due.next(),
        Some(S),
        "what others hold is believed for a second"
    );
    waits(core.arrive(&ask("m"), MS, || 1));
    assert_eq!(waiters(&core.ticked(S)), [1]);
    assert_eq!(core.due.next(), None);
}

// spec: ADM-32
#[test]
fn a_new_generation_starts_with_a_closed_breaker_and_still_counts_what_runs() {
    let again = |generation| Fake {
        generation,
        ..replica("r0", 2)
    };
    let mut core = core(&[again(1)]);
    let (old, probe) = (take(&mut core, S), take(&mut core, S));
    core.release(&probe, Ending::Failed(Failure::Unreachable), S, 0.0);
    let probe = take(&mut core, 2 * S);
    let _ = core.take_effects();
    core.apply(&[again(2).set()], 2 * S);
    let changes = core.take_effects().trust_changes;
    assert_eq!(
        changes
            .iter()
            .map(|change| change.lost_by)
            .collect::<Vec<_>>(),
        [None]
    );
    let status = core.only_status(2 * S);
    assert!(status.quarantine.is_none() && status.in_flight == 2);
    // What requests show that were sent to the engine before is not about this one.
    core.release(&old, Ending::Failed(Failure::Unreachable), 2 * S, 0.0);
    core.release(&probe, Ending::Failed(Failure::Unreachable), 2 * S, 0.0);
    let status = core.only_status(2 * S);
    assert!(status.quarantine.is_none() && status.in_flight == 0);
}

// spec: ADM-32
#[test]
fn a_retry_may_go_to_the_next_generation_of_where_it_has_failed() {
    let again = |generation| Fake {
        generation,
        ..replica("r0", 1)
    };
    let mut core = core(&[again(1)]);
    let grant = take(&mut core, MS);
    let tried = [grant.endpoint.clone()];
    core.release(&grant, Ending::Failed(Failure::Broken), MS, 0.0);
    let retry = AcquireRequest {
        tried: &tried,
        ticket: Some(grant.ticket),
        ..ask("m")
    };
    assert_eq!(
        refused(core.arrive(&retry, MS, || 1)).reason,
        RefusalReason::Exhausted
    );
    core.apply(&[replica("r1", 0).set()], MS);
    waits(core.arrive(&retry, MS, || 1));
    core.apply(&[again(2).set()], MS);
    assert_eq!(waiters(&core.granted()), [1]);
}

// spec: ADM-33
#[test]
fn a_batch_of_changes_is_taken_in_before_anybody_is_served_by_it() {
    let mut core = core(&[replica("r0", 0), replica("r1", 0)]);
    waits(core.arrive(&ask("m"), MS, || 1));
    let gone = RouteChange::Remove(replica("r0", 1).endpoint());
    core.apply(&[replica("r0", 1).set(), replica("r1", 1).set(), gone], MS);
    let granted = core.granted();
    assert_eq!(
        (waiters(&granted), replica_of(&granted[0].1)),
        (vec![1], "r1")
    );
}

#[test]
fn an_index_that_another_endpoint_gets_keeps_nothing_of_the_first() {
    let mut core = core(&[replica("r0", 1)]);
    let held = take(&mut core, S);
    core.replaced(&[replica("r1", 1)], S);
    assert_eq!(core.only_status(S).in_flight, 0);
    let other = take(&mut core, S);
    assert_eq!(held.index, other.index);
    waits(core.arrive(&ask("m"), S, || 1));
    assert!(
        core.released(&held, Ending::Failed(Failure::Unreachable), S)
            .is_empty()
    );
    assert!(core.only_status(S).quarantine.is_none());
    assert_eq!(waiters(&core.released(&other, Ending::Served, S)), [1]);
}

// spec: SLOT-30
#[test]
fn a_request_counts_where_the_node_sent_it_and_the_hinted_replica_is_full_for_a_moment() {
    let mut core = core(&[replica("r0", 2), replica("r1", 2)]);
    let mut grant = take(&mut core, MS);
    assert_eq!(replica_of(&grant), "r0");
    core.answered(&mut grant, Some(&"r1".parse().unwrap()), Some((1, 2)), MS);
    let load = |core: &Core<u32>, name: &str, now| {
        let index = core.table.find(&replica(name, 2).key()).unwrap();
        let slot = core.slot(index).unwrap();
        (slot.own, slot.foreign(now))
    };
    assert_eq!(
        (load(&core, "r0", MS), load(&core, "r1", MS)),
        ((0, 2), (1, 0))
    );
    assert_eq!(load(&core, "r0", 300 * MS), (0, 0));
    // From now on it is the other one's request.
    core.release(&grant, Ending::Failed(Failure::Unreachable), MS, 0.0);
    let key = |name: &str| replica(name, 2).key();
    assert!(core.quarantine_of(&key("r0"), MS).is_none());
    assert!(core.quarantine_of(&key("r1"), MS).is_some());
    assert_eq!(load(&core, "r1", MS).0, 0);
}

// spec: SLOT-30
#[test]
fn an_answer_of_another_replica_closes_its_breaker_and_not_that_of_the_hinted_one() {
    let mut core = core(&[replica("r0", 1), replica("r1", 1)]);
    for _ in 0..2 {
        let grant = take(&mut core, S);
        core.release(&grant, Ending::Failed(Failure::Unreachable), S, 0.0);
    }
    let mut probe = take(&mut core, 2 * S);
    assert!(replica_of(&probe) == "r0" && probe.probe.is_some());
    core.answered(&mut probe, Some(&"r1".parse().unwrap()), None, 2 * S);
    let quarantine = |name: &str| core.quarantine_of(&replica(name, 1).key(), 2 * S);
    assert!(quarantine("r0").is_some() && quarantine("r1").is_none());
}

// spec: SLOT-30
#[test]
fn a_replica_that_is_not_known_here_gives_the_hinted_one_back_once() {
    let mut core = core(&[replica("r0", 1)]);
    let mut grant = take(&mut core, MS);
    for _ in 0..2 {
        core.answered(&mut grant, Some(&"new".parse().unwrap()), Some((0, 1)), MS);
        assert_eq!(core.only_status(MS).in_flight, 0);
    }
    core.apply(
        &[
            reported("n", 1, 2, 1).set(),
            Fake {
                report: 2,
                ..replica("r0", 1)
            }
            .set(),
        ],
        MS,
    );
    let next = take(&mut core, MS);
    core.release(&grant, Ending::Failed(Failure::Unreachable), MS, 0.0);
    let held: u32 = core
        .snapshot(MS)
        .endpoints
        .iter()
        .map(|endpoint| endpoint.in_flight)
        .sum();
    assert_eq!(held, 1);
    assert!(core.quarantine_of(next.endpoint.key(), MS).is_none());
}

// spec: SLOT-31
#[test]
fn a_pool_that_is_one_endpoint_stays_one_whatever_replica_answers() {
    let mut core = core(&[idle("a", 2)]);
    let mut grant = take(&mut core, MS);
    core.answered(&mut grant, Some(&"r1".parse().unwrap()), Some((0, 2)), MS);
    let status = core.only_status(MS);
    assert_eq!((status.in_flight, status.foreign), (1, 1));
    core.release(&grant, Ending::Served, MS, 0.0);
    assert_eq!(core.only_status(MS).in_flight, 0);
}

// spec: SLOT-32
#[test]
fn requests_that_end_while_an_answer_is_on_its_way_are_not_taken_for_those_of_others() {
    let mut core = core(&[replica("r0", 4)]);
    let mut grants: Vec<_> = (0..3).map(|_| take(&mut core, S)).collect();
    let mut last = grants.pop().unwrap();
    for grant in &grants {
        core.release(grant, Ending::Served, S, 0.0);
    }
    // Written by the node when three requests ran.
    core.answered(&mut last, None, Some((1, 4)), S + 20 * MS);
    assert_eq!(core.only_status(S + 20 * MS).foreign, 0);
    // What is told later is about others.
    core.answered(&mut last, None, Some((1, 4)), S + 200 * MS);
    assert_eq!(core.only_status(S + 200 * MS).foreign, 2);
}

// spec: SLOT-33
#[test]
fn what_has_become_free_by_time_alone_is_not_hidden_by_an_answer_of_another_replica() {
    // Until its report is old, r1 is full of the requests of others.
    let full = Fake {
        free: 0,
        ..replica("r1", 2)
    };
    let mut core = core(&[replica("r0", 1), full]);
    let mut grant = take(&mut core, MS);
    assert_eq!(replica_of(&grant), "r0");
    waits(core.arrive(&ask("m"), 2 * MS, || 1));
    // The report is old now, and nobody has looked at the clock yet.
    let later = 10 * S;
    core.answered(&mut grant, Some(&"r1".parse().unwrap()), None, later);
    assert_eq!(waiters(&core.granted()), [1], "it waits beside a free slot");
}

// spec: ADM-35
#[test]
fn a_node_that_cannot_be_reached_for_one_endpoint_is_tried_for_none_of_the_others() {
    let mut core = core(&[
        replica("r0", 2),
        replica("r1", 2),
        replica("r2", 2),
        idle("other", 2),
    ]);
    let grant = take(&mut core, S);
    assert_eq!(grant.endpoint.key().node.as_str(), "n");
    core.release(&grant, Ending::Failed(Failure::NodeUnreachable), S, 0.0);
    for name in ["r0", "r1", "r2"] {
        let quarantine = core.quarantine_of(&replica(name, 2).key(), S).unwrap();
        assert_eq!(quarantine.cause, Failure::NodeUnreachable);
    }
    assert_eq!(core.take_effects().trust_changes.len(), 3);
    assert_eq!(take(&mut core, S).endpoint.key().node.as_str(), "other");

    // An engine that cannot be reached says nothing of its neighbours.
    let mut core = self::core(&[replica("r0", 2), replica("r1", 2)]);
    let grant = take(&mut core, S);
    core.release(&grant, Ending::Failed(Failure::Unreachable), S, 0.0);
    assert!(core.quarantine_of(&replica("r1", 2).key(), S).is_none());
}
