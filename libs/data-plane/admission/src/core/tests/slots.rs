//! Slots: load of others, refusals and pauses, new incarnations.

use pool_registry_types::NodeId;
use routing_table::EndpointState;

use super::{
    super::{grant::RequestEnd, *},
    fixture::*,
};

/// A refusal without a pause.
const BUSY: RequestEnd = RequestEnd::Refused { pause: None };

// spec: ADM-10
#[test]
fn a_new_incarnation_starts_without_load() {
    let mut core = core(&[idle("a", 1)]);
    let old = take(&mut core, S);
    queued(core.acquire(&request("m"), S, || 1));
    let restarted = TestEndpoint {
        incarnation: 2,
        ..idle("a", 1)
    };
    let woken = core.replaced(&[restarted], S);
    assert_eq!(woken[0].0, 1);
    // A released slot of the old incarnation frees nothing in the new one.
    queued(core.acquire(&request("m"), S, || 2));
    assert!(
        core.released(&old, RequestEnd::Failed(EndpointFailure::Unreachable), S)
            .is_empty()
    );
    assert_eq!(core.released(&woken[0].1, RequestEnd::Served, S)[0].0, 2);
}

#[test]
fn slots_are_kept_while_an_endpoint_is_gone() {
    let mut core = core(&[idle("a", 1)]);
    let held = take(&mut core, S);
    core.replaced(&[], S);
    core.replaced(&[idle("a", 1)], S);
    queued(core.acquire(&request("m"), S, || 1));
    assert_eq!(core.released(&held, RequestEnd::Served, S)[0].0, 1);
}

// spec: ADM-9
#[test]
fn load_of_others_counts_until_its_report_is_old() {
    let mut core = core(&[idle("a", 4)]);
    let _own = take(&mut core, S);
    // It reports no free slot: others use three.
    core.replaced(&[reported("a", 4, 2, 0)], S);
    queued(core.acquire(&request("m"), S, || 1));
    assert_eq!(
        core.ticked(2 * S)[0].0,
        1,
        "an old report does not keep an endpoint empty"
    );
}

// spec: ADM-9
#[test]
fn a_report_that_counts_finished_own_requests_is_corrected() {
    let mut core = core(&[idle("a", 2)]);
    let grants = [take(&mut core, S), take(&mut core, S)];
    for grant in &grants {
        core.released(grant, RequestEnd::Served, S);
    }
    // Written while both ran, received after both ended.
    core.replaced(&[reported("a", 2, 2, 0)], S);
    take(&mut core, S);
}

// spec: ADM-8
#[test]
fn a_busy_endpoint_has_not_failed_and_is_full_for_a_moment() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, BUSY, S);
    assert!(core.only_status(S).open_breaker.is_none());
    queued(core.acquire(&request("m"), S, || 1));
    assert_eq!(core.ticked_at_wakeup()[0].0, 1);
}

#[test]
fn a_refusal_fills_the_endpoint_exactly() {
    let mut core = core(&[idle("a", 4)]);
    let grants: Vec<_> = (0..3).map(|_| take(&mut core, MS)).collect();
    core.released(&grants[0], BUSY, MS);
    let status = core.only_status(MS);
    assert_eq!((status.in_flight, status.used_by_others), (2, 2));
}

#[test]
fn running_requests_are_counted_after_their_endpoint_left_the_table() {
    let key = idle("a", 4).key();
    let mut core = core(&[idle("a", 4)]);
    assert_eq!(core.in_flight_at(&key), Some(0));
    assert_eq!(core.in_flight_at(&idle("b", 4).key()), None);
    let (first, second) = (take(&mut core, MS), take(&mut core, MS));
    assert_eq!(core.in_flight_at(&key), Some(2));
    let drained = TestEndpoint {
        state: EndpointState::Draining,
        ..idle("a", 4)
    };
    core.replaced(&[drained], MS);
    core.released(&first, RequestEnd::Served, MS);
    assert_eq!(core.in_flight_at(&key), Some(1));
    core.replaced(&[], MS);
    assert_eq!(core.in_flight_at(&key), Some(1));
    core.released(&second, RequestEnd::Served, MS);
    assert_eq!(core.in_flight_at(&key), None);
}

// spec: ADM-16
#[test]
fn an_engine_that_asks_for_a_pause_gets_it() {
    let engine = |report| TestEndpoint {
        report,
        ..replica("r0", 4)
    };
    for (asked, granted) in [(3 * S, 3 * S), (3600 * S, 60 * S), (Duration::MAX, 60 * S)] {
        let mut core = core(&[engine(1)]);
        let grant = take(&mut core, S);
        core.released(&grant, RequestEnd::Refused { pause: Some(asked) }, S);
        let ticket = queued(core.acquire(&request("m"), S, || 1));
        assert!(core.ticked(2 * S).is_empty());
        // A report of free slots does not end the pause.
        assert!(core.replaced(&[engine(2)], 3 * S).is_empty());
        let pause = granted.saturating_sub(2 * S);
        assert_eq!(core.next_wakeup(), Some(3 * S + pause));
        // A request that times out should retry when the pause is over.
        let refusal = core.time_out("m", ticket, true, 3 * S).unwrap();
        assert_eq!(refusal.reason, RefusalReason::QueueFull);
        assert_eq!(refusal.retry_after, Some(pause.max(S)));
        queued(core.acquire(&request("m"), 3 * S, || 2));
        assert_eq!(waiters(&core.ticked(3 * S + pause)), [2]);
    }
}

// spec: ADM-16
#[test]
fn a_pool_that_asks_for_a_pause_gets_two_seconds_at_most() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    let pause = Some(3600 * S);
    core.released(&grant, RequestEnd::Refused { pause }, S);
    queued(core.acquire(&request("m"), S, || 1));
    assert!(core.ticked(3 * S - MS).is_empty());
    assert_eq!(waiters(&core.ticked(3 * S)), [1]);
}

// spec: ADM-16
#[test]
fn repeated_refusals_double_the_pause() {
    let mut core = core(&[idle("a", 1)]);
    let mut now = S;
    let mut pauses = Vec::new();
    let mut grant = take(&mut core, now);
    for _ in 0..6 {
        core.released(&grant, BUSY, now);
        queued(core.acquire(&request("m"), now, || 1));
        let at = core.next_wakeup().unwrap();
        pauses.push((at - now).as_millis());
        now = at;
        grant = core.ticked(now).remove(0).1;
    }
    assert_eq!(pauses, [250, 500, 1000, 2000, 2000, 2000]);
    // It has accepted a request, so the next pause is the first one again.
    core.response_started(&mut grant, None, None, now);
    core.released(&grant, BUSY, now);
    queued(core.acquire(&request("m"), now, || 1));
    assert_eq!(core.next_wakeup(), Some(now + 250 * MS));
}

/// A refusal of a node for a whole pool, without a pause.
const POOL_BUSY: RequestEnd = RequestEnd::PoolRefused { pause: None };

// spec: ADM-36
#[test]
fn a_refusal_for_the_whole_pool_fills_all_its_endpoints() {
    let with_models = |name: &str, models: &[&str]| TestEndpoint {
        models: Some(models.iter().map(|&model| model.to_owned()).collect()),
        ..replica(name, 2)
    };
    let mut core = core(&[
        with_models("r0", &["m"]),
        with_models("r1", &["m", "other"]),
        with_models("r2", &["other"]),
        idle("another-node", 1),
    ]);
    let preference = Arc::new(RoutingPreference {
        pin: Some(NodeId::new("n").unwrap()),
        ..RoutingPreference::default()
    });
    let pinned = AcquireRequest {
        preference: &preference,
        ..request("m")
    };
    let in_pool = granted(core.acquire(&pinned, S, || 0));
    let running = granted(core.acquire(&pinned, S, || 0));
    assert_eq!((replica_of(&in_pool), replica_of(&running)), ("r0", "r1"));
    core.released(&in_pool, POOL_BUSY, S);
    // The retry does not try the pool again.
    assert_eq!(node(&take(&mut core, S)), "another-node");
    queued(core.acquire(&request("m"), S, || 1));
    // Another model of the pool is not affected, and a released slot is free.
    assert_eq!(
        replica_of(&granted(core.acquire(&request("other"), S, || 2))),
        "r2"
    );
    assert_eq!(
        waiters(&core.released(&running, RequestEnd::Served, S)),
        [1]
    );
}

// spec: ADM-36
#[test]
fn a_pool_is_full_until_its_next_report_or_the_end_of_the_pause() {
    let full_pool = |pause| {
        let mut core = core(&[replica("r0", 2), replica("r1", 2)]);
        let refused = take(&mut core, S);
        core.released(&refused, RequestEnd::PoolRefused { pause }, S);
        queued(core.acquire(&request("m"), S, || 1));
        core
    };
    let mut reported_again = full_pool(None);
    let report = TestEndpoint {
        report: 2,
        ..replica("r1", 2)
    };
    reported_again.apply(&[report.set()], S + MS);
    assert_eq!(waiters(&reported_again.granted()), [1]);
    // A pause of the pool is not ended by a report, and lasts 2 s at most.
    for (pause, full_for) in [(None, 250 * MS), (Some(S), S), (Some(3600 * S), 2 * S)] {
        let mut core = full_pool(pause);
        assert!(core.ticked(S + full_for - MS).is_empty());
        assert_eq!(waiters(&core.ticked(S + full_for)), [1], "{pause:?}");
    }
}
