//! A node that starts its engines itself, from a pool file: they crash, the node crashes, and both are stopped.

use std::{collections::BTreeMap, fmt::Write as _, thread, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use xtask::{
    clock::{now, wait_for, wait_for_some},
    cluster::{Cluster, EngineProcess, Node, Orchestrator},
    gguf::TinyModel,
    http::{Client, End, chain},
};

use crate::load::{Load, WORDS};

const SOON: Duration = Duration::from_secs(20);
const SLOTS: u32 = 2;
/// Two pools, three replicas.
const REPLICAS: [(&str, &str); 3] = [("chat", "r0"), ("chat", "r1"), ("other", "r0")];
/// What is tested is that nothing is lost, not the patience of those who wait for a slot.
const PATIENT: (&str, &str) = ("ORCHESTRATORD_QUEUE_WAIT_MS", "60000");
/// Ten starts, 50 ms apart, then twice as long each time: 26 s.
const TEN_STARTS: Duration = Duration::from_secs(90);

/// A pool of `llama-server`s with the cluster's model.
fn pool(cluster: &Cluster, id: &str, model: &str, replicas: u32) -> String {
    format!(
        "[[pool]]\nid = {id:?}\nengine = \"llamacpp\"\nbinary = {:?}\nmodel = {:?}\nmodels = [{model:?}]\n\
         slots = {SLOTS}\ncontext = 2048\nreplicas = {replicas}\n\n",
        cluster.llama_server(),
        cluster.model(),
    )
}

/// The pools of [`REPLICAS`].
fn two_pools(cluster: &Cluster) -> String {
    pool(cluster, "chat", "tiny", 2) + &pool(cluster, "other", "other", 1)
}

/// A control plane and a node that starts the engines of `file`, all of [`REPLICAS`] ready.
fn start(cluster: &Cluster, file: &str) -> Result<(Orchestrator, Node)> {
    let path = cluster.directory().join("pools.toml");
    std::fs::write(&path, file).context("cannot write the pool file")?;
    let path = path.to_str().context("not a path in UTF-8")?;
    let orchestrator = cluster.orchestrator(&[PATIENT])?;
    let node = cluster.node("node-a", &orchestrator, &[("POOL_MANAGERD_POOLS_FILE", path)])?;
    wait_for("all engines", SOON, || are_ready(&orchestrator))?;
    Ok((orchestrator, node))
}

/// Whether the control plane can send requests to all of [`REPLICAS`].
fn are_ready(orchestrator: &Orchestrator) -> bool {
    slots(orchestrator, "chat") == u64::from(2 * SLOTS) && slots(orchestrator, "other") == u64::from(SLOTS)
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
fn processes(cluster: &Cluster, node: &Node) -> BTreeMap<(&'static str, &'static str), EngineProcess> {
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
    assert_eq!((answer.status, &answer.end), (200, &End::Done), "{answer:?}");
    assert_eq!(answer.text(), chain(WORDS as usize));
    Ok(())
}

// spec: PROV-5, PROV-6, PROV-9
#[test]
fn a_killed_engine_is_started_again_and_no_other_is_disturbed() -> Result<()> {
    Cluster::test("prov-kill", |cluster| {
        let (orchestrator, node) = start(cluster, &two_pools(cluster))?;
        let before = processes(cluster, &node);
        assert_eq!(before.len(), REPLICAS.len());
        let client = orchestrator.client();
        let outcomes = thread::scope(|scope| {
            let others = scope.spawn(|| (0..10).try_for_each(|_| assert_other_answers(&client)));
            let outcomes = Load::new(client.clone(), 200, 6).run(|load| {
                wait_for("the load to run", SOON, || load.finished() >= 40)?;
                let killed = now();
                before[&("chat", "r0")].kill();
                wait_for("the engine to be seen as gone", SOON, || {
                    slots(&orchestrator, "chat") < u64::from(2 * SLOTS)
                })?;
                let gone = killed.elapsed();
                wait_for("the engine to be back", SOON, || are_ready(&orchestrator))?;
                let back = killed.elapsed();
                println!(
                    "killed; out of rotation after {} ms, back in rotation after {} ms",
                    gone.as_millis(),
                    back.as_millis()
                );
                Ok(())
            })?;
            others
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            anyhow::Ok(outcomes)
        })?;

        let broken: Vec<_> = outcomes.iter().filter(|outcome| !outcome.is_complete()).collect();
        println!("{} of {} broken", broken.len(), outcomes.len());
        for outcome in &broken {
            let began = outcome.is_honestly_broken() && outcome.replica == "r0";
            // The node is the only endpoint of the model, so there was nobody else to ask.
            let refused = outcome.status == 502 && outcome.text.contains("WORKER_RESET");
            assert!(began || refused, "{outcome:?}");
        }
        assert!(
            broken.len() <= SLOTS as usize,
            "more than one per slot: {broken:?}"
        );
        let after = processes(cluster, &node);
        for (name, process) in &after {
            let same = before.get(name) == Some(process);
            assert_eq!(same, *name != ("chat", "r0"), "{name:?}: {before:?} {after:?}");
        }
        assert_eq!(cluster.engine_processes().len(), REPLICAS.len());
        Ok(())
    })
}

// spec: PROV-10
#[test]
fn the_engines_of_a_killed_agent_are_adopted() -> Result<()> {
    Cluster::test("prov-adopt", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let before = processes(cluster, &node);
        assert_eq!(before.len(), REPLICAS.len());
        let all = cluster.engine_processes();

        node.kill();
        assert_eq!(cluster.engine_processes(), all, "engines outlive their agent");
        let restarted = now();
        node.restart()?;
        let client = orchestrator.client();
        wait_for("an answer", SOON, || {
            client.chat(3).is_ok_and(|answer| answer.status == 200)
        })?;
        println!(
            "first answer {} ms after the agent was started again",
            restarted.elapsed().as_millis()
        );
        wait_for("all engines", SOON, || are_ready(&orchestrator))?;
        assert_other_answers(&client)?;
        let adopted = "Engine of an earlier agent adopted";
        let log = node.log()?.text();
        assert_eq!(log.matches(adopted).count(), REPLICAS.len(), "{log}");
        assert_eq!(cluster.engine_processes(), all, "no second process");
        assert_eq!(processes(cluster, &node), before);
        Ok(())
    })
}

// spec: PROV-6, PROV-9
#[test]
fn an_engine_that_always_crashes_is_given_up_and_the_others_serve() -> Result<()> {
    Cluster::test("prov-crash", |cluster| {
        let mut file = two_pools(cluster);
        write!(
            file,
            "[[pool]]\nid = \"broken\"\nengine = \"llamacpp\"\nslots = 1\n\
             command = [\"/bin/sh\", \"-c\", \"echo no such device: $0 >&2; exit 3\", \"{{port}}\"]\n"
        )?;
        let (orchestrator, node) = start(cluster, &file)?;
        let others = processes(cluster, &node);
        let client = orchestrator.client();
        let given_up = wait_for_some("the engine to be given up", TEN_STARTS, || {
            if assert_other_answers(&client).is_err() {
                return Some(json!("another engine does not serve"));
            }
            let mut pool = pool_of(&orchestrator, "broken")?;
            assert_eq!(pool["ready"], false);
            let error = pool["last_error"].take();
            error
                .as_str()
                .is_some_and(|error| error.starts_with("failed"))
                .then_some(error)
        })?;
        let given_up = given_up.as_str().unwrap_or_default();
        println!("{given_up}");
        assert!(given_up.contains("no such device"), "{given_up}");
        assert_eq!(processes(cluster, &node), others);
        Ok(())
    })
}

// spec: PROV-3, PROV-4, STOP-2
#[test]
fn an_agent_that_is_told_to_stop_leaves_no_engine_behind() -> Result<()> {
    Cluster::test("prov-stop", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let mut stream = orchestrator.client().chat_stream(WORDS)?;
        stream.next_text()?;
        let stopped = now();
        let (status, rest) = thread::scope(|scope| {
            let rest = scope.spawn(|| stream.finish());
            let status = node.terminate(SOON);
            let rest = rest
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (status, rest)
        });
        assert!(status?.success());
        println!(
            "all engines and the agent ended after {} ms",
            stopped.elapsed().as_millis()
        );
        assert_eq!(rest.end, End::Done, "{rest:?}");
        assert_eq!(cluster.engine_processes(), []);
        for (pool, replica) in REPLICAS {
            assert_eq!(node.announced_port(pool, replica), None);
        }
        Ok(())
    })
}

// spec: PROV-12, PROV-18
#[test]
fn a_reload_to_another_model_under_load_fails_no_request() -> Result<()> {
    Cluster::test("prov-reload", |cluster| {
        let file = two_pools(cluster);
        let (orchestrator, node) = start(cluster, &file)?;
        let before = processes(cluster, &node);
        // Other weights, and the same words, so that every answer can be checked.
        let model = cluster.directory().join("second.gguf");
        let second = TinyModel {
            seed: 2,
            ..TinyModel::default()
        };
        second.write(&model)?;
        let old = format!("{:?}", cluster.model());
        let file = file.replacen(&old, &format!("{model:?}"), 1);
        std::fs::write(cluster.directory().join("pools.toml"), file)?;

        let outcomes = Load::new(orchestrator.client(), 200, 6).run(|load| {
            wait_for("the load to run", SOON, || load.finished() >= 20)?;
            let asked = now();
            let answer = node.client().post("/v2/pools/chat/reload", &json!({}))?;
            println!("reloaded after {} ms", asked.elapsed().as_millis());
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(load.finished() < 200, "the load was over before the reload was");
            Ok(())
        })?;
        for outcome in &outcomes {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        let after = processes(cluster, &node);
        for name in REPLICAS {
            let same = before.get(&name) == after.get(&name);
            assert_eq!(same, name.0 == "other", "{before:?} {after:?}");
        }
        assert_eq!(cluster.engine_processes().len(), REPLICAS.len());
        Ok(())
    })
}

// spec: PROV-16, PROV-17
#[test]
fn a_drain_shows_what_still_runs_and_outlives_the_agent() -> Result<()> {
    Cluster::test("prov-drain", |cluster| {
        let (orchestrator, mut node) = start(cluster, &two_pools(cluster))?;
        let (client, agent) = (orchestrator.client(), node.client());
        let tell = |verb: &str| agent.post(&format!("/v2/pools/chat/{verb}"), &json!({}))?.json();
        let mut stream = client.chat_stream(WORDS)?;
        stream.next_text()?;
        let view = tell("drain")?;
        assert_eq!(
            (&view["draining"], &view["requests_running"]),
            (&json!(true), &json!(1))
        );
        assert_eq!(stream.finish().end, End::Done);
        wait_for("the stream to be counted as ended", SOON, || {
            agent
                .get_json("/v2/pools/chat")
                .is_ok_and(|view| view["requests_running"] == 0)
        })?;

        node.kill();
        node.restart()?;
        wait_for("its engines", SOON, || {
            agent
                .get_json("/v2/pools/chat")
                .is_ok_and(|view| view["ready"] == true)
        })?;
        let direct = "/v2/pools/chat/engine/v1/models";
        assert_eq!(agent.get(direct)?.header("x-llorch-refusal"), "POOL_DRAINING");
        assert_other_answers(&client)?;
        assert_eq!(tell("undrain")?["draining"], false);
        assert_eq!(agent.get(direct)?.status, 200);
        Ok(())
    })
}
