//! Waiting on a clock: the runtime around the core, with time standing still until everybody waits.

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
    AcquireRequest, Admission, Config, Failure, Outcome, Priority, RefusalReason, RoutingPreference,
};
use pool_registry_types::{HttpUrl, NodeId, PoolId, ReplicaId};
use routing_table::{Endpoint, EndpointKey, Report, RouteChange, RouteSink as _, State};
use tokio::time::Instant;

static ANYWHERE: LazyLock<Arc<RoutingPreference>> = LazyLock::new(Arc::default);

fn ask() -> AcquireRequest<'static> {
    AcquireRequest {
        model: "m",
        priority: Priority::Interactive,
        wish: &ANYWHERE,
        tried: &[],
        ticket: None,
    }
}

/// A replica of the one pool, with that many slots.
fn replica(name: &str, slots: u32) -> RouteChange {
    let key = EndpointKey {
        node: NodeId::new("n").unwrap(),
        pool: PoolId::new("p").unwrap(),
        replica: Some(ReplicaId::new(name).unwrap()),
    };
    let target = Arc::new(HttpUrl::new("http://localhost:1").unwrap());
    let report = Report {
        number: u64::from(slots),
        state: State::Ready,
        slots_total: slots,
        slots_free: slots,
        vram_free_bytes: 0,
    };
    let endpoint = Endpoint::new(key, 1, 0, target, Some(["m".to_owned()].into()));
    RouteChange::Set(Arc::new(endpoint), report)
}

fn admission_of(slots: u32) -> Admission {
    let admission = Admission::new(Config::default());
    admission.apply(&[replica("r0", slots)]);
    admission
}

/// Runs `story` beside the admission's own task.
async fn with_slots<T>(slots: u32, story: impl AsyncFnOnce(Admission) -> T) -> T {
    let admission = admission_of(slots);
    let running = admission.clone().run();
    let story = story(admission);
    tokio::pin!(running, story);
    tokio::select! {
        biased;
        () = &mut running => panic!("it never ends"),
        told = &mut story => told,
    }
}

// spec: ADM-3
#[tokio::test(start_paused = true)]
async fn waits_as_long_as_allowed_and_not_longer() {
    with_slots(1, async |admission| {
        let _held = admission.acquire(ask(), None).await.unwrap();
        let start = Instant::now();
        let refusal = admission.acquire(ask(), None).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::QueueFull);
        assert!(refusal.retry_after.is_some());
        assert_eq!(
            start.elapsed().as_secs(),
            Config::default().max_wait.as_secs()
        );

        let start = Instant::now();
        let deadline = Some(start + Duration::from_millis(300));
        let refusal = admission.acquire(ask(), deadline).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Deadline);
        assert_eq!(start.elapsed().as_millis() / 10, 30);
        assert!(
            admission.snapshot().waiting.is_empty(),
            "nobody is left in the line"
        );
    })
    .await;
}

// spec: SLOT-2
#[tokio::test(start_paused = true)]
async fn a_dropped_lease_wakes_the_next_at_once() {
    with_slots(1, async |admission| {
        let held = admission.acquire(ask(), None).await.unwrap();
        let start = Instant::now();
        let (next, ()) = tokio::join!(admission.acquire(ask(), None), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            held.ended(Outcome::Served);
            drop(held);
        });
        assert!(next.is_ok());
        assert_eq!(start.elapsed().as_millis() / 10, 2);
    })
    .await;
}

// spec: ADM-4
#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_leaves_no_trace() {
    with_slots(1, async |admission| {
        let held = admission.acquire(ask(), None).await.unwrap();
        let left =
            tokio::time::timeout(Duration::from_millis(5), admission.acquire(ask(), None)).await;
        assert!(left.is_err());
        assert!(admission.snapshot().waiting.is_empty());
        drop(held);
        assert_eq!(admission.snapshot().endpoints[0].in_flight, 0);
        admission.acquire(ask(), None).await.unwrap();
    })
    .await;
}

// spec: ADM-7, SEE-8
#[tokio::test(start_paused = true)]
async fn a_quarantine_ends_by_itself_for_who_waits() {
    with_slots(4, async |admission| {
        let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let tell = told.clone();
        admission.on_trust_change(move |change| tell.lock().push(change.lost_by));
        let lease = admission.acquire(ask(), None).await.unwrap();
        lease.ended(Outcome::Failed(Failure::Unreachable));
        drop(lease);
        assert!(admission.snapshot().endpoints[0].quarantine.is_some());
        let start = Instant::now();
        let probe = admission.acquire(ask(), None).await.unwrap();
        assert!(
            (800..1300).contains(&start.elapsed().as_millis()),
            "{:?}",
            start.elapsed()
        );
        probe.ended(Outcome::Served);
        drop(probe);
        assert!(admission.snapshot().endpoints[0].quarantine.is_none());
        assert_eq!(*told.lock(), [Some(Failure::Unreachable), None]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_endpoint_serves_those_who_wait() {
    with_slots(1, async |admission| {
        let _held = admission.acquire(ask(), None).await.unwrap();
        let (next, ()) = tokio::join!(admission.acquire(ask(), None), async {
            admission.apply(&[replica("r0", 2)]);
        });
        assert!(next.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_bring_its_own_patience() {
    with_slots(1, async |admission| {
        let _held = admission.acquire(ask(), None).await.unwrap();
        let start = Instant::now();
        let patience = 20 * Config::default().max_wait;
        let refusal = admission
            .acquire_within(ask(), None, patience)
            .await
            .unwrap_err();
        assert_eq!(
            (refusal.reason, start.elapsed()),
            (RefusalReason::QueueFull, patience)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_that_begins_while_somebody_waits_ends_for_them_too() {
    with_slots(1, async |admission| {
        for _ in 0..2 {
            let lease = admission.acquire(ask(), None).await.unwrap();
            lease.ended(Outcome::Failed(Failure::Broken));
        }
        let last = admission.acquire(ask(), None).await.unwrap();
        let start = Instant::now();
        let (lease, ()) = tokio::join!(admission.acquire(ask(), None), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            last.ended(Outcome::Failed(Failure::Broken));
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
async fn what_was_said_first_counts_when_a_request_is_dropped() {
    with_slots(1, async |admission| {
        for _ in 0..3 {
            let lease = admission.acquire(ask(), None).await.unwrap();
            lease.ended(Outcome::Failed(Failure::Broken));
            lease.ended(Outcome::Served);
        }
        assert!(admission.snapshot().endpoints[0].quarantine.is_some());
    })
    .await;
}

// spec: PATH-41
#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_sent_shows_nothing() {
    with_slots(1, async |admission| {
        for _ in 0..9 {
            drop(admission.acquire(ask(), None).await.unwrap());
        }
        let status = admission.snapshot().endpoints[0].clone();
        assert!(status.quarantine.is_none() && status.in_flight == 0);
    })
    .await;
}

// spec: SLOT-30
#[tokio::test(start_paused = true)]
async fn a_lease_is_the_replicas_that_the_node_used() {
    with_slots(4, async |admission| {
        admission.apply(&[replica("r1", 4)]);
        let mut lease = admission.acquire(ask(), None).await.unwrap();
        assert_eq!(lease.endpoint().key().to_string(), "n/p/r0");
        lease.answered(Some(&ReplicaId::new("r1").unwrap()), Some((3, 4)));
        assert_eq!(lease.endpoint().key().to_string(), "n/p/r1");
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
async fn a_request_is_served_at_the_end_of_its_wait_when_the_task_does_not_run() {
    let admission = admission_of(1);
    let lease = admission.acquire(ask(), None).await.unwrap();
    lease.ended(Outcome::Failed(Failure::Unreachable));
    drop(lease);
    // Nobody else looks, so that it is served at the end of its wait and not when the quarantine
    // ends.
    let start = Instant::now();
    let lease = admission.acquire(ask(), None).await.unwrap();
    assert_eq!(start.elapsed(), Config::default().max_wait);
    lease.ended(Outcome::Failed(Failure::Unreachable));
    drop(lease);
    // The second one comes when the quarantine is over, and the slot goes to the first.
    let start = Instant::now();
    let (first, second) = tokio::join!(
        async {
            let lease = admission.acquire(ask(), None).await;
            lease.map(|lease| (lease, start.elapsed()))
        },
        async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            admission.acquire(ask(), None).await
        }
    );
    assert_eq!(first.unwrap().1, Duration::from_secs(3));
    assert_eq!(second.unwrap_err().reason, RefusalReason::QueueFull);
}
