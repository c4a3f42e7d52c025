//! Thousands of clients that leave at any moment. Nothing may leak.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use fake_engine::Script;
use fastrand::Rng;
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use crate::harness::{Service, engines, header, text, until};

const DISCONNECTS: u64 = 10_000;
/// A request's number and this seed determine what its client does.
const SEED: u64 = 0x00d1_5c04;
/// Six times the number of slots: most requests spend their time in the queue.
const CLIENTS: usize = 30;
const SLOTS: [u32; 2] = [3, 2];
/// A limit for clients that wait for an event; no test reaches it.
const LIMIT: Duration = Duration::from_secs(60);

/// The progress of requests when their clients left.
#[derive(Debug, Default)]
struct Tally {
    /// Before the head of the response: being sent, in the queue, or at an engine.
    before_head: AtomicU64,
    in_the_middle: AtomicU64,
    /// The response ended first.
    at_the_end: AtomicU64,
}

impl Tally {
    /// Clients that left before the end.
    fn left(&self) -> u64 {
        self.before_head.load(Ordering::Relaxed) + self.in_the_middle.load(Ordering::Relaxed)
    }
}

/// When a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// After this time.
    After(Duration),
    /// After this many polls of its request. Time alone would miss short phases.
    Steps(u32),
    /// After this many pieces of the response.
    Pieces(u32),
}

/// What a client does.
#[derive(Debug)]
struct ClientScript {
    stream: bool,
    /// The engine's script.
    script: String,
    leaves: Leaves,
}

impl ClientScript {
    fn of(number: u64) -> Self {
        let mut rng = Rng::with_seed(SEED.wrapping_add(number));
        let leaves = match rng.u8(0..4) {
            0 => Leaves::After(Duration::from_millis(rng.u64(0..4))),
            1 => Leaves::After(Duration::from_millis(rng.u64(0..20))),
            2 => Leaves::Steps(rng.u32(1..12)),
            _ => Leaves::Pieces(rng.u32(1..5)),
        };
        let (tokens, head, between) = (rng.u32(1..40), rng.u32(0..3), rng.u32(0..2));
        // A client that waits for pieces needs a response with more of them.
        let (stream, tokens) = match leaves {
            Leaves::Pieces(_) => (true, 100_000),
            Leaves::After(_) | Leaves::Steps(_) => (rng.bool(), tokens),
        };
        Self {
            stream,
            script: format!("tokens={tokens},head_ms={head},token_ms={between},burst=0"),
            leaves,
        }
    }

    fn timeout(&self) -> Duration {
        match self.leaves {
            Leaves::After(time) => time,
            Leaves::Steps(_) | Leaves::Pieces(_) => LIMIT,
        }
    }

    fn steps(&self) -> u32 {
        match self.leaves {
            Leaves::Steps(steps) => steps,
            Leaves::After(_) | Leaves::Pieces(_) => u32::MAX,
        }
    }

    fn pieces(&self) -> u32 {
        match self.leaves {
            Leaves::Pieces(pieces) => pieces,
            Leaves::After(_) | Leaves::Steps(_) => u32::MAX,
        }
    }
}

/// Polls `future` at most `steps` times; `None` when it is not ready by then.
async fn at_most<F: Future>(steps: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = steps;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(cx).map(Some);
        if polled.is_pending() && left == 0 {
            return Poll::Ready(None);
        }
        polled
    })
    .await
}

async fn send_and_leave(service: &Service, number: u64, tally: &Tally) {
    let client = ClientScript::of(number);
    let mut reached = &tally.before_head;
    let request = async {
        let mut answer = service.chat(client.stream, &client.script).await;
        assert_eq!(
            answer.status(),
            200,
            "request {number} of seed {SEED}: {client:?}"
        );
        reached = &tally.in_the_middle;
        for _ in 0..client.pieces() {
            match answer.body_mut().frame().await {
                Some(piece) => piece.unwrap_or_else(|error| {
                    panic!("request {number} of seed {SEED}: {error}; {client:?}")
                }),
                None => {
                    reached = &tally.at_the_end;
                    return;
                }
            };
        }
    };
    drop(tokio::time::timeout(client.timeout(), at_most(client.steps(), request)).await);
    reached.fetch_add(1, Ordering::Relaxed);
}

// spec: PATH-7, ADM-4, SLOT-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_that_leave_at_any_moment_leak_no_slot() {
    let engines = engines(SLOTS.map(|slots| Script {
        slots,
        ..Script::default()
    }));
    let service = Arc::new(Service::over(&engines).await);
    let (next, tally) = (Arc::new(AtomicU64::new(0)), Arc::new(Tally::default()));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (service, next, tally) = (service.clone(), next.clone(), tally.clone());
        clients.spawn(async move {
            while tally.left() < DISCONNECTS {
                let number = next.fetch_add(1, Ordering::Relaxed);
                send_and_leave(&service, number, &tally).await;
            }
        });
    }
    clients.join_all().await;

    let reached: u64 = engines.iter().map(|engine| engine.stats().requests).sum();
    println!("{tally:?}; {reached} reached an engine");
    for (what, count) in [
        ("before the head", tally.before_head.load(Ordering::Relaxed)),
        ("in the middle", tally.in_the_middle.load(Ordering::Relaxed)),
        ("in the queue", next.load(Ordering::Relaxed) - reached),
    ] {
        assert!(
            count >= DISCONNECTS / 20,
            "only {count} left {what}; seed {SEED}: {tally:?}"
        );
    }
    assert_nothing_is_left(&service).await;
    for engine in &engines {
        until(&format!("an engine is idle again; seed {SEED}"), || {
            engine.stats().running == 0
        })
        .await;
    }
    assert_every_slot_works(&service).await;
}

async fn assert_nothing_is_left(service: &Service) {
    service
        .until(&format!("every slot is back; seed {SEED}"), |service| {
            service.in_flight().values().all(|&held| held == 0)
        })
        .await;
    let snapshot = service.admission.snapshot();
    assert!(snapshot.waiting.is_empty(), "seed {SEED}: {snapshot:?}");
    // A client that leaves is no failure of the engine.
    assert!(
        snapshot
            .endpoints
            .iter()
            .all(|endpoint| endpoint.open_breaker.is_none()),
        "seed {SEED}: {snapshot:?}"
    );
}

/// Opens as many streams as there are slots.
async fn assert_every_slot_works(service: &Service) {
    let mut open = Vec::new();
    for _ in 0..SLOTS.iter().sum() {
        let answer = service.chat(true, "tokens=100000,token_ms=1").await;
        assert_eq!(
            (
                answer.status().as_u16(),
                header(&answer, "x-llorch-attempts")
            ),
            (200, "1"),
            "seed {SEED}"
        );
        open.push(answer);
    }
    let held = service.in_flight();
    assert_eq!(
        (held["r0"], held["r1"]),
        (SLOTS[0], SLOTS[1]),
        "seed {SEED}"
    );
    drop(open);
    service.all_slots_back().await;
    let answer = service.chat(false, "").await;
    assert_eq!(answer.status(), 200, "seed {SEED}");
    assert!(text(answer).await.1, "seed {SEED}");
}
