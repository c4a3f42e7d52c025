//! `llorch` against real daemons and a real engine: what an operator does in a day.

use std::{
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use child_process::{Group, Process, succeed};
use fake_engine::{FakeEngine, SCRIPT_HEADER, Script};
use load_gen::fleet::registration;
use serde_json::{Value, json};
use test_client::{End, chain};
use test_clock::wait_for;
use test_cluster::{Cluster, Engine, Node, Orchestrator, write_handoff};
use test_tools::Tool;
use workspace_build::llorch;

use crate::terminal::{COLUMNS, CTRL_C, Terminal, with_its_end};

const SOON: Duration = Duration::from_secs(90);
/// Long enough for any drain of a test on a busy machine.
const LATE: Duration = Duration::from_secs(180);
const SLOTS: u32 = 4;
/// Longer than it takes to begin a drain.
const MANY_WORDS: u32 = 800;

/// One node with one engine, ready, that reports every second.
pub(crate) fn one(cluster: &Cluster) -> Result<(Orchestrator, Node, Engine)> {
    let orchestrator = cluster.orchestrator(&[])?;
    let settings = [("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "1")];
    let node = cluster.node("node-a", &orchestrator, &settings)?;
    let engine = cluster.engine(SLOTS)?;
    node.write_handoff("pool-0", "r0", &engine)?;
    wait_for("a ready node", SOON, || orchestrator.ready_nodes() == 1)?;
    let client = orchestrator.client();
    wait_for("the model's name", SOON, || {
        client.chat(1).is_ok_and(|answer| answer.status == 200)
    })?;
    Ok((orchestrator, node, engine))
}

fn command(url: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(llorch()?);
    command.args(arguments).env_clear().env("LLORCH_URL", url);
    Ok(command)
}

fn run(url: &str, arguments: &[&str]) -> Result<Output> {
    command(url, arguments)?
        .output()
        .with_context(|| format!("llorch {arguments:?}"))
}

/// Standard output of a command that has to succeed.
fn good(url: &str, arguments: &[&str]) -> Result<String> {
    let output = run(url, arguments)?;
    ensure!(output.status.success(), "llorch {arguments:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn good_json(url: &str, arguments: &[&str]) -> Result<Value> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let text = good(url, &arguments)?;
    serde_json::from_str(&text).with_context(|| format!("llorch {arguments:?}: {text}"))
}

// spec: CLI-2, CLI-6, CLI-9, CLI-10
#[test]
fn an_operator_sees_asks_and_measures() -> Result<()> {
    Cluster::test("command-line", |cluster| {
        let (orchestrator, _node, _engine) = one(cluster)?;
        let url = orchestrator.url();
        assert!(good(&url, &["nodes"])?.contains("node-a  online"));
        assert!(good(&url, &["nodes", "node-a"])?.contains("pool-0  ready"));
        let pools = good(&url, &["pools"])?;
        let row = ["node-a", "pool-0", "r0", "ready"];
        let is_row = |line: &str| line.split_whitespace().take(row.len()).eq(row);
        assert!(pools.lines().any(is_row), "{pools}");
        assert!(good(&url, &["models"])?.contains("tiny   yes"));
        let explained = good(&url, &["explain", "tiny"])?;
        assert!(
            explained.starts_with("to node-a/pool-0") && explained.contains("r0"),
            "{explained}"
        );
        assert!(good(&url, &["status"])?.contains("\nnodes    1 online\n"));
        assert!(good(&url, &["events"])?.contains("node_joined"));
        assert!(good(&url, &["token", "check"])?.contains("asks for none"));

        let chat = run(
            &url,
            &["chat", "--max-tokens", "12", "--temperature", "0", "count"],
        )?;
        assert_eq!(
            String::from_utf8(chat.stdout)?,
            format!("{}\n", chain(12).trim())
        );
        let how = String::from_utf8(chat.stderr)?;
        assert!(how.starts_with("node-a/pool-0 · "), "{how}");
        assert!(
            how.contains("first token after ") && how.contains(" · 12 tokens"),
            "{how}"
        );
        let chat = good_json(
            &url,
            &["chat", "--max-tokens", "5", "--temperature", "0", "count"],
        )?;
        assert_eq!(
            (&chat["text"], &chat["node_id"]),
            (&Value::from(chain(5)), &Value::from("node-a"))
        );

        let task = [
            "tasks",
            "submit",
            "--id",
            "t1",
            "--max-tokens",
            "6",
            "count",
        ];
        assert_eq!(good(&url, &task)?, "t1\n");
        let told = good(&url, &["tasks", "events", "t1"])?;
        assert_eq!(told.split(' ').count(), 6, "{told}");
        assert!(good(&url, &["tasks", "show", "t1"])?.contains("6 tokens so far"));
        let events = good(&url, &["tasks", "events", "t1", "--json"])?;
        let third: Value = serde_json::from_str(events.lines().nth(2).context("too few events")?)?;
        let after = third["id"].as_str().context("an event without id")?;
        let rest = good(&url, &["tasks", "events", "t1", "--json", "--after", after])?;
        assert_eq!(rest.lines().count() + 3, events.lines().count());

        let bench = good_json(&url, &["bench", "-n", "24", "-c", "4", "--max-tokens", "8"])?;
        assert_eq!(
            (&bench["answers"], &bench["failed"]),
            (&Value::from(24), &Value::from(0))
        );
        assert_eq!(bench["tokens"], 24 * 8);
        assert!(
            bench["first_token_ms"]["p50"].as_f64() > Some(0.0),
            "{bench}"
        );
        let whole = good_json(
            &url,
            &["bench", "-n", "4", "--no-stream", "--max-tokens", "8"],
        )?;
        assert_eq!(
            (&whole["answers"], &whole["first_token_ms"]),
            (&Value::from(4), &Value::Null)
        );
        Ok(())
    })
}

// spec: CLI-1
#[test]
fn an_unknown_name_has_an_exit_code_of_its_own() -> Result<()> {
    Cluster::test("unknown-names", |cluster| {
        // A control plane that has just started waits so long for a model that no node has
        // announced yet.
        let orchestrator = cluster.orchestrator(&[("ORCHESTRATORD_QUEUE_WAIT_MS", "100")])?;
        let url = orchestrator.url();
        assert_eq!(run(&url, &["nodes", "unknown"])?.status.code(), Some(5));
        assert_eq!(
            run(&url, &["chat", "-m", "unknown", "hi"])?.status.code(),
            Some(5)
        );
        Ok(())
    })
}

// spec: CLI-33, KEEP-34
#[test]
fn a_forgotten_node_stays_away_until_it_lives() -> Result<()> {
    Cluster::test("forget", |cluster| {
        let mut orchestrator =
            cluster.orchestrator(&[("ORCHESTRATORD_NODE_TIMEOUT_MS", "6000")])?;
        // Six heartbeats fit into the timeout: the living node is online on a slow machine too.
        let settings = [("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "1")];
        let mut gone = cluster.node("gone", &orchestrator, &settings)?;
        let _living = cluster.node("living", &orchestrator, &settings)?;
        let status = |orchestrator: &Orchestrator, name: &str| {
            let node = orchestrator.node(name);
            node.map(|node| node["status"].as_str().unwrap_or_default().to_owned())
        };
        wait_for("two nodes", SOON, || {
            ["gone", "living"]
                .iter()
                .all(|name| status(&orchestrator, name).is_some())
        })?;
        gone.kill();
        wait_for("the loss", SOON, || {
            status(&orchestrator, "gone").as_deref() == Some("offline")
        })?;
        let url = orchestrator.url();
        let forgotten = run(&url, &["nodes", "forget", "gone"])?;
        assert_eq!(
            (
                String::from_utf8(forgotten.stdout)?,
                String::from_utf8(forgotten.stderr)?
            ),
            ("gone is forgotten\n".to_owned(), String::new())
        );
        let again = run(&url, &["nodes", "forget", "gone"])?;
        assert_eq!(again.status.code(), Some(5), "{again:?}");

        // The other one lives, and is back at once.
        assert_eq!(status(&orchestrator, "living").as_deref(), Some("online"));
        let warned = String::from_utf8(run(&url, &["nodes", "forget", "living"])?.stderr)?;
        assert!(
            warned.contains("living was online and registers again"),
            "{warned}"
        );
        wait_for("the living node", SOON, || {
            status(&orchestrator, "living").is_some()
        })?;

        orchestrator.kill();
        orchestrator.restart()?;
        wait_for("the living node", SOON, || {
            status(&orchestrator, "living").is_some()
        })?;
        assert_eq!(status(&orchestrator, "gone"), None);
        gone.restart()?;
        wait_for("the node to join again", SOON, || {
            status(&orchestrator, "gone").as_deref() == Some("online")
        })
    })
}

// spec: CLI-11
#[test]
fn bash_takes_its_completion_script() -> Result<()> {
    if !Tool::Bash.is_here()? {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("llorch.bash");
    std::fs::write(&script, good("", &["completions", "bash"])?)?;
    succeed(Command::new("bash").arg("-n").arg(script)).map(drop)
}

// spec: CLI-7
#[test]
fn a_drain_waits_for_the_streams_that_run() -> Result<()> {
    Cluster::test("drain-wait", |cluster| {
        let (orchestrator, _node, engine) = one(cluster)?;
        let url = orchestrator.url();
        let client = orchestrator.client();
        let mut streams = Vec::new();
        for _ in 0..SLOTS {
            let mut stream = client.chat_stream(MANY_WORDS)?;
            stream.next_text()?;
            streams.push(stream);
        }
        let drain = Process::spawn(
            "llorch",
            &mut command(&url, &["drain", "node-a", "--wait"])?,
            &cluster.logs().join("drain.log"),
            Group::Ours,
        );
        let mut drain = drain?;
        let ended = thread::scope(|scope| {
            let readers: Vec<_> = streams
                .into_iter()
                .map(|stream| scope.spawn(move || stream.finish()))
                .collect();
            let ended = drain
                .wait_end(LATE)
                .map(|status| (status, engine.busy_slots()));
            for reader in readers {
                let streamed = reader
                    .join()
                    .map_err(|_| anyhow::anyhow!("a reader panicked"))?;
                ensure!(streamed.end == End::Done, "{:?}", streamed.end);
            }
            ended
        });
        let (status, still_busy) = ended?;
        assert!(status.success(), "{status}: {}", drain.log().text());
        assert!(drain.log().text().contains("node-a is empty after "));
        assert_eq!(
            still_busy, 0,
            "the drain ended while the engine was at work"
        );
        // Nothing comes through until it is put back.
        assert_eq!(
            run(&url, &["chat", "--deadline", "1s", "-m", "tiny", "hi"])?
                .status
                .code()
                .map(|code| code == 0),
            Some(false)
        );
        assert_eq!(
            good(&url, &["undrain", "node-a"])?,
            "node-a accepts requests again\n"
        );
        assert!(
            good(
                &url,
                &[
                    "chat",
                    "-q",
                    "-m",
                    "tiny",
                    "--max-tokens",
                    "2",
                    "--temperature",
                    "0",
                    "count"
                ]
            )?
            .contains("one two")
        );
        Ok(())
    })
}

// spec: LIVE-13, CLI-7
#[test]
fn a_drain_counts_the_requests_that_run_while_they_run() -> Result<()> {
    // A stand-in engine holds an answer for as long as the test wants; a real one would be done at
    // some time.
    Cluster::test("drain-counts", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        // No report comes while the stream runs: what is shown is what the control plane counts.
        let settings = [("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "10")];
        let mut node = cluster.node("node-a", &orchestrator, &settings)?;
        let engine = FakeEngine::start(Script::default())?;
        let handoff = json!({
            "pool_id": "pool-0", "replica_id": "r0", "engine": "llamacpp", "url": engine.url(),
            "engine_version": "fake", "slots": 4, "models": ["tiny"],
        });
        write_handoff(node.daemon().directory(), &handoff)?;
        let client = orchestrator.client();
        wait_for("an answer", SOON, || {
            client.chat(1).is_ok_and(|answer| answer.status == 200)
        })?;
        let pool = || client.get_json("/v2/pools").unwrap_or_default()["pools"][0].clone();
        assert_eq!(pool()["requests_running"], 0);
        let holding = orchestrator.client().with_header(SCRIPT_HEADER, "stall=2");
        let mut stream = holding.chat_stream(4)?;
        stream.next_text()?;
        assert_eq!(pool()["requests_running"], 1);
        let url = orchestrator.url();
        let begun = good_json(&url, &["drain", "node-a"])?;
        assert_eq!(begun["requests_running"], 1, "{begun}");
        let mut drain = Process::spawn(
            "llorch",
            &mut command(&url, &["drain", "node-a", "--wait"])?,
            &cluster.logs().join("drain.log"),
            Group::Ours,
        )?;
        wait_for("the running request to be told", SOON, || {
            drain
                .log()
                .text()
                .contains("draining node-a: 1 request running")
        })?;
        let seen = orchestrator.node("node-a").context("no node")?;
        assert_eq!(
            (&seen["drain"]["requests_running"], &pool()["draining"]),
            (&Value::from(1), &Value::from(true)),
            "{seen}"
        );
        // Its client leaves.
        drop(stream);
        wait_for("the count to fall", SOON, || {
            orchestrator
                .node("node-a")
                .is_some_and(|node| node["drain"]["requests_running"] == 0)
        })?;
        assert_eq!(pool()["requests_running"], 0);
        let status = drain.wait_end(LATE)?;
        assert!(status.success(), "{status}: {}", drain.log().text());
        Ok(())
    })
}

// spec: CLI-5, CLI-8
#[test]
fn top_fits_eighty_columns_and_gives_the_terminal_back() -> Result<()> {
    Cluster::test("top", |cluster| {
        let (mut orchestrator, _node, _engine) = one(cluster)?;
        let url = orchestrator.url();
        let top = format!(
            "LLORCH_URL={url} {} top --interval 200ms",
            llorch()?.display()
        );
        let line = with_its_end(&top);
        for (key, end) in [("q", "ended with 0"), (CTRL_C, "ended with 130")] {
            let mut terminal = Terminal::start(cluster, &line)?;
            let screen = terminal.wait(&["q quits", "node-a", "online", "tiny", "first token"])?;
            println!("{screen}");
            for shown in screen.lines() {
                assert!(shown.chars().count() <= usize::from(COLUMNS), "{shown:?}");
            }
            terminal.type_in(key)?;
            let after = terminal.wait(&[end, "restored"])?;
            assert!(!after.contains("q quits"), "{after}");
        }
        // A server that goes away is told, and what was last seen stays.
        let terminal = Terminal::start(cluster, &line)?;
        terminal.wait(&["q quits", "node-a"])?;
        orchestrator.kill();
        terminal.wait(&["outdated: cannot reach", "node-a"])?;
        orchestrator.restart()?;
        wait_for("it to be well again", SOON, || {
            let screen = terminal.screen();
            !screen.contains("outdated:") && screen.contains("node-a")
        })?;
        Ok(())
    })
}

// spec: CLI-74
#[test]
fn top_scrolls_through_a_hundred_nodes() -> Result<()> {
    const NODES: u64 = 100;
    Cluster::test("top-nodes", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let client = orchestrator.client();
        for node in 0..NODES {
            // No server is there: they are unreachable, and listed.
            let registration = serde_json::from_str(&registration(node, "http://127.0.0.1:1"))?;
            let answer = client.post("/v2/nodes/register", &registration)?;
            ensure!(answer.status == 200, "{}", answer.body);
        }
        let top = format!(
            "LLORCH_URL={} {} top --interval 200ms",
            orchestrator.url(),
            llorch()?.display()
        );
        let mut terminal = Terminal::start(cluster, &with_its_end(&top))?;
        let screen = terminal.wait(&["q quits", "node-000000", "lines below"])?;
        assert!(
            !screen.contains(&load_gen::fleet::name(NODES - 1)),
            "{screen}"
        );
        // Page Down, End, Home.
        for (keys, shown) in [
            ("\x1b[6~", ["q quits", "lines above,"]),
            ("\x1b[F", ["q quits", "lines above"]),
            ("\x1b[H", ["node-000000", "lines below"]),
            ("sG", ["q quits", "lines above"]),
        ] {
            terminal.type_in(keys)?;
            let screen = terminal.wait(&shown)?;
            for line in screen.lines() {
                assert!(line.chars().count() <= usize::from(COLUMNS), "{line:?}");
            }
        }
        let last = load_gen::fleet::name(NODES - 1);
        terminal.wait(&[&last])?;
        terminal.type_in("q")?;
        terminal.wait(&["ended with 0", "restored"])?;
        Ok(())
    })
}
