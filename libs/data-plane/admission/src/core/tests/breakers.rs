//! Circuit breakers: failures, probes and the requests that wait for them.

use super::{
    super::{grant::RequestEnd, *},
    fixture::*,
};
use crate::request::Priority;

#[test]
fn a_refused_connection_opens_the_breaker_and_one_probe_closes_it() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, RequestEnd::Failed(EndpointFailure::Unreachable), S);
    queued(core.acquire(&request("m"), S, || 1));
    queued(core.acquire(&request("m"), S, || 2));
    assert_eq!(core.next_wakeup(), Some(2 * S));
    assert!(core.ticked(2 * S - MS).is_empty());
    let probe = core.ticked(2 * S);
    assert_eq!(waiters(&probe), [1], "one probe at a time");
    // A report does not close the breaker.
    assert!(core.replaced(&[reported("a", 4, 2, 4)], 2 * S).is_empty());
    let woken = core.released(&probe[0].1, RequestEnd::Served, 3 * S);
    assert_eq!(woken[0].0, 2);
}

#[test]
fn a_probe_succeeds_when_its_response_begins() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, RequestEnd::Failed(EndpointFailure::Unreachable), S);
    let mut probe = granted(core.acquire(&request("m"), 3 * S, || 1));
    core.response_started(&mut probe, None, Some((3, 4)), 3 * S);
    take(&mut core, 3 * S);
}

#[test]
fn responses_that_all_break_open_the_breaker() {
    let mut core = core(&[idle("a", 1)]);
    for _ in 0..3 {
        let mut grant = take(&mut core, MS);
        core.response_started(&mut grant, None, None, MS);
        core.released(&grant, RequestEnd::Failed(EndpointFailure::Broken), MS);
    }
    assert!(core.only_status(MS).open_breaker.is_some());
}

// spec: ADM-40
#[test]
fn bad_responses_open_no_breaker_of_a_models_last_endpoint() {
    let bad = RequestEnd::Failed(EndpointFailure::BadResponse);
    let mut core = core(&[idle("a", 9), idle("b", 9)]);
    let fail = |core: &mut AdmissionCore<u32>, end, now| {
        // Both endpoints get requests in turn; each of them fails alike.
        for _ in 0..20 {
            let AcquireDecision::Granted(grant) = core.acquire(&request("m"), now, || 1) else {
                return;
            };
            core.released(&grant, end, now);
        }
    };
    fail(&mut core, bad, MS);
    let open = |core: &AdmissionCore<u32>| {
        let endpoints = core.snapshot(MS).endpoints;
        endpoints
            .iter()
            .filter(|status| status.open_breaker.is_some())
            .count()
    };
    assert_eq!(open(&core), 1, "the other one is the last");
    fail(&mut core, RequestEnd::Failed(EndpointFailure::Broken), MS);
    assert_eq!(open(&core), 2, "failed connections count in any case");
}

#[test]
fn requests_sent_before_the_opening_do_not_affect_the_probe() {
    let is_open = |core: &AdmissionCore<u32>| core.only_status(2 * S).open_breaker.is_some();
    let mut core = core(&[idle("a", 4)]);
    let (old, older) = (take(&mut core, MS), take(&mut core, MS));
    let failed = take(&mut core, MS);
    core.released(
        &failed,
        RequestEnd::Failed(EndpointFailure::Unreachable),
        MS,
    );
    let mut probe = take(&mut core, 2 * S);
    // Streams that began before the opening end while the probe is running.
    core.released(&old, RequestEnd::Served, 2 * S);
    assert!(is_open(&core));
    core.released(&older, RequestEnd::Failed(EndpointFailure::Broken), 2 * S);
    core.response_started(&mut probe, None, None, 2 * S);
    assert!(!is_open(&core));
}

/// One endpoint with four slots. Its breaker is open until 2 s by a connection refused at 1 s.
fn open_until_two_seconds() -> AdmissionCore<u32> {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, RequestEnd::Failed(EndpointFailure::Unreachable), S);
    core
}

// spec: ADM-13
#[test]
fn an_abandoned_probe_admits_the_next_one() {
    let mut core = open_until_two_seconds();
    let probe = take(&mut core, 2 * S);
    queued(core.acquire(&request("m"), 2 * S, || 1));
    queued(core.acquire(&request("m"), 2 * S, || 2));
    let mut next = core.released(&probe, RequestEnd::Abandoned, 2 * S);
    assert_eq!(waiters(&next), [1], "one probe at a time");
    assert_eq!((probe.probe, next[0].1.probe), (Some(1), Some(2)));
    assert_eq!(core.only_status(2 * S).in_flight, 1);
    core.response_started(&mut next[0].1, None, None, 2 * S);
    assert_eq!(waiters(&core.granted()), [2]);
}

// spec: ADM-13
#[test]
fn a_failure_counts_when_its_request_is_dropped() {
    let mut core = core(&[idle("a", 4)]);
    let broken: Vec<_> = (0..3).map(|_| take(&mut core, MS)).collect();
    for grant in &broken {
        core.release(grant, RequestEnd::Failed(EndpointFailure::Broken), MS, 0.0);
    }
    let changes = core.take_effects().breaker_changes;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].opened_by, Some(EndpointFailure::Broken));
    let status = core.only_status(MS);
    assert!(status.in_flight == 0 && status.open_breaker.is_some());
}

// spec: ADM-14
#[test]
fn a_probe_with_a_long_prompt_does_not_delay_the_next_one() {
    let mut core = open_until_two_seconds();
    let slow = take(&mut core, 2 * S);
    queued(core.acquire(&request("m"), 2 * S, || 1));
    queued(core.acquire(&request("m"), 2 * S, || 2));
    assert_eq!(core.next_wakeup(), Some(3 * S), "the first backoff");
    let mut second = core.ticked(3 * S);
    assert_eq!(waiters(&second), [1], "one probe at a time");
    // The response to its short prompt begins at once and closes the breaker.
    core.response_started(&mut second[0].1, None, None, 3 * S);
    assert_eq!(waiters(&core.granted()), [2]);
    assert!(core.only_status(3 * S).open_breaker.is_none());
    // A failure of the first probe is an ordinary failure.
    core.released(&slow, RequestEnd::Failed(EndpointFailure::Broken), 4 * S);
    assert!(core.only_status(4 * S).open_breaker.is_none());
}

// spec: ADM-15
#[test]
fn every_event_that_notices_the_end_of_a_backoff_serves_waiting_requests() {
    type Notices = fn(&mut AdmissionCore<u32>, Ticket);
    let notices: [(&str, Notices); 5] = [
        ("arrival", |core, _| {
            queued(core.acquire(&request("m"), 2 * S, || 9));
        }),
        ("outlook", |core, _| {
            assert!(
                !core
                    .estimate_wait("m", Priority::Interactive, 2 * S)
                    .is_free
            );
        }),
        ("explain", |core, _| {
            core.explain("m", anywhere(), 2 * S);
        }),
        ("timeout", |core, ticket| {
            assert_eq!(core.time_out("m", ticket, true, 2 * S), None);
        }),
        ("tick", |core, _| core.tick(2 * S)),
    ];
    for (name, notice) in notices {
        let mut core = open_until_two_seconds();
        let ticket = queued(core.acquire(&request("m"), S, || 1));
        notice(&mut core, ticket);
        assert_eq!(waiters(&core.granted()), [1], "{name}");
    }
}

// spec: ADM-15
#[test]
fn a_response_that_closes_the_breaker_serves_waiting_requests() {
    let mut core = open_until_two_seconds();
    let mut probe = take(&mut core, 2 * S);
    for waiter in 1..=4 {
        queued(core.acquire(&request("m"), 2 * S, || waiter));
    }
    core.response_started(&mut probe, None, None, 2 * S);
    assert_eq!(
        waiters(&core.granted()),
        [1, 2, 3],
        "three slots are free besides that of the probe"
    );
}
