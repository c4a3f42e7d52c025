//! Clients that leave at any moment, thousands of them: nothing may be left behind.

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
/// Each request's fate follows from this and its number, whoever sends it and when.
const SEED: u64 = 0x00d1_5c04;
/// Six times as many as there are slots: most requests spend their time in the line.
const CLIENTS: usize = 30;
const SLOTS: [u32; 2] = [3, 2];
/// The longest a client stays that waits for something to happen; never waited out.
const LONGEST: Duration = Duration::from_secs(60);

/// How far requests had come when their clients left.
#[derive(Debug, Default)]
struct Tally {
    /// No head of an answer yet: being sent, in the line, or at an engine that thinks.
    before_head: AtomicU64,
    in_the_middle: AtomicU64,
    /// The client was not quick enough.
    at_the_end: AtomicU64,
}

impl Tally {
    /// How many left too early.
    fn left(&self) -> u64 {
        self.before_head.load(Ordering::Relaxed) + self.in_the_middle.load(Ordering::Relaxed)
    }
}

/// When a client leaves.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After this time, wherever its request is.
    Time(Duration),
    /// After so many steps of its request: time alone would miss the short moments.
    Steps(u32),
    /// After so many pieces of the answer.
    Pieces(u32),
}

/// What a client does.
#[derive(Debug)]
struct Fate {
    stream: bool,
    /// The engine's script.
    script: String,
    leaves: Moment,
}

impl Fate {
    fn of(number: u64) -> Self {
        let mut rng = Rng::with_seed(SEED.wrapping_add(number));
        let leaves = match rng.u8(0..4) {
            0 => Moment::Time(Duration::from_millis(rng.u64(0..4))),
            1 => Moment::Time(Duration::from_millis(rng.u64(0..20))),
            2 => Moment::Steps(rng.u32(1..12)),
            _ => Moment::Pieces(rng.u32(1..5)),
        };
        let (tokens, head, between) = (rng.u32(1..40), rng.u32(0..3), rng.u32(0..2));
        // Who waits for pieces has to find more of them than it waits for.
        let (stream, tokens) = match leaves {
            Moment::Pieces(_) => (true, 100_000),
            Moment::Time(_) | Moment::Steps(_) => (rng.bool(), tokens),
        };
        Self {
            stream,
            script: format!("tokens={tokens},head_ms={head},token_ms={between},burst=0"),
            leaves,
        }
    }

    fn patience(&self) -> Duration {
        match self.leaves {
            Moment::Time(time) => time,
            Moment::Steps(_) | Moment::Pieces(_) => LONGEST,
        }
    }

    fn steps(&self) -> u32 {
        match self.leaves {
            Moment::Steps(steps) => steps,
            Moment::Time(_) | Moment::Pieces(_) => u32::MAX,
        }
    }

    fn pieces(&self) -> u32 {
        match self.leaves {
            Moment::Pieces(pieces) => pieces,
            Moment::Time(_) | Moment::Steps(_) => u32::MAX,
        }
    }
}

/// Polls `future` at most so many times; `None` when that was not enough.
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
    let fate = Fate::of(number);
    let mut reached = &tally.before_head;
    let request = async {
        let mut answer = service.chat(fate.stream, &fate.script).await;
        assert_eq!(
            answer.status(),
            200,
            "request {number} of seed {SEED}: {fate:?}"
        );
        reached = &tally.in_the_middle;
        for _ in 0..fate.pieces() {
            match answer.body_mut().frame().await {
                Some(piece) => piece.unwrap_or_else(|error| {
                    panic!("request {number} of seed {SEED}: {error}; {fate:?}")
                }),
                None => {
                    reached = &tally.at_the_end;
                    return;
                }
            };
        }
    };
    drop(tokio::time::timeout(fate.patience(), at_most(fate.steps(), request)).await);
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
        ("in the line", next.load(Ordering::Relaxed) - reached),
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
    // A client that leaves says nothing about the engine.
    assert!(
        snapshot
            .endpoints
            .iter()
            .all(|endpoint| endpoint.open_breaker.is_none()),
        "seed {SEED}: {snapshot:?}"
    );
}

/// As many streams as there are slots, all at once.
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
