//! A node that starts its engines itself, from a pool file: two pools, three replicas.

mod changes;
mod crashes;
mod drains;
mod ends;
mod sleep;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use test_client::{Client, End, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, EngineProcess, Node, Orchestrator};

use crate::load::WORDS;

const SOON: Duration = Duration::from_secs(90);
const SLOTS: u32 = 2;
/// Clients that ask at once: more than the slots of two engines.
const CLIENTS: usize = 6;
/// Two pools, three replicas.
const REPLICAS: [(&str, &str); 3] = [("chat", "r0"), ("chat", "r1"), ("other", "r0")];

/// A pool of `llama-server`s with the cluster's model.
fn pool(cluster: &Cluster, id: &str, model: &str, replicas: u32) -> String {
    format!(
        "[[pool]]\nid = {id:?}\nengine = \"llamacpp\"\nbinary = {:?}\nmodel = {:?}\nmodels = \
         [{model:?}]\n\
         slots = {SLOTS}\ncontext = 2048\nreplicas = {replicas}\n\n",
        cluster.llama_server(),
        cluster.model(),
    )
}

/// The pools of [`REPLICAS`].
fn two_pools(cluster: &Cluster) -> String {
    pool(cluster, "chat", "tiny", 2) + &pool(cluster, "other", "other", 1)
}

/// A control plane and a node that starts the engines of `file`.
fn begin(cluster: &Cluster, file: &str) -> Result<(Orchestrator, Node)> {
    let path = cluster.directory().join("pools.toml");
    std::fs::write(&path, file).context("cannot write the pool file")?;
    let path = path.to_str().context("not a path in UTF-8")?;
    let orchestrator = cluster.orchestrator(&[])?;
    let node = cluster.node(
        "node-a",
        &orchestrator,
        &[("POOL_MANAGERD_POOLS_FILE", path)],
    )?;
    Ok((orchestrator, node))
}

/// The same with all of [`REPLICAS`] ready.
fn start(cluster: &Cluster, file: &str) -> Result<(Orchestrator, Node)> {
    let (orchestrator, node) = begin(cluster, file)?;
    wait_for("all engines", SOON, || are_ready(&orchestrator))?;
    Ok((orchestrator, node))
}

/// Whether the control plane can send requests to all of [`REPLICAS`].
fn are_ready(orchestrator: &Orchestrator) -> bool {
    slots(orchestrator, "chat") == u64::from(2 * SLOTS)
        && slots(orchestrator, "other") == u64::from(SLOTS)
}

/// What the control plane says of a pool.
fn pool_of(orchestrator: &Orchestrator, pool: &str) -> Option<Value> {
    let mut node = orchestrator.node("node-a")?;
    let pools = node["pools"].as_array_mut()?;
    pools
        .iter_mut()
        .find(|status| status["pool_id"] == pool)
        .map(Value::take)
}

fn slots(orchestrator: &Orchestrator, pool: &str) -> u64 {
    pool_of(orchestrator, pool).map_or(0, |pool| pool["slots_total"].as_u64().unwrap_or(0))
}

/// The process behind each of [`REPLICAS`] that is announced.
fn processes(
    cluster: &Cluster,
    node: &Node,
) -> BTreeMap<(&'static str, &'static str), EngineProcess> {
    let running = cluster.engine_processes();
    let of = |(pool, replica): (&'static str, &'static str)| {
        let port = node.announced_port(pool, replica)?;
        let process = running.iter().find(|process| process.port == port)?;
        Some(((pool, replica), *process))
    };
    REPLICAS.into_iter().filter_map(of).collect()
}

/// Asks for an answer of the model "other", as a stream, and asserts that all of it comes.
fn assert_other_answers(client: &Client) -> Result<()> {
    let body = json!({
        "model": "other", "stream": true, "max_tokens": WORDS, "temperature": 0,
        "messages": [{"role": "user", "content": "count"}],
    });
    let answer = client.stream("/v1/chat/completions", &body)?.finish();
    assert_eq!(
        (answer.status, &answer.end),
        (200, &End::Done),
        "{answer:?}"
    );
    assert_eq!(answer.text(), chain(WORDS as usize));
    Ok(())
}
