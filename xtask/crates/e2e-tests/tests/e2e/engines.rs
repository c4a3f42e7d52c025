//! Engines as they are really run: with a key, with different contexts, under other pool names.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use test_clock::wait_for;
use test_cluster::{Cluster, OneNode, Profile, handoff, write_handoff};

const SOON: Duration = Duration::from_secs(90);
const KEY: &str = "sesame-of-the-engine";

fn why_not_ready(node: &OneNode) -> String {
    let replica = node.replica("pool-0", "r0");
    let reason = replica["last_error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if replica["ready"] == false {
        reason
    } else {
        String::new()
    }
}

/// Without its key the engine is not ready and says why; with it, it serves, and the key is nowhere
/// but in its file.
fn an_engine_with_a_key_serves_with_it_alone(profile: Profile) -> Result<()> {
    Cluster::test("engine-key", |cluster| {
        let file = cluster.directory().join("engine.key");
        std::fs::write(&file, format!("{KEY}\n"))?;
        let path = file.to_str().context("a path that is not UTF-8")?;
        let engine = cluster.engine_with(2, &["--api-key-file", path])?;
        let mut node = cluster.one_node(profile, &[], &[])?;
        let directory = node.node_daemon().directory().to_owned();
        let without = handoff("pool-0", "r0", &engine);
        write_handoff(&directory, &without)?;
        wait_for("the reason without a key", SOON, || {
            why_not_ready(&node).contains("the engine demands an API key")
        })?;
        assert!(why_not_ready(&node).contains("set api_key_file"));
        let models = node.client().get_json("/v1/models")?;
        assert_eq!(models["data"], json!([]), "nothing is served: {models}");

        let mut with = without;
        with["api_key_file"] = json!(path);
        write_handoff(&directory, &with)?;
        wait_for("the engine to be ready with its key", SOON, || {
            node.pool("pool-0")["ready"] == true
        })?;
        for _ in 0..5 {
            assert_eq!(node.client().chat(3)?.status, 200);
            let streamed = node.client().chat_stream(8)?.finish();
            assert_eq!(streamed.text(), test_client::chain(8));
        }
        // The slot of an abandoned request is polled with the key as well.
        let mut abandoned = node.client().chat_stream(2000)?;
        abandoned.next_text()?;
        drop(abandoned);
        wait_for("the slot of the abandoned request", SOON, || {
            node.pool("pool-0")["slots_free"] == 2
        })?;
        for path in [
            "/v2/nodes",
            "/v2/pools",
            "/v2/status",
            "/metrics",
            "/v1/models",
        ] {
            let answer = node.client().get(path)?;
            assert!(!answer.body.contains(KEY), "{path}");
        }
        for (name, log) in cluster.all_logs() {
            assert!(!log.contains(KEY), "{name}");
        }
        Ok(())
    })
}

/// A prompt that fits one replica alone is always answered: the other refuses it, or is not asked.
fn a_long_prompt_goes_to_the_replica_with_room(profile: Profile) -> Result<()> {
    Cluster::test("context-length", |cluster| {
        let mut node = cluster.one_node(profile, &[], &[])?;
        let small = cluster.engine_with(1, &["--ctx-size", "512"])?;
        let large = cluster.engine_with(1, &["--ctx-size", "4096"])?;
        node.announce("pool-0", "r0", &small)?;
        node.announce("pool-0", "r1", &large)?;
        wait_for("both contexts", SOON, || {
            [("r0", 512), ("r1", 4096)]
                .iter()
                .all(|(replica, context)| {
                    node.replica("pool-0", replica)["context_length"] == *context
                })
        })?;
        let client = node.client();
        wait_for("the model's context", SOON, || {
            let model = client.get_json("/v1/models/tiny").unwrap_or_default();
            model["max_model_len"] == 4096
        })?;
        let model = client.get_json("/v1/models/tiny")?;
        assert_eq!(model["meta"]["n_ctx"], 4096, "{model}");
        assert_eq!(model["owned_by"], "llamacpp", "{model}");
        let pools = client.get_json("/v2/pools")?;
        assert_eq!(pools["pools"][0]["context_length"], 512, "{pools}");

        // About 600 tokens in 1 200 bytes: no estimate from bytes would tell.
        let ask = |words: usize| {
            let body = json!({
                "model": "tiny", "max_tokens": 3, "temperature": 0,
                "messages": [{"role": "user", "content": "a ".repeat(words)}],
            });
            client.post("/v1/chat/completions", &body)
        };
        for round in 0..12 {
            let answer = ask(600)?;
            assert_eq!(answer.status, 200, "{round}: {}", answer.body);
            assert_eq!(answer.header("x-llorch-replica"), "r1");
        }
        // What fits no replica is refused in the engine's own words.
        let answer = ask(5000)?;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(
            answer.body.contains("exceed_context_size_error"),
            "{}",
            answer.body
        );
        Ok(())
    })
}

fn pools_of(node: &OneNode) -> Vec<String> {
    let shown = node.shown();
    let pools = shown["pools"].as_array().into_iter().flatten();
    pools
        .filter_map(|pool| pool["pool_id"].as_str().map(str::to_owned))
        .collect()
}

// spec: PROBE-13, PROBE-14
#[test]
fn an_engine_with_a_key_serves_with_it_alone_home() -> Result<()> {
    an_engine_with_a_key_serves_with_it_alone(Profile::Home)
}

// spec: PROBE-13, PROBE-14
#[test]
fn an_engine_with_a_key_serves_with_it_alone_cloud() -> Result<()> {
    an_engine_with_a_key_serves_with_it_alone(Profile::Cloud)
}

// spec: PATH-120, PATH-121, PATH-122, PROBE-12
#[test]
fn a_long_prompt_goes_to_the_replica_with_room_home() -> Result<()> {
    a_long_prompt_goes_to_the_replica_with_room(Profile::Home)
}

// spec: PATH-120, PATH-121, PATH-122, PROBE-12
#[test]
fn a_long_prompt_goes_to_the_replica_with_room_cloud() -> Result<()> {
    a_long_prompt_goes_to_the_replica_with_room(Profile::Cloud)
}

// spec: SLOT-46
#[test]
fn the_default_pool_shows_only_while_there_is_no_other() -> Result<()> {
    Cluster::test("default-pool", |cluster| {
        let mut node = cluster.one_node(Profile::Cloud, &[], &[])?;
        wait_for("the default pool", SOON, || pools_of(&node) == ["pool-0"])?;
        let alerts = |node: &OneNode| {
            let metrics = node.client().get("/metrics").map(|answer| answer.body);
            metrics.is_ok_and(|text| text.contains("llorch_pool_ready{"))
        };
        assert!(!alerts(&node), "it is no pool that could be missed");
        let engine = cluster.engine(1)?;
        node.announce("chat", "r0", &engine)?;
        wait_for("the named pool alone", SOON, || pools_of(&node) == ["chat"])?;
        assert!(alerts(&node));
        Ok(())
    })
}

// spec: WIRE-43, WIRE-44
#[test]
fn a_handoff_with_another_spelling_and_v1_is_taken() -> Result<()> {
    Cluster::test("spelling", |cluster| {
        let mut node = cluster.one_node(Profile::Home, &[], &[])?;
        let engine = cluster.engine(1)?;
        let directory = node.node_daemon().directory().to_owned();
        let mut spelled = handoff("pool-0", "r0", &engine);
        spelled["engine"] = json!("llama.cpp");
        spelled["url"] = json!(format!("{}/v1", engine.url()));
        write_handoff(&directory, &spelled)?;
        wait_for("an answer", SOON, || {
            node.client()
                .chat(3)
                .is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(node.pool("pool-0")["engine"], "llamacpp");
        Ok(())
    })
}
