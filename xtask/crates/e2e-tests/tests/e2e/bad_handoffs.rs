//! Handoff files that are no good: each is refused by itself, and the engine beside them serves on.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use test_clock::wait_for;
use test_cluster::{Cluster, Node, handoff};

const SOON: Duration = Duration::from_secs(90);

/// One file that is no good, and what is said of it.
struct Bad {
    name: &'static str,
    content: Vec<u8>,
    reason: &'static str,
}

/// `good` with one field another, or without it when `value` is null.
fn with(good: &Value, field: &str, value: Value) -> Vec<u8> {
    let mut bad = good.clone();
    match (bad.as_object_mut(), value) {
        (Some(fields), Value::Null) => drop(fields.remove(field)),
        (_, value) => bad[field] = value,
    }
    bad.to_string().into_bytes()
}

/// Handoffs as they should not be. `first` is announced already.
fn bad_ones(first: &Value) -> Vec<Bad> {
    let mut other = first.clone();
    other["replica_id"] = json!("r9");
    other["url"] = json!("http://127.0.0.1:9");
    let bad = |name, content, reason| Bad {
        name,
        content,
        reason,
    };
    vec![
        bad(
            "slots_text.json",
            with(&other, "slots", json!("4")),
            "slots: invalid type",
        ),
        bad(
            "slots_none.json",
            with(&other, "slots", json!(0)),
            "slots must be between 1 and",
        ),
        bad(
            "slots_many.json",
            with(&other, "slots", json!(1_000_000)),
            "slots must be between 1 and",
        ),
        bad(
            "slots_negative.json",
            with(&other, "slots", json!(-1)),
            "slots: invalid value",
        ),
        bad(
            "slots_missing.json",
            with(&other, "slots", Value::Null),
            "missing field `slots`",
        ),
        bad(
            "url_missing.json",
            with(&other, "url", Value::Null),
            "missing field `url`",
        ),
        bad(
            "url_number.json",
            with(&other, "url", json!(8081)),
            "url: invalid type",
        ),
        bad(
            "url_https.json",
            with(&other, "url", json!("https://127.0.0.1:9")),
            "the scheme is not http",
        ),
        bad(
            "url_file.json",
            with(&other, "url", json!("file:///etc/passwd")),
            "the scheme is not http",
        ),
        bad(
            "url_elsewhere.json",
            with(&other, "url", json!("http://192.0.2.1:8081")),
            "url must lead to this machine",
        ),
        bad(
            "url_other_host.json",
            with(&other, "url", json!("http://other.example:8081")),
            "url must lead to this machine",
        ),
        bad(
            "url_same.json",
            with(&other, "url", first["url"].clone()),
            "announces the same url",
        ),
        bad(
            "replica_same.json",
            with(&other, "replica_id", first["replica_id"].clone()),
            "announces the same replica",
        ),
        bad(
            "replica_path.json",
            with(&other, "replica_id", json!("../r0")),
            "replica_id",
        ),
        bad(
            "models_text.json",
            with(&other, "models", json!("tiny")),
            "models: invalid type",
        ),
        bad(
            "pool_unknown.json",
            with(&other, "pool_id", json!("pool-9")),
            "pool_id must be one of the configured pools (pool-0), not pool-9",
        ),
        bad("array.json", b"[]".to_vec(), "invalid length 0"),
        bad("spaces.json", vec![b' '; 1_000_000], "it has 1000000 bytes"),
        bad(
            "latin1.json",
            b"{\"pool_id\":\"p\xfc\"}".to_vec(),
            "it is not UTF-8 (first wrong byte: 13)",
        ),
        bad(
            "half.json",
            b"{\"pool_id\":\"pool-0\",".to_vec(),
            "it is not complete JSON",
        ),
        bad("empty.json", Vec::new(), "it is not complete JSON"),
    ]
}

/// Puts a file there at once. One that is read while it is written would be refused twice, for what
/// it was and for what it is.
fn place(path: &Path, content: &[u8]) -> Result<()> {
    let written = path.with_extension("part");
    fs::write(&written, content)?;
    fs::rename(&written, path).with_context(|| format!("cannot place {}", path.display()))
}

/// What the node says is wrong, as pairs of file and reason.
fn refused(node: &Node) -> Result<Vec<(String, String)>> {
    let answer = node.client().get_json("/v2/pools")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    let entries = answer["refused"]
        .as_array()
        .context("a list of what is refused")?;
    (entries.iter())
        .map(|entry| Ok((text(&entry["file"])?, text(&entry["reason"])?)))
        .collect()
}

// spec: HAND-13, HAND-16, HAND-17
#[test]
fn each_bad_handoff_is_refused_by_itself_and_said_once() -> Result<()> {
    Cluster::test("bad-handoffs", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node =
            cluster.node("gpu-1", &orchestrator, &[("POOL_MANAGERD_POOLS", "pool-0")])?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        wait_for("a ready node", SOON, || orchestrator.ready_nodes() == 1)?;
        assert_eq!(refused(&node)?, []);

        let directory = node.daemon().directory().join(".runtime/engines");
        let all = bad_ones(&handoff("pool-0", "r0", &engine));
        for bad in &all {
            place(&directory.join(bad.name), &bad.content)?;
        }
        wait_for("every bad file to be refused", SOON, || {
            refused(&node).is_ok_and(|refused| refused.len() == all.len())
        })?;
        let said = refused(&node)?;
        let log = node.log()?;
        for bad in &all {
            let told: Vec<_> = (said.iter())
                .filter(|(file, _)| file.ends_with(bad.name))
                .collect();
            let [(_, reason)] = told[..] else {
                panic!("{} is in {said:?} once", bad.name)
            };
            assert!(reason.contains(bad.reason), "{}: {reason}", bad.name);
            log.wait_line(
                &["WARN", "Handoff refused", &format!("/{} ", bad.name)],
                SOON,
            )?;
        }
        // The good one does not care.
        let pools = node.client().get_json("/v2/pools")?;
        assert_eq!(pools["pools"].as_array().map(Vec::len), Some(1), "{pools}");
        assert_eq!(pools["pools"][0]["slots_total"], 2, "{pools}");
        assert_eq!(orchestrator.client().chat(3)?.status, 200);

        // Each is fixed or removed in turn.
        let mut fixed = handoff("pool-0", "r1", &engine);
        fixed["url"] = json!("http://127.0.0.1:9");
        place(&directory.join(all[0].name), fixed.to_string().as_bytes())?;
        for bad in &all[1..] {
            fs::remove_file(directory.join(bad.name))?;
        }
        wait_for("nothing to be refused", SOON, || {
            refused(&node).is_ok_and(|refused| refused.is_empty())
        })?;
        for bad in &all {
            let lines = log.text();
            let times = |parts: [&str; 2]| {
                let is_one = |line: &&str| parts.iter().all(|part| line.contains(part));
                lines.lines().filter(is_one).count()
            };
            let path = format!("/{} ", bad.name);
            assert_eq!(
                times(["Handoff refused", &path]),
                1,
                "{} is named once",
                bad.name
            );
        }
        Ok(())
    })
}
