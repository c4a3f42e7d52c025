//! Many clients of one real engine, a client that provokes its errors, and its restart.
//!
//! As long as every part is healthy, no request fails.

#![allow(clippy::print_stdout, reason = "what was counted is shown")]

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_client::{Client, End, chain};
use test_clock::{now, wait_for};
use test_cluster::{Cluster, Engine, OneNode, Profile};
use test_tools::is_long;

const SOON: Duration = Duration::from_secs(90);
/// The words of an answer: short, so that connections are reused often.
const WORDS: u32 = 8;

/// How long each client of the long form goes on.
const LONG: Duration = Duration::from_secs(30);

/// A node with engines that have so many slots.
fn node_with(
    cluster: &Cluster,
    profile: Profile,
    engines: usize,
    slots: u32,
) -> Result<(OneNode, Vec<Engine>)> {
    let node = cluster.one_node(profile, &[], &[])?;
    with_engines(cluster, node, engines, slots)
}

/// The same for a node that is there.
pub(crate) fn with_engines(
    cluster: &Cluster,
    mut node: OneNode,
    engines: usize,
    slots: u32,
) -> Result<(OneNode, Vec<Engine>)> {
    let engines: Vec<Engine> = (0..engines)
        .map(|_| cluster.engine(slots))
        .collect::<Result<_>>()?;
    for (number, engine) in engines.iter().enumerate() {
        node.announce("pool-0", &format!("r{number}"), engine)?;
    }
    let all = u64::from(slots) * engines.len() as u64;
    wait_for("every slot", SOON, || {
        node.pool("pool-0")["slots_free"] == all
    })?;
    Ok((node, engines))
}

/// How often each client of a test asks.
#[derive(Debug, Clone, Copy)]
enum Each {
    Times(usize),
    For(Duration),
}

impl Each {
    /// Calls `ask` as often, and returns its errors.
    fn ask(self, mut ask: impl FnMut() -> Result<()>) -> Vec<String> {
        let mut failures = Vec::new();
        let (begin, mut asked) = (now(), 0);
        while match self {
            Self::Times(times) => asked < times,
            Self::For(time) => begin.elapsed() < time,
        } {
            asked += 1;
            failures.extend(ask().err().map(|error| format!("{error:#}")));
        }
        failures
    }
}

/// What became of whole streams.
#[derive(Debug, Default)]
struct Tally {
    whole: AtomicUsize,
    refused: AtomicUsize,
}

/// One streamed answer, whole; an error says what became of it.
fn stream(client: &Client, tally: &Tally) -> Result<()> {
    let streamed = client.chat_stream(WORDS)?.finish();
    if streamed.status == 429 && !streamed.header("retry-after").is_empty() {
        tally.refused.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    ensure!(
        streamed.status == 200 && streamed.end == End::Done,
        "{} {:?}",
        streamed.status,
        streamed.end
    );
    ensure!(streamed.text() == chain(WORDS as usize), "other words");
    tally.whole.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// So many clients, each of which sends requests one after the other. Returns the failures.
fn failures(client: &Client, clients: usize, each: Each, tally: &Tally) -> Vec<String> {
    thread::scope(|scope| {
        let in_turn = || each.ask(|| stream(client, tally));
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(in_turn)).collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| vec!["panicked".to_owned()])
            })
            .collect()
    })
}

fn every_stream_of_many_clients_is_whole(profile: Profile) -> Result<()> {
    Cluster::test("many-clients", |cluster| {
        let (node, _engines) = node_with(cluster, profile, 1, 64)?;
        for (clients, each) in [(64, 8), (256, 2)] {
            let each = if is_long() {
                Each::For(LONG)
            } else {
                Each::Times(each)
            };
            let tally = Tally::default();
            let failures = failures(&node.client(), clients, each, &tally);
            println!(
                "{profile:?}, {clients} clients: {tally:?}, {} failures",
                failures.len()
            );
            ensure!(failures.is_empty(), "{clients} clients: {failures:?}");
        }
        Ok(())
    })
}

// spec: PATH-27, PATH-80
#[test]
fn every_stream_of_many_clients_is_whole_in_home() -> Result<()> {
    every_stream_of_many_clients_is_whole(Profile::Home)
}

// spec: PATH-27, PATH-80
#[test]
fn every_stream_of_many_clients_is_whole_in_cloud() -> Result<()> {
    every_stream_of_many_clients_is_whole(Profile::Cloud)
}

/// Requests that `llama-server` answers with 500 or 501, although the client is at fault.
fn provoking() -> [(&'static str, Value); 3] {
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}]);
    let chat = "/v1/chat/completions";
    [
        (
            chat,
            json!({"model": "tiny", "messages": [{"role": "user", "content": image}]}),
        ),
        (
            chat,
            json!({"model": "tiny", "messages": [{"content": "no role"}]}),
        ),
        ("/v1/embeddings", json!({"model": "tiny", "input": "x"})),
    ]
}

fn a_client_that_provokes_errors_disturbs_no_other(profile: Profile) -> Result<()> {
    for engines in [1, 2] {
        Cluster::test("provoked-errors", |cluster| {
            let (node, _engines) = node_with(cluster, profile, engines, 16)?;
            let (client, stop) = (node.client(), AtomicBool::new(false));
            let provoked = AtomicUsize::new(0);
            let failures = thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for (path, body) in provoking() {
                            let answer = client.post(path, &body);
                            let is_error = answer.is_ok_and(|answer| answer.status >= 400);
                            provoked.fetch_add(usize::from(is_error), Ordering::Relaxed);
                        }
                    }
                });
                // Enough errors in a row to open any breaker, before the others begin.
                let begun = wait_for("errors", SOON, || provoked.load(Ordering::Relaxed) >= 9);
                let failures = failures(&client, 10, Each::Times(10), &Tally::default());
                stop.store(true, Ordering::Relaxed);
                begun.map(|()| failures)
            })?;
            ensure!(failures.is_empty(), "{engines} engines: {failures:?}");
            Ok(())
        })?;
    }
    Ok(())
}

// spec: PATH-83
#[test]
fn a_client_that_provokes_errors_disturbs_no_other_in_home() -> Result<()> {
    a_client_that_provokes_errors_disturbs_no_other(Profile::Home)
}

// spec: PATH-83
#[test]
fn a_client_that_provokes_errors_disturbs_no_other_in_cloud() -> Result<()> {
    a_client_that_provokes_errors_disturbs_no_other(Profile::Cloud)
}

fn a_restart_of_the_only_engine_fails_no_waiting_request(profile: Profile) -> Result<()> {
    const SLOTS: u32 = 4;
    Cluster::test("engine-restart", |cluster| {
        let (node, mut engines) = node_with(cluster, profile, 1, SLOTS)?;
        let engine = engines.first_mut().context("no engine")?;
        let client = node.client();
        let failures = thread::scope(|scope| {
            let load = scope.spawn(|| failures(&client, 16, Each::Times(20), &Tally::default()));
            wait_for("requests in the engine", SOON, || engine.busy_slots() > 0)?;
            engine.kill();
            engine.restart()?;
            Ok::<_, anyhow::Error>(load.join().unwrap_or_else(|_| vec!["panicked".to_owned()]))
        })?;
        // Those that were in the engine when it was killed.
        ensure!(failures.len() <= SLOTS as usize, "{failures:?}");
        Ok(())
    })
}

// spec: PATH-3
#[test]
fn a_restart_of_the_only_engine_fails_no_waiting_request_in_home() -> Result<()> {
    a_restart_of_the_only_engine_fails_no_waiting_request(Profile::Home)
}

// spec: PATH-3
#[test]
fn a_restart_of_the_only_engine_fails_no_waiting_request_in_cloud() -> Result<()> {
    a_restart_of_the_only_engine_fails_no_waiting_request(Profile::Cloud)
}
