//! A client that leaves an engine which does not notice: its slot is not given away before the
//! engine is done.

use std::{io::Write, net::TcpStream, thread, time::Duration};

use anyhow::{Context, Result};
use test_client::chat_body;
use test_clock::{pause, wait_for};
use test_cluster::Cluster;
use tiny_model::TinyModel;

use crate::load::ask;

/// What fits into a slot's context.
const MANY_WORDS: u32 = 1900;
/// Makes the engine so slow that what was begun outlasts what the test does meanwhile.
const PAD_MB: u32 = 4;
const SOON: Duration = Duration::from_secs(90);

// spec: SLOT-11
#[test]
fn an_engine_that_goes_on_without_its_client_keeps_its_slot() -> Result<()> {
    let model = TinyModel {
        pad_mb: PAD_MB,
        ..TinyModel::default()
    };
    Cluster::test_with_model("abandoned-requests", &model, |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let node = cluster.node("gpu-1", &orchestrator, &[])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("a ready node", SOON, || orchestrator.ready_nodes() == 1)?;
        let address = orchestrator
            .url()
            .strip_prefix("http://")
            .context("an address")?
            .to_owned();

        // One stream runs; llama-server then does not ask whether the client of an unstreamed
        // request is still there.
        let client = orchestrator.client();
        let streaming = thread::spawn(move || {
            client
                .chat_stream(MANY_WORDS)
                .map(|stream| stream.finish().status)
        });
        wait_for("the stream runs", SOON, || engine.busy_slots() == 1)?;
        let body = chat_body(MANY_WORDS, false).to_string();
        let mut leaving = TcpStream::connect(&address)?;
        write!(
            leaving,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: \
             application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        wait_for("both slots are busy", SOON, || engine.busy_slots() == 2)?;
        drop(leaving);

        // A new request waits in our queue, where it can still be sent elsewhere, and not inside
        // the engine.
        let client = orchestrator.client();
        let next = thread::spawn(move || ask(&client, false));
        pause(Duration::from_millis(200));
        assert_eq!(
            engine.deferred(),
            0,
            "the slot was given away while the engine was still at it"
        );
        let outcome = next.join().expect("the next request");
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!(streaming.join().expect("the stream")?, 200);
        wait_for("every slot is back", SOON, || {
            let pools = node.client().get_json("/v2/pools").unwrap_or_default();
            pools
                .pointer("/pools/0/slots_free")
                .and_then(serde_json::Value::as_u64)
                == Some(2)
        })?;
        Ok(())
    })
}
