//! Tests of the task against engines on loopback.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::tests::stand_in::{Reply, StandIn, closed_port};

/// A condition that does not hold within this time is a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// Counts the slots that are taken.
#[derive(Clone, Default)]
struct Slots(Arc<AtomicU32>);

struct Held(Slots);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slots {
    fn take(&self) -> Box<Held> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::new(Held(self.clone()))
    }

    fn taken(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    async fn until(&self, wanted: u32) {
        let reached = tokio::time::timeout(LIMIT, async {
            while self.taken() != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(
            reached.await.is_ok(),
            "{} slots are held, not {wanted}",
            self.taken()
        );
    }
}

fn kind(engine: &str) -> EngineKind {
    EngineKind::new(engine).unwrap()
}

async fn with_abandoned_requests(story: impl AsyncFnOnce(AbandonedRequests)) {
    let (abandoned_requests, task) = AbandonedRequests::new();
    let shutdown = Shutdown::new();
    let running = task.run(shutdown.clone());
    tokio::join!(running, async {
        story(abandoned_requests).await;
        shutdown.request();
    });
}

fn showing(busy: usize) -> Reply {
    let slots: Vec<_> = (0..4)
        .map(|id| serde_json::json!({"id": id, "id_task": 7, "is_processing": id < busy}))
        .collect();
    Reply::Json(200, serde_json::to_string(&slots).unwrap())
}

// spec: SLOT-11
#[tokio::test]
async fn a_slot_is_released_when_the_engine_has_stopped() {
    let (busy, polls) = (Arc::new(AtomicU32::new(2)), Arc::new(AtomicU32::new(0)));
    let (visible_at, poll_finished) = (busy.clone(), polls.clone());
    let engine = StandIn::start(move |_| {
        poll_finished.fetch_add(1, Ordering::SeqCst);
        showing(visible_at.load(Ordering::SeqCst) as usize)
    });
    with_abandoned_requests(async |abandoned_requests| {
        let slots = Slots::default();
        let wanted = abandoned_requests.track(&kind("llamacpp"), &engine.url(), None);
        wanted.answered();
        let request = abandoned_requests.track(&kind("llamacpp"), &engine.url(), None);
        request.answered();
        request.abandon(slots.take());
        let twice = tokio::time::timeout(LIMIT, async {
            while polls.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        twice.await.expect("it goes on polling");
        assert_eq!(slots.taken(), 1, "the engine still works on it");
        busy.store(1, Ordering::SeqCst);
        slots.until(0).await;
        drop(wanted);
    })
    .await;
    assert!(engine.paths().iter().all(|path| path == "/slots"));
}

#[tokio::test]
async fn an_engine_that_is_gone_or_reports_no_slots_keeps_nothing() {
    let silent = StandIn::always(Reply::Json(501, "{}".into()));
    let odd = StandIn::always(Reply::Json(200, "true".into()));
    with_abandoned_requests(async |abandoned_requests| {
        let slots = Slots::default();
        for url in [closed_port(), silent.url(), odd.url()] {
            abandoned_requests
                .track(&kind("llamacpp"), &url, None)
                .abandon(slots.take());
            slots.until(0).await;
        }
        abandoned_requests
            .track(&kind("vllm"), &silent.url(), None)
            .abandon(slots.take());
        assert_eq!(slots.taken(), 0, "this kind is not asked");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_kept_after_the_task_has_ended() {
    let busy = StandIn::always(showing(4));
    let slots = Slots::default();
    let (abandoned_requests, task) = AbandonedRequests::new();
    let shutdown = Shutdown::new();
    let request = || abandoned_requests.track(&kind("llamacpp"), &busy.url(), None);
    let (before, after) = (request(), request());
    before.abandon(slots.take());
    assert_eq!(slots.taken(), 1);
    shutdown.request();
    task.run(shutdown).await;
    assert_eq!(slots.taken(), 0);
    after.abandon(slots.take());
    request().abandon(slots.take());
    assert_eq!(slots.taken(), 0);
}

/// A slot whose owner sends the next request as soon as the slot is released.
struct Next(AbandonedRequests, HttpUrl);

impl Drop for Next {
    fn drop(&mut self) {
        drop(self.0.track(&kind("llamacpp"), &self.1, None));
    }
}

#[tokio::test]
async fn a_released_slot_can_be_used_at_once() {
    let idle = StandIn::always(showing(0));
    let slots = Slots::default();
    with_abandoned_requests(async |abandoned_requests| {
        let request = abandoned_requests.track(&kind("llamacpp"), &idle.url(), None);
        let next = Next(abandoned_requests.clone(), idle.url());
        request.abandon(Box::new((next, slots.take())));
        slots.until(0).await;
        let last = Next(abandoned_requests.clone(), idle.url());
        abandoned_requests
            .track(&kind("llamacpp"), &idle.url(), None)
            .abandon(Box::new(last));
    })
    .await;
}
