//! More requests than slots: who waits, who is next, and what the engine sees of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use child_process::Log;
use serde_json::json;
use test_client::Client;
use test_clock::{now, pause, wait_for};
use test_cluster::{Cluster, Engine, Node, Orchestrator};

use crate::load::{Outcome, ask, shares};

const NAMES: [&str; 2] = ["node-a", "node-b"];
const SLOTS: u32 = 2;
const REQUESTS: usize = 40;
const SOON: Duration = Duration::from_secs(90);
/// Asked more often than once a second, an engine does not notice clients that are gone.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// What an engine with `--verbose` logs when it makes a request wait.
pub(crate) const DEFERS: &str = "no slot is available, defer task";

/// One request of many, and when it came.
struct Asked {
    /// It did not stand in the line before this.
    sent: Instant,
    /// It stood in the line by then.
    seen: Instant,
    outcome: Outcome,
}

impl Asked {
    /// It was not given its slot before this.
    fn earliest_start(&self) -> Instant {
        self.sent + self.outcome.queued
    }

    /// It was given its slot by then. The time in the header is rounded down to a millisecond.
    fn latest_start(&self) -> Instant {
        self.seen + self.outcome.queued + Duration::from_millis(1)
    }
}

fn two(cluster: &Cluster) -> Result<(Orchestrator, Vec<Node>, Vec<Engine>)> {
    let orchestrator = cluster.orchestrator(&[])?;
    let mut nodes = Vec::new();
    let mut engines = Vec::new();
    for name in NAMES {
        let node = cluster.node(name, &orchestrator, &[])?;
        let engine = cluster.engine_with(SLOTS, &["--verbose"])?;
        node.write_handoff("pool-0", "r0", &engine)?;
        nodes.push(node);
        engines.push(engine);
    }
    wait_for("two ready nodes", SOON, || {
        orchestrator.ready_nodes() == NAMES.len()
    })?;
    Ok((orchestrator, nodes, engines))
}

fn tell_nodes(client: &Client, verb: &str) -> Result<()> {
    for name in NAMES {
        let answer = client.post(&format!("/v2/nodes/{name}/{verb}"), &json!({}))?;
        ensure!(answer.status < 300, "{verb} {name}: {}", answer.body);
    }
    Ok(())
}

/// How many wait, as the control plane says.
pub(crate) fn waiting(client: &Client) -> usize {
    let answer = client.post("/v2/placement/explain", &json!({"model": "tiny"}));
    let waiting = answer
        .and_then(|answer| answer.json())
        .ok()
        .and_then(|answer| answer["waiting"].as_u64());
    waiting
        .and_then(|waiting| usize::try_from(waiting).ok())
        .unwrap_or(0)
}

fn is_batch(number: usize) -> bool {
    number % 4 == 3
}

/// Sends all requests, each when the one before it stands in the line; `open` lets the first of
/// them through.
fn line_up(client: &Client, open: impl FnOnce() -> Result<()>) -> Result<Vec<Asked>> {
    thread::scope(|scope| {
        let mut running = Vec::new();
        for number in 0..REQUESTS {
            let own = if is_batch(number) {
                client.clone().with_header("x-priority", "batch")
            } else {
                client.clone()
            };
            let sent = now();
            let asked = scope.spawn(move || ask(&own, number.is_multiple_of(2)));
            wait_for("it to wait", SOON, || waiting(client) > number)?;
            running.push((sent, now(), asked));
        }
        open()?;
        let asked = running.into_iter().map(|(sent, seen, asked)| Asked {
            sent,
            seen,
            outcome: asked
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        });
        Ok(asked.collect())
    })
}

/// Asserts that no request was certainly served before one that certainly came earlier. Returns
/// of how many pairs the order of service is certain.
fn assert_in_order(asked: &[&Asked]) -> usize {
    let mut certain = 0;
    for (place, earlier) in asked.iter().enumerate() {
        for later in &asked[place + 1..] {
            assert!(
                earlier.earliest_start() <= later.latest_start(),
                "overtaken by at least {:?}: {:?} by {:?}",
                earlier.earliest_start() - later.latest_start(),
                earlier.outcome,
                later.outcome
            );
            certain += usize::from(earlier.latest_start() < later.earliest_start());
        }
    }
    certain
}

/// More requests at once than the engine has slots, behind our back: it has to say that it makes
/// one wait.
fn assert_it_would_tell(engine: &Client, log: &Log) -> Result<()> {
    thread::scope(|scope| {
        for _ in 0..4 * SLOTS {
            scope.spawn(|| ask(engine, false));
        }
    });
    log.wait_line(&[DEFERS], SOON).map(|_| ())
}

// spec: SLOT-1, ADM-1, ADM-12
#[test]
fn forty_requests_for_four_slots_are_served_in_order_and_wait_with_us() -> Result<()> {
    Cluster::test("queue", |cluster| {
        let (orchestrator, _nodes, mut engines) = two(cluster)?;
        let client = orchestrator.client();
        // While no endpoint accepts requests, all of them are queued.
        tell_nodes(&client, "drain")?;
        wait_for("both nodes to drain", SOON, || {
            orchestrator
                .nodes()
                .iter()
                .all(|node| node["status"] == "draining")
        })?;
        let mut deferred = 0;
        let asked = line_up(&client, || {
            tell_nodes(&client, "undrain")?;
            loop {
                deferred = deferred.max(engines.iter().map(Engine::deferred).max().unwrap_or(0));
                if waiting(&client) == 0 {
                    return Ok(());
                }
                pause(BETWEEN_LOOKS);
            }
        })?;

        for Asked { outcome, .. } in &asked {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        let shares = shares(asked.iter().map(|asked| &asked.outcome), &NAMES);
        // The header of a request that a node sent away tells two waits as one.
        let of = |batch: bool| -> Vec<&Asked> {
            let all = asked.iter().enumerate();
            all.filter(|(number, asked)| is_batch(*number) == batch && asked.outcome.attempts == 1)
                .map(|(_, asked)| asked)
                .collect()
        };
        let (people, batch) = (of(false), of(true));
        let certain = [assert_in_order(&people), assert_in_order(&batch)];
        println!(
            "shares {shares:?}; served at the first try: {} and {}; certainly in order: \
             {certain:?} pairs",
            people.len(),
            batch.len()
        );
        assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
        // Of 435 and 45 pairs, on an idle machine most; without order every other of them would be
        // the wrong way round.
        assert!(certain[0] > 0 && certain[1] > 0, "{certain:?}");
        assert_eq!(
            deferred, 0,
            "an engine was given more requests than it has slots"
        );
        for engine in &mut engines {
            let (direct, log) = (engine.client(), engine.server()?.process().log().clone());
            assert_eq!(log.line_with(&[DEFERS]), None);
            assert_it_would_tell(&direct, &log)?;
        }
        Ok(())
    })
}
