//! Clients that leave at any moment, through both hops and with a real engine behind them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::Value;
use test_client::chat_body;
use test_clock::{pause, wait_for};
use test_cluster::{Cluster, Node, Orchestrator};

use crate::{
    load::Load,
    queue::{DEFERS, waiting},
};

const DISCONNECTS: u64 = 200;
/// Each client's fate follows from this and its number.
const SEED: u64 = 0x00d1_5c04;
/// Three times as many as there are slots: most requests wait.
const CLIENTS: u64 = 12;
const SLOTS: u32 = 4;
const SOON: Duration = Duration::from_secs(90);
/// Longer than a request may wait for its slot.
const ANSWERED: Duration = Duration::from_secs(300);
/// More words than anybody stays for. The engine notices at once that the reader of a stream is
/// gone.
const STREAMED_WORDS: u32 = 1900;
/// While it works on others, the engine does not notice that the client of a whole answer left: a
/// short one.
const WHOLE_WORDS: u32 = 40;

/// Sends a request and leaves: after a time, whatever has happened, or after so many bytes of the
/// answer.
fn ask_and_leave(address: &str, number: u64) -> Result<()> {
    let mut rng = Rng::with_seed(SEED.wrapping_add(number));
    let stream = rng.u8(0..8) > 0;
    let body = chat_body(if stream { STREAMED_WORDS } else { WHOLE_WORDS }, stream).to_string();
    let mut connection = TcpStream::connect(address)?;
    write!(
        connection,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: \
         application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    if stream && rng.bool() {
        let mut piece = vec![0; rng.usize(1..20_000)];
        connection.set_read_timeout(Some(ANSWERED))?;
        connection.read_exact(&mut piece)?;
        assert!(
            piece.starts_with(&b"HTTP/1.1 200"[..piece.len().min(12)]),
            "client {number} of seed {SEED}: {}",
            String::from_utf8_lossy(&piece)
        );
    } else {
        pause(Duration::from_micros(rng.u64(0..40_000)));
    }
    Ok(())
}

/// Slots that are free, as the node says.
fn free_slots(node: &Node) -> Option<Value> {
    let mut pools = node.client().get_json("/v2/pools").ok()?;
    Some(pools["pools"][0]["slots_free"].take())
}

/// Slots that the control plane holds taken.
fn taken_slots(orchestrator: &Orchestrator) -> Option<Value> {
    let question = serde_json::json!({"model": "tiny"});
    let answer = orchestrator
        .client()
        .post("/v2/placement/explain", &question);
    let mut answer = answer.ok()?.json().ok()?;
    Some(answer["candidates"][0]["slots_used"].take())
}

// spec: PATH-7, ADM-4, SLOT-1, SLOT-2
#[test]
fn clients_that_leave_at_any_moment_leak_no_slot() -> Result<()> {
    Cluster::test("disconnects", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("node-a", &orchestrator, &[])?;
        let mut engine = cluster.engine_with(SLOTS, &["--verbose"])?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("a ready node", SOON, || orchestrator.ready_nodes() == 1)?;

        let url = orchestrator.url();
        let address = url.strip_prefix("http://").context("no address")?;
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            let leave_in_turn = || -> Result<()> {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= DISCONNECTS {
                        return Ok(());
                    }
                    ask_and_leave(address, number)
                        .with_context(|| format!("client {number} of seed {SEED}"))?;
                }
            };
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(leave_in_turn)).collect();
            clients.into_iter().try_for_each(|client| {
                client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;

        let what = |what: &str| format!("{what}; seed {SEED}");
        wait_for(&what("an empty queue"), SOON, || {
            waiting(&orchestrator.client()) == 0
        })?;
        wait_for(&what("the node to have all slots back"), SOON, || {
            free_slots(&node).is_some_and(|free| free == SLOTS)
        })?;
        wait_for(
            &what("the control plane to have all slots back"),
            SOON,
            || taken_slots(&orchestrator).is_some_and(|taken| taken == 0),
        )?;
        let log = engine.server()?.process().log().clone();
        assert_eq!(log.line_with(&[DEFERS]), None, "seed {SEED}");
        // As many at once as there are slots, and all of them are served.
        for outcome in Load::new(orchestrator.client(), 40, 4).run(|_| Ok(()))? {
            assert!(outcome.is_complete(), "{outcome:?}; seed {SEED}");
        }
        Ok(())
    })
}
