//! Bytes are sacred: what a client sent is what an engine gets, through both hops.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fake_engine::{FakeEngine, Record, Script};
use serde_json::json;
use sha2::{Digest, Sha256};
use test_clock::wait_for;
use test_cluster::{Cluster, write_handoff};

const SOON: Duration = Duration::from_secs(90);

/// Bodies that say something else, or nothing at all, once they were parsed and written again.
const ODD: [(&str, &str); 7] = [
    (
        "whitespace",
        "\r\n\t {\t\"model\" \n:\r\"tiny\" , \"messages\":[ ] }\n \t\r\n",
    ),
    (
        "unknown fields",
        r#"{"zz":{"model":"other","stream":true},"model":"tiny","":null,"a b":[[[]]],"stream":false}"#,
    ),
    (
        "keys given twice",
        r#"{"user":"a","user":"b","messages":[],"x":1,"model":"tiny","x":2,"messages":[{"role":"user"}]}"#,
    ),
    (
        "numbers no machine type holds",
        r#"{"model":"tiny","seed":123456789012345678901234567890,"t":1.0e3,"u":-0,"v":0.10000000000000000000000001,"w":1E+400}"#,
    ),
    (
        "escapes",
        r#"{"m\u006fdel2":1,"model":"t\u0069ny","user":"\u00e9\ud83d\ude00\/\b\f\n\"\\","prompt":"\u0000"}"#,
    ),
    (
        "text beyond ASCII",
        "{\"model\":\"tiny\",\"prompt\":\"e\u{301} \u{feff} \u{2028} \u{1f600} \u{10ffff}\"}",
    ),
    (
        "half a pair of surrogates",
        r#"{"model":"tiny","prompt":"\ud800 \udc00"}"#,
    ),
];

/// Sends the bytes as they are, in one piece or in chunks of so many bytes, and returns the
/// whole answer.
fn send(address: &str, strategy: &str, body: &[u8], chunk: Option<usize>) -> Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(SOON))?;
    let framing = match chunk {
        None => format!("content-length: {}", body.len()),
        Some(_) => "transfer-encoding: chunked".to_owned(),
    };
    write!(
        connection,
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\nx-llorch-strategy: {strategy}\r\n{framing}\r\n\r\n"
    )?;
    match chunk {
        None => connection.write_all(body)?,
        Some(size) => {
            for piece in body.chunks(size) {
                write!(connection, "{:x}\r\n", piece.len())?;
                connection.write_all(piece)?;
                connection.write_all(b"\r\n")?;
            }
            connection.write_all(b"0\r\n\r\n")?;
        }
    }
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Sends a body in all ways, and asserts that the engine got what was expected.
fn assert_arrives(
    address: &str,
    engine: &FakeEngine,
    name: &str,
    body: &[u8],
    expected: &[u8],
) -> Result<()> {
    for strategy in ["least-loaded", "session", "prefix"] {
        for chunk in [None, Some(body.len().div_ceil(3))] {
            let answer = send(address, strategy, body, chunk)?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
            let Record {
                path,
                body_len,
                body_sha256,
                ..
            } = engine.records().pop().context("nothing has arrived")?;
            assert_eq!(
                (path.as_str(), body_len, body_sha256),
                ("/v1/completions", expected.len(), sha256(expected)),
                "{name}, {strategy}, chunks of {chunk:?}"
            );
        }
    }
    Ok(())
}

// spec: PATH-1, PATH-18
#[test]
fn a_body_arrives_as_it_was_sent_through_both_hops() -> Result<()> {
    Cluster::test("bytes", |cluster| {
        let aliases = cluster.directory().join("aliases.toml");
        std::fs::write(&aliases, "[aliases]\n\"gpt-4o\" = \"tiny\"\n")?;
        let aliases = aliases.to_str().context("no path")?;
        let orchestrator = cluster.orchestrator(&[("ORCHESTRATORD_ALIASES_FILE", aliases)])?;
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = FakeEngine::start(Script::default())?;
        let handoff = json!({
            "pool_id": "pool-0", "replica_id": "r0", "engine": "llamacpp", "url": engine.url(),
            "engine_version": "fake", "slots": 4, "models": ["tiny"],
        });
        write_handoff(node.daemon().directory(), &handoff)?;
        wait_for("a ready node", SOON, || orchestrator.ready_nodes() == 1)?;

        let url = orchestrator.url();
        let address = url.strip_prefix("http://").context("no address")?;
        for (name, body) in ODD {
            assert_arrives(address, &engine, name, body.as_bytes(), body.as_bytes())?;
        }
        let alias =
            "\n{ \"x\":{\"model\":\"gpt-4o\"},\t\"model\" :\"gpt\\u002d4o\" , \"y\":1.0e3 }\n";
        let model = alias.replace("\"gpt\\u002d4o\"", "\"tiny\"");
        assert_ne!(alias, model);
        assert_arrives(
            address,
            &engine,
            "an alias",
            alias.as_bytes(),
            model.as_bytes(),
        )?;
        let long = format!(
            r#"{{"prompt":"{}", "model":"tiny"}}"#,
            "\\u00e9 ".repeat(300_000)
        );
        assert_arrives(
            address,
            &engine,
            "two megabytes",
            long.as_bytes(),
            long.as_bytes(),
        )
    })
}
