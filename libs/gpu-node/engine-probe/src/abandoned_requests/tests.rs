//! The task and its engines, on loopback.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::tests::stand_in::{Reply, StandIn, nobody};

/// A condition that does not come about within this is a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// The slots of an engine as their owner counts them.
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
async fn a_slot_comes_back_when_the_engine_has_stopped_and_not_before() {
    let (busy, looks) = (Arc::new(AtomicU32::new(2)), Arc::new(AtomicU32::new(0)));
    let (shown, looked) = (busy.clone(), looks.clone());
    let engine = StandIn::start(move |_| {
        looked.fetch_add(1, Ordering::SeqCst);
        showing(shown.load(Ordering::SeqCst) as usize)
    });
    with_abandoned_requests(async |abandoned_requests| {
        let slots = Slots::default();
        let wanted = abandoned_requests.track(&kind("llamacpp"), &engine.url());
        wanted.answered();
        let visit = abandoned_requests.track(&kind("llamacpp"), &engine.url());
        visit.answered();
        visit.give_up(slots.take());
        let twice = tokio::time::timeout(LIMIT, async {
            while looks.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        twice.await.expect("it goes on looking");
        assert_eq!(slots.taken(), 1, "the engine goes on with it");
        busy.store(1, Ordering::SeqCst);
        slots.until(0).await;
        drop(wanted);
    })
    .await;
    assert!(engine.paths().iter().all(|path| path == "/slots"));
}

#[tokio::test]
async fn an_engine_that_is_gone_or_does_not_tell_holds_nothing() {
    let silent = StandIn::always(Reply::Json(501, "{}".into()));
    let odd = StandIn::always(Reply::Json(200, "true".into()));
    with_abandoned_requests(async |abandoned_requests| {
        let slots = Slots::default();
        for url in [nobody(), silent.url(), odd.url()] {
            abandoned_requests
                .track(&kind("llamacpp"), &url)
                .give_up(slots.take());
            slots.until(0).await;
        }
        abandoned_requests
            .track(&kind("vllm"), &silent.url())
            .give_up(slots.take());
        assert_eq!(slots.taken(), 0, "its word is not asked for");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_held_beyond_the_end() {
    let busy = StandIn::always(showing(4));
    let slots = Slots::default();
    let (abandoned_requests, task) = AbandonedRequests::new();
    let shutdown = Shutdown::new();
    let visit = || abandoned_requests.track(&kind("llamacpp"), &busy.url());
    let (before, after) = (visit(), visit());
    before.give_up(slots.take());
    assert_eq!(slots.taken(), 1);
    shutdown.request();
    task.run(shutdown).await;
    assert_eq!(slots.taken(), 0);
    after.give_up(slots.take());
    visit().give_up(slots.take());
    assert_eq!(slots.taken(), 0);
}

/// A slot whose owner sends the next request as soon as it is back.
struct Next(AbandonedRequests, HttpUrl);

impl Drop for Next {
    fn drop(&mut self) {
        drop(self.0.track(&kind("llamacpp"), &self.1));
    }
}

#[tokio::test]
async fn whoever_gets_a_slot_back_may_use_it_at_once() {
    let idle = StandIn::always(showing(0));
    let slots = Slots::default();
    with_abandoned_requests(async |abandoned_requests| {
        let visit = abandoned_requests.track(&kind("llamacpp"), &idle.url());
        let next = Next(abandoned_requests.clone(), idle.url());
        visit.give_up(Box::new((next, slots.take())));
        slots.until(0).await;
        let last = Next(abandoned_requests.clone(), idle.url());
        abandoned_requests
            .track(&kind("llamacpp"), &idle.url())
            .give_up(Box::new(last));
    })
    .await;
}
