//! A crowd of streams that begin at the same moment, on stand-ins with as many slots.
//!
//! Stand-ins: a real engine does not serve thousands of streams on this machine.

#![allow(clippy::print_stdout, reason = "what was counted is shown")]

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use fake_engine::{FakeEngine, Script};
use load_gen::{Expected, Plan, Requests, run};
use serde_json::json;
use service_runtime::raise_descriptor_limit;
use test_client::chat_body;
use test_clock::wait_for;
use test_cluster::{Cluster, OneNode, Profile, write_handoff};
use test_tools::is_long;

const SOON: Duration = Duration::from_secs(90);
const ENGINES: u32 = 4;
/// The streams of the form that always runs, and of the long one: more than may be unauthenticated.
const STREAMS: [u32; 2] = [2000, 4000];
/// The tokens of a stream; with the role, the reason of its end and `[DONE]` they are its events.
const TOKENS: u32 = 8;
/// Descriptors of this process beside two for each stream: its end here, and that of an engine.
const OTHER_DESCRIPTORS: u64 = 500;
/// Half a minute is far more than the streams take.
const DRAIN: Duration = Duration::from_secs(240);

fn announce(node: &mut OneNode, number: u32, engine: &FakeEngine) -> Result<()> {
    let handoff = json!({
        "pool_id": "pool-0", "replica_id": format!("r{number}"), "engine": "llamacpp",
        "url": engine.url(), "engine_version": "fake", "slots": engine.script().slots,
        "models": ["tiny"],
    });
    write_handoff(node.node_daemon().directory(), &handoff).map(|_| ())
}

fn a_crowd_of_streams_is_served(profile: Profile) -> Result<()> {
    let streams = STREAMS[usize::from(is_long())];
    let needed = u64::from(2 * streams) + OTHER_DESCRIPTORS;
    let descriptors = raise_descriptor_limit();
    ensure!(
        descriptors >= needed,
        "{needed} descriptors are needed, and the limit is {descriptors}; raise it (ulimit -Hn)"
    );
    Cluster::test("crowd", |cluster| {
        let mut node = cluster.one_node(profile, &[], &[])?;
        let script = Script {
            slots: streams / ENGINES,
            tokens: TOKENS,
            first_token_delay: Duration::from_millis(20),
            token_delay: Duration::from_millis(200),
            burst: false,
            ..Script::default()
        };
        let engines: Vec<FakeEngine> = (0..ENGINES)
            .map(|_| FakeEngine::start(script.clone()))
            .collect::<Result<_, _>>()?;
        for (number, engine) in (0..).zip(&engines) {
            announce(&mut node, number, engine)?;
        }
        wait_for("every slot", SOON, || {
            node.pool("pool-0")["slots_free"] == streams
        })?;
        let url = node.control().url();
        let address = url.strip_prefix("http://").context("no address")?;
        let outcome = run(&Plan {
            targets: vec![address.parse::<SocketAddr>()?],
            tls: None,
            connections: usize::try_from(streams)?,
            requests: Requests::Post {
                path: "/v1/chat/completions".to_owned(),
                body: chat_body(TOKENS, true).to_string(),
                token: None,
            },
            expected: Expected::Stream {
                events: Some(u64::from(TOKENS) + 3),
            },
            warm_up: Duration::ZERO,
            measure: Duration::ZERO,
            drain: DRAIN,
        })?;
        let peaks: u32 = engines.iter().map(|engine| engine.stats().peak).sum();
        println!("{profile:?}, {streams} streams, {peaks} at once: {outcome:?}");
        ensure!(
            outcome.errors == 0 && outcome.all_answers >= u64::from(streams),
            "{outcome:?}"
        );
        Ok(())
    })
}

// spec: PATH-90
#[test]
fn a_crowd_of_streams_is_served_in_home() -> Result<()> {
    a_crowd_of_streams_is_served(Profile::Home)
}

// spec: PATH-90
#[test]
fn a_crowd_of_streams_is_served_in_cloud() -> Result<()> {
    a_crowd_of_streams_is_served(Profile::Cloud)
}
