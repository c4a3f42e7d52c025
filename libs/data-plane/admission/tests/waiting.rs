//! Waiting with a paused clock: the lock, the timer task and the wake-ups around the core.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use admission::{
    AcquireRequest, Admission, AdmissionConfig, EndpointFailure, Flow, LeaseOutcome, Priority,
    RefusalReason, RoutingPreference,
};
use pool_registry_types::ReplicaId;
use routing_table::{RouteChange, RouteSink as _};
use test_fixtures::TestEndpoint;
use tokio::time::Instant;

static ANYWHERE: LazyLock<Arc<RoutingPreference>> = LazyLock::new(Arc::default);

fn request() -> AcquireRequest<'static> {
    AcquireRequest {
        model: "m",
        priority: Priority::Interactive,
        preference: &ANYWHERE,
        tried: &[],
        ticket: None,
        flow: Flow::default(),
    }
}

/// A replica of the only pool, with that many slots.
fn replica(name: &str, slots: u32) -> RouteChange {
    let replica = TestEndpoint {
        report: slots.into(),
        ..TestEndpoint::of_replica("n", name, slots)
    };
    replica.set()
}

fn admission_of(slots: u32) -> Admission {
    let admission = Admission::new(AdmissionConfig::default());
    admission.apply(&[replica("r0", slots)]);
    admission
}

/// Runs `test` beside the admission's timer task.
async fn with_slots<T>(slots: u32, test: impl AsyncFnOnce(Admission) -> T) -> T {
    let admission = admission_of(slots);
    let timer_task = admission.clone().run();
    let test = test(admission);
    tokio::pin!(timer_task, test);
    tokio::select! {
        biased;
        () = &mut timer_task => panic!("the timer task ended"),
        result = &mut test => result,
    }
}

/// Waits until a request is in the queue.
async fn until_queued(admission: &Admission) {
    while admission.snapshot().waiting.is_empty() {
        tokio::task::yield_now().await;
    }
}

// spec: ADM-5
#[tokio::test(start_paused = true)]
async fn an_unknown_model_is_waited_for_until_the_warm_up_ends() {
    let config = AdmissionConfig {
        warm_up: Duration::from_secs(10),
        max_wait: Duration::from_secs(60),
        ..AdmissionConfig::default()
    };
    let start = Instant::now();
    let unknown = Admission::new(config);
    let refusal = unknown.acquire(request(), None).await.unwrap_err();
    assert_eq!(
        (refusal.reason, start.elapsed().as_secs()),
        (RefusalReason::UnknownModel, 10)
    );
    // A node has brought the model meanwhile, and is busy: the request waits as long as others.
    let start = Instant::now();
    let known = Admission::new(config);
    let (refusal, ()) = tokio::join!(known.acquire(request(), None), async {
        until_queued(&known).await;
        known.apply(&[replica("r0", 0)]);
    });
    assert_eq!(
        (refusal.unwrap_err().reason, start.elapsed().as_secs()),
        (RefusalReason::QueueFull, 60)
    );
}

// spec: ADM-3
#[tokio::test(start_paused = true)]
async fn a_request_waits_exactly_as_long_as_allowed() {
    with_slots(1, async |admission| {
        let _held = admission.acquire(request(), None).await.unwrap();
        let start = Instant::now();
        let refusal = admission.acquire(request(), None).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::QueueFull);
        assert!(refusal.retry_after.is_some());
        assert_eq!(
            start.elapsed().as_secs(),
            AdmissionConfig::default().max_wait.as_secs()
        );

        let start = Instant::now();
        let deadline = Some(start + Duration::from_millis(300));
        let refusal = admission.acquire(request(), deadline).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Deadline);
        assert_eq!(start.elapsed().as_millis() / 10, 30);
        assert!(
            admission.snapshot().waiting.is_empty(),
            "the queue is empty"
        );
    })
    .await;
}

// spec: SLOT-2
#[tokio::test(start_paused = true)]
async fn a_dropped_lease_wakes_the_next_at_once() {
    with_slots(1, async |admission| {
        let held = admission.acquire(request(), None).await.unwrap();
        let start = Instant::now();
        let (next, ()) = tokio::join!(admission.acquire(request(), None), async {
            until_queued(&admission).await;
            held.ended(LeaseOutcome::Served);
            drop(held);
        });
        assert!(next.unwrap().has_waited());
        assert_eq!(start.elapsed(), Duration::ZERO);
    })
    .await;
}

// spec: ADM-4
#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_the_queue_leaves_no_trace() {
    with_slots(1, async |admission| {
        let held = admission.acquire(request(), None).await.unwrap();
        let left =
            tokio::time::timeout(Duration::from_millis(5), admission.acquire(request(), None))
                .await;
        assert!(left.is_err());
        assert!(admission.snapshot().waiting.is_empty());
        drop(held);
        assert_eq!(admission.snapshot().endpoints[0].in_flight, 0);
        admission.acquire(request(), None).await.unwrap();
    })
    .await;
}

// spec: ADM-7, SEE-8
#[tokio::test(start_paused = true)]
async fn a_backoff_ends_by_itself_for_waiting_requests() {
    with_slots(4, async |admission| {
        let changes = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let recorded = changes.clone();
        admission.on_breaker_change(move |change| recorded.lock().push(change.opened_by));
        let lease = admission.acquire(request(), None).await.unwrap();
        lease.ended(LeaseOutcome::Failed(EndpointFailure::Unreachable));
        drop(lease);
        assert!(admission.snapshot().endpoints[0].open_breaker.is_some());
        let start = Instant::now();
        let probe = admission.acquire(request(), None).await.unwrap();
        assert!(
            (800..1300).contains(&start.elapsed().as_millis()),
            "{:?}",
            start.elapsed()
        );
        probe.ended(LeaseOutcome::Served);
        drop(probe);
        assert!(admission.snapshot().endpoints[0].open_breaker.is_none());
        assert_eq!(*changes.lock(), [Some(EndpointFailure::Unreachable), None]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_endpoint_serves_waiting_requests() {
    with_slots(1, async |admission| {
        let _held = admission.acquire(request(), None).await.unwrap();
        let (next, ()) = tokio::join!(admission.acquire(request(), None), async {
            until_queued(&admission).await;
            admission.apply(&[replica("r0", 2)]);
        });
        assert!(next.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_set_its_own_queue_timeout() {
    with_slots(1, async |admission| {
        let _held = admission.acquire(request(), None).await.unwrap();
        let start = Instant::now();
        let queue_timeout = 20 * AdmissionConfig::default().max_wait;
        let refusal = admission
            .acquire_within(request(), None, queue_timeout)
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.reason, start.elapsed()),
            (RefusalReason::QueueFull, queue_timeout)
        );
    })
    .await;
}

// spec: ADM-50
#[tokio::test(start_paused = true)]
async fn the_longest_queue_timeout_of_the_pools_of_a_model_counts() {
    let configured = AdmissionConfig::default().max_wait;
    let admission = Admission::new(AdmissionConfig::default());
    let pool = |name: &str, timeout: Option<Duration>| TestEndpoint {
        pool: name.to_owned(),
        queue_timeout: timeout,
        ..TestEndpoint::of_pool("n", 0)
    };
    let longer = |factor: u32| Some(configured * factor);
    let steps = [
        // A shorter one than the setting has no effect.
        (pool("a", Some(Duration::from_secs(1))).set(), configured),
        (pool("b", longer(2)).set(), configured * 2),
        (pool("c", longer(4)).set(), configured * 4),
        (pool("c", longer(3)).set(), configured * 3),
        (
            RouteChange::Remove(pool("c", longer(3)).endpoint()),
            configured * 2,
        ),
        (pool("b", None).set(), configured),
    ];
    for (change, expected) in steps {
        admission.apply(std::slice::from_ref(&change));
        assert_eq!(admission.queue_timeout("m"), expected, "{change:?}");
        assert_eq!(admission.queue_timeout("another"), configured);
    }
    // Until it reports its models, a pool may have each model that no other names.
    let unknown = TestEndpoint {
        models: None,
        ..pool("d", longer(5))
    };
    admission.apply(&[unknown.set()]);
    assert_eq!(admission.queue_timeout("another"), configured * 5);
    assert_eq!(admission.queue_timeout("m"), configured);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_while_a_request_waits_is_probed_by_it() {
    with_slots(1, async |admission| {
        for _ in 0..2 {
            let lease = admission.acquire(request(), None).await.unwrap();
            lease.ended(LeaseOutcome::Failed(EndpointFailure::Broken));
        }
        let last = admission.acquire(request(), None).await.unwrap();
        let start = Instant::now();
        let (lease, ()) = tokio::join!(admission.acquire(request(), None), async {
            until_queued(&admission).await;
            last.ended(LeaseOutcome::Failed(EndpointFailure::Broken));
            drop(last);
        });
        assert!(lease.is_ok());
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    })
    .await;
}

// spec: ADM-13
#[tokio::test(start_paused = true)]
async fn the_first_outcome_counts_when_a_lease_is_dropped() {
    with_slots(1, async |admission| {
        for _ in 0..3 {
            let lease = admission.acquire(request(), None).await.unwrap();
            lease.ended(LeaseOutcome::Failed(EndpointFailure::Broken));
            lease.ended(LeaseOutcome::Served);
        }
        assert!(admission.snapshot().endpoints[0].open_breaker.is_some());
    })
    .await;
}

// spec: PATH-41
#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_sent_is_no_evidence() {
    with_slots(1, async |admission| {
        for _ in 0..9 {
            drop(admission.acquire(request(), None).await.unwrap());
        }
        let status = admission.snapshot().endpoints[0].clone();
        assert!(status.open_breaker.is_none() && status.in_flight == 0);
    })
    .await;
}

// spec: SLOT-30
#[tokio::test(start_paused = true)]
async fn a_lease_moves_to_the_replica_that_the_node_used() {
    with_slots(4, async |admission| {
        admission.apply(&[replica("r1", 4)]);
        let mut lease = admission.acquire(request(), None).await.unwrap();
        assert_eq!(lease.endpoint().key().to_string(), "n/pool-0/r0");
        lease.answered(Some(&ReplicaId::new("r1").unwrap()), Some((3, 4)));
        assert_eq!(lease.endpoint().key().to_string(), "n/pool-0/r1");
        let in_flight = |admission: &Admission| {
            let mut endpoints = admission.snapshot().endpoints;
            endpoints.sort_by(|a, b| a.key.cmp(&b.key));
            endpoints
                .iter()
                .map(|endpoint| endpoint.in_flight)
                .collect::<Vec<_>>()
        };
        assert_eq!(in_flight(&admission), [0, 1]);
        drop(lease);
        assert_eq!(in_flight(&admission), [0, 0]);
    })
    .await;
}

// spec: ADM-15
#[tokio::test(start_paused = true)]
async fn a_request_is_served_when_its_wait_ends_if_the_timer_task_does_not_run() {
    let admission = admission_of(1);
    let lease = admission.acquire(request(), None).await.unwrap();
    lease.ended(LeaseOutcome::Failed(EndpointFailure::Unreachable));
    drop(lease);
    // No other event comes, so it is served when its wait ends and not when the backoff ends.
    let start = Instant::now();
    let lease = admission.acquire(request(), None).await.unwrap();
    assert_eq!(start.elapsed(), AdmissionConfig::default().max_wait);
    lease.ended(LeaseOutcome::Failed(EndpointFailure::Unreachable));
    drop(lease);
    // The second request comes when the backoff is over. The slot goes to the first.
    let backoff = admission.snapshot().endpoints[0]
        .open_breaker
        .unwrap()
        .retry_in;
    let start = Instant::now();
    let (first, second) = tokio::join!(
        async {
            let lease = admission.acquire(request(), None).await;
            lease.map(|lease| (lease, start.elapsed()))
        },
        async {
            tokio::time::sleep(backoff).await;
            admission.acquire(request(), None).await
        }
    );
    let waited = first.unwrap().1;
    assert!((backoff..backoff + Duration::from_millis(2)).contains(&waited));
    assert_eq!(second.unwrap_err().reason, RefusalReason::QueueFull);
}

// spec: KEY-11
#[tokio::test(start_paused = true)]
async fn a_request_that_makes_room_is_refused_at_once() {
    let config = AdmissionConfig {
        queue_limit: 2,
        ..AdmissionConfig::default()
    };
    let admission = Admission::new(config);
    admission.apply(&[replica("r0", 1)]);
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let of = |key| AcquireRequest {
        flow: Flow {
            key: Some(key),
            weight: 1,
        },
        ..request()
    };
    let held = admission.acquire(request(), None).await.unwrap();
    let mut first = Box::pin(admission.acquire(of(&a), None));
    let mut second = Box::pin(admission.acquire(of(&a), None));
    let mut other = Box::pin(admission.acquire(of(&b), None));
    let start = Instant::now();
    let refusal = tokio::select! {
        biased;
        _ = &mut first => panic!("the oldest request was displaced"),
        refused = &mut second => refused.unwrap_err(),
        _ = &mut other => panic!("there is no slot"),
    };
    assert_eq!(refusal.reason, RefusalReason::QueueFull);
    assert!(refusal.retry_after.is_some());
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(admission.displaced(), 1);
    drop(held);
    let lease = first.await.unwrap();
    drop(lease);
    other.await.unwrap();
}
