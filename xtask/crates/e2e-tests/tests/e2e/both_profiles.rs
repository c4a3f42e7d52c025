//! What holds for one machine and for many: each case is written once and run in HOME and in CLOUD.
//!
//! A case is in another file only when it needs a second machine.

use std::{thread, time::Duration};

use anyhow::{Context, Result};
use fake_nvml::FakeNvml;
use serde_json::{Value, json};
use test_client::{Client, End, chain};
use test_clock::{wait_for, wait_for_some};
use test_cluster::{Cluster, Engine, OneNode, Profile};

use crate::load::{Load, WORDS, ask};

const SOON: Duration = Duration::from_secs(90);
const SLOTS: u32 = 2;
const MANY_WORDS: u32 = 7000;
/// Far longer than a test: a change that is seen before the next heartbeat was reported at once.
const NO_HEARTBEAT: (&str, &str) = ("HEARTBEAT_INTERVAL_SECS", "3600");

/// A node with two engines in a pool, both ready.
fn two_engines(cluster: &Cluster, profile: Profile) -> Result<(OneNode, [Engine; 2])> {
    let settings: &[(&str, &str)] = match profile {
        Profile::Home => &[],
        Profile::Cloud => &[NO_HEARTBEAT],
    };
    let mut node = cluster.one_node(profile, settings, &[])?;
    let engines = [cluster.engine(SLOTS)?, cluster.engine(SLOTS)?];
    for (replica, engine) in ["r0", "r1"].iter().zip(&engines) {
        node.announce("pool-0", replica, engine)?;
    }
    wait_for("both replicas", SOON, || {
        node.pool("pool-0")["slots_free"] == 2 * SLOTS
    })?;
    Ok((node, engines))
}

fn kinds(node: &OneNode) -> Vec<String> {
    let events = node.client().get_json("/v2/events").unwrap_or_default();
    let kinds = events["events"].as_array().into_iter().flatten();
    kinds
        .filter_map(|event| event["kind"].as_str().map(str::to_owned))
        .collect()
}

fn a_node_is_listed_with_its_replicas(profile: Profile) -> Result<()> {
    Cluster::test("both-list", |cluster| {
        let (node, _engines) = two_engines(cluster, profile)?;
        let client = node.client();
        let shown = node.shown();
        assert_eq!(shown["status"], "online", "{shown}");
        let replicas = shown["pools"][0]["replicas"]
            .as_array()
            .context("no replicas")?;
        let names: Vec<&Value> = replicas
            .iter()
            .map(|replica| &replica["replica_id"])
            .collect();
        assert_eq!(names, ["r0", "r1"]);
        let one = client.get_json(&format!("/v2/nodes/{}", node.name()))?;
        assert_eq!(one["node_id"], node.name());
        assert_eq!(
            client.get_json("/v2/nodes?status=online&limit=1")?["nodes"][0]["node_id"],
            node.name()
        );
        assert_eq!(
            client.get_json("/v2/nodes?model=tiny")?["nodes"][0]["node_id"],
            node.name()
        );
        assert_eq!(
            client.get_json("/v2/nodes?status=offline")?["nodes"],
            json!([])
        );
        assert_eq!(client.get("/v2/nodes?status=asleep")?.status, 400);
        let pools = client.get_json("/v2/pools")?;
        let endpoints: Vec<&Value> = pools["pools"].as_array().into_iter().flatten().collect();
        let named: Vec<_> = endpoints
            .iter()
            .map(|endpoint| &endpoint["replica_id"])
            .collect();
        assert_eq!(named, ["r0", "r1"], "{pools}");
        let catalog = client.get_json("/v2/catalog/availability")?;
        assert_eq!(catalog["models"][0]["endpoints_ready"], 2, "{catalog}");
        let status = client.get_json("/v2/status")?;
        assert_eq!(status["nodes"]["online"], 1, "{status}");
        assert_eq!(
            status["slots"],
            json!({"total": 2 * SLOTS, "free": 2 * SLOTS}),
            "{status}"
        );
        // Who answered is said with each answer.
        let answer = client.chat(3)?;
        assert_eq!(answer.header("x-llorch-node"), node.name());
        assert!(
            ["r0", "r1"].contains(&answer.header("x-llorch-replica")),
            "{:?}",
            answer.headers
        );
        Ok(())
    })
}

/// `slots_free` of each view, summed over replicas.
fn free_slots(client: &Client) -> Result<[u64; 3]> {
    let sum = |list: &Value| {
        let all = list.as_array().into_iter().flatten();
        all.filter_map(|one| one["slots_free"].as_u64()).sum()
    };
    let pools = client.get_json("/v2/pools")?;
    let catalog = client.get_json("/v2/catalog/availability")?;
    let status = client.get_json("/v2/status")?;
    Ok([
        sum(&pools["pools"]),
        sum(&catalog["models"]),
        sum(&status["models"]),
    ])
}

fn free_slots_are_one_figure(profile: Profile) -> Result<()> {
    Cluster::test("both-slots", |cluster| {
        let (node, _engines) = two_engines(cluster, profile)?;
        let client = node.client();
        let all = u64::from(2 * SLOTS);
        wait_for("the model's name", SOON, || {
            free_slots(&client).is_ok_and(|free| free == [all; 3])
        })?;
        // Far more words than are generated while the views are read.
        let mut running = client.chat_stream(MANY_WORDS)?;
        running.next_text()?;
        wait_for("one slot less in each view", SOON, || {
            free_slots(&client).is_ok_and(|free| free == [all - 1; 3])
        })?;
        drop(running);
        wait_for("the slot to be free", SOON, || {
            free_slots(&client).is_ok_and(|free| free == [all; 3])
        })
    })
}

fn a_drained_node_finishes_and_serves_again(profile: Profile) -> Result<()> {
    drained(profile, "both-drain-node", None)
}

fn a_drained_pool_finishes_and_serves_again(profile: Profile) -> Result<()> {
    drained(profile, "both-drain-pool", Some("pool-0"))
}

/// What runs finishes, nothing new begins, and what waits is served after the undrain.
fn drained(profile: Profile, name: &str, what: Option<&str>) -> Result<()> {
    Cluster::test(name, |cluster| {
        let (node, _engines) = two_engines(cluster, profile)?;
        let client = node.client();
        let mut running = client.chat_stream(WORDS)?;
        running.next_text()?;
        node.set_draining(what, true)?;
        wait_for("the drain to be shown", SOON, || {
            node.pool("pool-0")["draining"] == true
        })?;
        assert_eq!(node.shown()["status"], "draining");
        let waiting = thread::spawn(move || ask(&client, false));
        let running = running.finish();
        assert_eq!(running.end, End::Done, "{running:?}");
        assert!(!waiting.is_finished(), "a drained node took a new request");
        node.set_draining(what, false)?;
        let outcome = waiting
            .join()
            .map_err(|_| anyhow::anyhow!("the request panicked"))?;
        assert!(outcome.is_complete(), "{outcome:?}");
        let seen = kinds(&node);
        let (drained, undrained) = match what {
            None => ("node_drained", "node_undrained"),
            Some(_) => ("pool_drained", "pool_undrained"),
        };
        assert!(
            seen.contains(&drained.to_owned()) && seen.contains(&undrained.to_owned()),
            "{seen:?}"
        );
        Ok(())
    })
}

fn a_drained_replica_leaves_the_others_to_serve(profile: Profile) -> Result<()> {
    Cluster::test("both-drain-replica", |cluster| {
        let (node, _engines) = two_engines(cluster, profile)?;
        let outcomes = Load::while_it_lasts(node.client(), 3).run(|load| {
            load.wait_for(6)?;
            node.set_draining(Some("pool-0/replicas/r0"), true)?;
            // Long before a heartbeat would be due.
            wait_for("the drain to be shown", SOON, || {
                node.replica("pool-0", "r0")["draining"] == true
                    && node.pool("pool-0")["slots_total"] == SLOTS
            })?;
            load.wait_for(6)
        })?;
        for outcome in &outcomes {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        for _ in 0..4 {
            assert_eq!(node.client().chat(3)?.header("x-llorch-replica"), "r1");
        }
        node.set_draining(Some("pool-0/replicas/r0"), false)?;
        wait_for("both replicas", SOON, || {
            node.pool("pool-0")["slots_total"] == 2 * SLOTS
        })?;
        let unknown = node.client().post(
            &format!("/v2/pools/{}/pool-0/replicas/r9/drain", node.name()),
            &json!({}),
        )?;
        assert_eq!(unknown.status, 404, "{}", unknown.body);
        Ok(())
    })
}

fn drains_outlive_the_daemons(profile: Profile) -> Result<()> {
    Cluster::test("both-drain-restart", |cluster| {
        let (mut node, _engines) = two_engines(cluster, profile)?;
        node.set_draining(Some("pool-0/replicas/r0"), true)?;
        node.set_draining(None, true)?;
        wait_for("the drain", SOON, || node.shown()["status"] == "draining")?;
        // What an operator wants is written behind their back, and at the latest with the end.
        assert!(node.control_mut().terminate(SOON)?.success());
        node.control_mut().restart()?;
        node.restart_node()?;
        wait_for("the node, drained still", SOON, || {
            node.shown()["status"] == "draining" && node.replica("pool-0", "r0")["draining"] == true
        })?;
        node.set_draining(None, false)?;
        wait_for("an answer", SOON, || {
            node.client()
                .chat(3)
                .is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(node.client().chat(3)?.header("x-llorch-replica"), "r1");
        Ok(())
    })
}

fn a_killed_engine_is_replaced_by_the_other(profile: Profile) -> Result<()> {
    Cluster::test("both-kill", |cluster| {
        let (node, mut engines) = two_engines(cluster, profile)?;
        let outcomes = Load::while_it_lasts(node.client(), 2).run(|load| {
            load.wait_for(4)?;
            engines[0].kill();
            load.wait_for(8)
        })?;
        let broken: Vec<_> = outcomes
            .iter()
            .filter(|outcome| !outcome.is_complete())
            .collect();
        assert!(broken.len() <= SLOTS as usize, "{broken:?}");
        for outcome in broken {
            assert!(outcome.is_honestly_broken(), "{outcome:?}");
        }
        wait_for("the loss to be shown", SOON, || {
            node.replica("pool-0", "r0")["ready"] == false
        })?;
        engines[0].restart()?;
        wait_for("both replicas", SOON, || {
            node.pool("pool-0")["slots_total"] == 2 * SLOTS
        })?;
        Ok(())
    })
}

fn a_retracted_handoff_is_gone_at_once(profile: Profile) -> Result<()> {
    Cluster::test("both-retract", |cluster| {
        let (mut node, _engines) = two_engines(cluster, profile)?;
        node.retract("pool-0", "r0")?;
        wait_for("one replica", SOON, || {
            node.pool("pool-0")["slots_total"] == SLOTS
        })?;
        assert_eq!(node.client().chat(20)?.text()?, chain(20));
        node.retract("pool-0", "r1")?;
        wait_for("no replica", SOON, || node.pool("pool-0")["ready"] != true)?;
        Ok(())
    })
}

fn gpus_are_shown(profile: Profile) -> Result<()> {
    Cluster::test("both-gpus", |cluster| {
        let driver = FakeNvml::new()?;
        let library = driver.directory().to_str().context("not a path in UTF-8")?;
        let node = cluster.one_node(profile, &[], &[("LD_LIBRARY_PATH", library)])?;
        let shown = wait_for_some("the GPUs", SOON, || {
            let shown = node.shown();
            (shown["gpus"].as_array().map(Vec::len) == Some(2)).then_some(shown)
        })?;
        assert_eq!(
            shown["capabilities"]["gpus"][1]["compute_capability"], "8.6",
            "{shown}"
        );
        let all = node.client().get_json("/v2/gpus")?;
        let nodes: Vec<&Value> = all["gpus"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|gpu| &gpu["node_id"])
            .collect();
        assert_eq!(nodes, [node.name(), node.name()]);
        Ok(())
    })
}

fn events_tell_what_happened(profile: Profile) -> Result<()> {
    Cluster::test("both-events", |cluster| {
        let (node, engines) = two_engines(cluster, profile)?;
        drop(engines);
        wait_for("the pool to be lost", SOON, || {
            // The request finds out before the probes do.
            let client = node.client().with_header("x-deadline-ms", "1000");
            let _ = client.chat(3);
            kinds(&node).contains(&"pool_not_ready".to_owned())
        })?;
        let seen = kinds(&node);
        let place = |kind: &str| seen.iter().position(|seen| seen == kind);
        assert!(
            place("node_joined").is_some() && place("node_joined") < place("pool_ready"),
            "{seen:?}"
        );
        assert!(place("pool_ready") < place("pool_not_ready"), "{seen:?}");
        Ok(())
    })
}

fn pool_file(cluster: &Cluster, more: &str) -> Result<String> {
    let path = cluster.directory().join("pools.toml");
    let text = format!(
        "[[pool]]\nid = \"chat\"\nengine = \"llamacpp\"\nbinary = {:?}\nmodel = {:?}\nmodels = \
         [\"tiny\"]\n\
         slots = {SLOTS}\ncontext = 2048\nreplicas = 2\n{more}\n",
        cluster.llama_server(),
        cluster.model(),
    );
    std::fs::write(&path, text)?;
    Ok(path.to_str().context("not a path in UTF-8")?.to_owned())
}

fn a_pool_file_starts_engines_and_a_killed_daemon_adopts_them(profile: Profile) -> Result<()> {
    Cluster::test("both-pools", |cluster| {
        let file = pool_file(cluster, "")?;
        let mut node = cluster.one_node(profile, &[("POOLS_FILE", &file)], &[])?;
        wait_for("both engines", SOON, || {
            node.pool("chat")["slots_total"] == 2 * SLOTS
        })?;
        assert_eq!(node.client().chat(20)?.text()?, chain(20));
        let before = cluster.engine_processes();
        assert_eq!(before.len(), 2);
        node.restart_node()?;
        wait_for("an answer", SOON, || {
            node.client()
                .chat(3)
                .is_ok_and(|answer| answer.status == 200)
        })?;
        assert_eq!(cluster.engine_processes(), before, "they were not adopted");

        let path = format!("/v2/pools/{}/chat/restart", node.name());
        let answer = node.client().post(&path, &json!({}))?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let after = cluster.engine_processes();
        assert!(
            after.len() == 2 && after.iter().all(|engine| !before.contains(engine)),
            "{before:?} {after:?}"
        );
        assert!(node.node_daemon().terminate(SOON)?.success());
        assert_eq!(
            cluster.engine_processes(),
            [],
            "a daemon that is told to stop leaves no engine behind"
        );
        Ok(())
    })
}

fn an_idle_pool_sleeps_and_the_first_request_wakes_it(profile: Profile) -> Result<()> {
    Cluster::test("both-sleep", |cluster| {
        let file = pool_file(cluster, "sleep_after_secs = 1")?;
        let node = cluster.one_node(profile, &[("POOLS_FILE", &file)], &[])?;
        wait_for("the pool to sleep", SOON, || {
            cluster.engine_processes().is_empty() && node.pool("chat")["sleeping"] == true
        })?;
        assert_eq!(node.client().chat(20)?.text()?, chain(20));
        Ok(())
    })
}

macro_rules! in_both_profiles {
    ($($name:ident;)+) => {
        mod home {
            $(
                // spec: CLOUD-12105, SEE-42
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::$name(test_cluster::Profile::Home)
                }
            )+
        }
        mod cloud {
            $(
                // spec: CLOUD-12105
                #[test]
                fn $name() -> anyhow::Result<()> {
                    super::$name(test_cluster::Profile::Cloud)
                }
            )+
        }
    };
}

in_both_profiles! {
    a_node_is_listed_with_its_replicas;
    free_slots_are_one_figure;
    a_drained_node_finishes_and_serves_again;
    a_drained_pool_finishes_and_serves_again;
    a_drained_replica_leaves_the_others_to_serve;
    drains_outlive_the_daemons;
    a_killed_engine_is_replaced_by_the_other;
    a_retracted_handoff_is_gone_at_once;
    gpus_are_shown;
    events_tell_what_happened;
    a_pool_file_starts_engines_and_a_killed_daemon_adopts_them;
    an_idle_pool_sleeps_and_the_first_request_wakes_it;
}
