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
    AbandonedSlot, Admission, Ask, Config, Failure, Outcome, Priority, RefusalReason, Visit, Wish,
};
use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{Availability, Endpoint, EndpointKey, Hop, RoutingTable};
use tokio::{sync::watch, time::Instant};

static ANYWHERE: LazyLock<Arc<Wish>> = LazyLock::new(Arc::default);

fn ask() -> Ask<'static> {
    Ask {
        model: "m",
        priority: Priority::Interactive,
        wish: &ANYWHERE,
        tried: &[],
        ticket: None,
    }
}

fn table(slots: u32) -> Arc<RoutingTable> {
    let key = EndpointKey {
        node: NodeId::new("n").unwrap(),
        pool: PoolId::new("p").unwrap(),
        replica: None,
    };
    Arc::new(RoutingTable::new(
        1,
        vec![Endpoint {
            key,
            incarnation: 1,
            target: HttpUrl::new("http://localhost:1").unwrap(),
            hop: Hop::Engine,
            availability: Availability::Ready,
            slots_total: slots,
            slots_free: slots,
            report: 1,
            vram_free_bytes: 0,
            models: Some(["m".to_owned()].into()),
            engine: None,
            engine_version: None,
        }],
    ))
}

/// Runs `story` beside the admission's own task.
async fn with_slots<T>(
    slots: u32,
    story: impl AsyncFnOnce(Admission, watch::Sender<Arc<RoutingTable>>) -> T,
) -> T {
    let (tables, table_rx) = watch::channel(table(slots));
    let admission = Admission::new(Config::default());
    let running = admission.clone().run(table_rx);
    let story = async {
        // The first table arrives with the task's first turn.
        tokio::task::yield_now().await;
        story(admission, tables).await
    };
    tokio::pin!(running, story);
    tokio::select! {
        biased;
        () = &mut running => panic!("ended although the table's sender lives"),
        told = &mut story => told,
    }
}

// spec: ADM-3
#[tokio::test(start_paused = true)]
async fn waits_as_long_as_allowed_and_not_longer() {
    with_slots(1, async |admission, _tables| {
        let _held = admission.acquire(ask(), None).await.unwrap();
        let start = Instant::now();
        let refusal = admission.acquire(ask(), None).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::QueueFull);
        assert!(refusal.retry_after.is_some());
        assert_eq!(start.elapsed().as_secs(), Config::default().max_wait.as_secs());

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
    with_slots(1, async |admission, _tables| {
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
    with_slots(1, async |admission, _tables| {
        let held = admission.acquire(ask(), None).await.unwrap();
        let left = tokio::time::timeout(Duration::from_millis(5), admission.acquire(ask(), None)).await;
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
    with_slots(4, async |admission, _tables| {
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
async fn a_new_table_serves_those_who_wait() {
    with_slots(1, async |admission, tables| {
        let _held = admission.acquire(ask(), None).await.unwrap();
        let (next, ()) = tokio::join!(admission.acquire(ask(), None), async {
            tables.send(table(2)).unwrap();
        });
        assert!(next.is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_bring_its_own_patience() {
    with_slots(1, async |admission, _tables| {
        let _held = admission.acquire(ask(), None).await.unwrap();
        let start = Instant::now();
        let patience = 20 * Config::default().max_wait;
        let refusal = admission.acquire_within(ask(), None, patience).await.unwrap_err();
        assert_eq!(
            (refusal.reason, start.elapsed()),
            (RefusalReason::QueueFull, patience)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_that_begins_while_somebody_waits_ends_for_them_too() {
    with_slots(1, async |admission, _tables| {
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
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    })
    .await;
}

struct InCare(tokio::sync::mpsc::UnboundedSender<AbandonedSlot>);

impl Visit for InCare {
    fn answered(&self) {}

    fn given_up(self: Box<Self>, slot: AbandonedSlot) {
        drop(self.0.send(slot));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_whose_request_was_given_up_stays_taken_until_its_engine_is_done() {
    with_slots(1, async |admission, _tables| {
        let (abandoned, mut in_care) = tokio::sync::mpsc::unbounded_channel();
        admission.set_visits(move |_| Some(Box::new(InCare(abandoned.clone()))));
        drop(admission.acquire(ask(), None).await.unwrap());
        let lease = in_care.recv().await.unwrap();
        let own = || admission.snapshot().endpoints[0].in_flight;
        assert_eq!(own(), 1);
        drop(lease);
        assert_eq!(own(), 0);
        // What was read to its end needs no care.
        let served = admission.acquire(ask(), None).await.unwrap();
        served.ended(Outcome::Served);
        drop(served);
        assert!(in_care.is_empty());
    })
    .await;
}

// spec: ADM-13
#[tokio::test(start_paused = true)]
async fn a_probe_whose_client_left_makes_room_for_the_next_while_its_engine_goes_on() {
    with_slots(4, async |admission, _tables| {
        let (abandoned, mut in_care) = tokio::sync::mpsc::unbounded_channel();
        admission.set_visits(move |_| Some(Box::new(InCare(abandoned.clone()))));
        let lease = admission.acquire(ask(), None).await.unwrap();
        lease.ended(Outcome::Failed(Failure::Unreachable));
        drop(lease);
        drop(admission.acquire(ask(), None).await.unwrap());
        let slot = in_care.recv().await.unwrap();
        let start = Instant::now();
        let next = admission.acquire(ask(), None).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        next.answered(None);
        let status = || admission.snapshot().endpoints[0].clone();
        assert!(status().quarantine.is_none() && status().in_flight == 2);
        drop(slot);
        assert_eq!(status().in_flight, 1);
    })
    .await;
}

// spec: ADM-13
#[tokio::test(start_paused = true)]
async fn an_error_that_was_read_to_its_end_needs_no_care() {
    with_slots(1, async |admission, _tables| {
        let (abandoned, in_care) = tokio::sync::mpsc::unbounded_channel();
        admission.set_visits(move |_| Some(Box::new(InCare(abandoned.clone()))));
        for _ in 0..3 {
            let lease = admission.acquire(ask(), None).await.unwrap();
            lease.ended(Outcome::Failed(Failure::Broken));
            lease.ended(Outcome::Served);
        }
        assert!(in_care.is_empty());
        assert!(
            admission.snapshot().endpoints[0].quarantine.is_some(),
            "the first word counts"
        );
    })
    .await;
}

// spec: PATH-41
#[tokio::test(start_paused = true)]
async fn a_request_that_was_never_sent_needs_no_care_and_shows_nothing() {
    with_slots(1, async |admission, _tables| {
        let (abandoned, in_care) = tokio::sync::mpsc::unbounded_channel();
        admission.set_visits(move |_| Some(Box::new(InCare(abandoned.clone()))));
        for _ in 0..9 {
            let lease = admission.acquire(ask(), None).await.unwrap();
            lease.not_sent();
        }
        assert!(in_care.is_empty());
        assert!(admission.snapshot().endpoints[0].quarantine.is_none());
    })
    .await;
}

// spec: ADM-15
#[tokio::test(start_paused = true)]
async fn a_request_is_served_at_the_end_of_its_wait_when_the_task_does_not_run() {
    let admission = Admission::new(Config::default());
    let (_tables, table_rx) = watch::channel(table(1));
    tokio::select! {
        biased;
        () = admission.clone().run(table_rx) => panic!("ended although the table's sender lives"),
        // It has taken in the table, and never runs again.
        () = tokio::task::yield_now() => {}
    }
    let lease = admission.acquire(ask(), None).await.unwrap();
    lease.ended(Outcome::Failed(Failure::Unreachable));
    drop(lease);
    // Nobody else looks, so that it is served at the end of its wait and not when the quarantine ends.
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
