//! `llorch chat` as a conversation: on a terminal, with real daemons and a real engine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use test_client::chain;
use test_clock::{pause, wait_for};
use test_cluster::Cluster;
use workspace_build::llorch;

use crate::{
    command_line::one,
    terminal::{CTRL_C, CTRL_D, ENTER, Terminal, with_its_end},
};

const SOON: Duration = Duration::from_secs(90);
const WORDS: usize = 8;
/// How long an engine computes at a time: a few of the thousands of words that it has to say.
const TURN: Duration = Duration::from_millis(3);

/// Whether a line tells where an answer ran and how fast.
fn is_told(line: &str) -> bool {
    let parts = [
        "node-a/pool-0 · ",
        "first token after ",
        " · 8 tokens · ",
        " tokens/s · ended by length",
    ];
    parts.iter().all(|part| line.contains(part))
}

// spec: CLI-5, CLI-6, CLI-12
#[test]
fn a_conversation_is_held_on_a_terminal() -> Result<()> {
    Cluster::test("conversation", |cluster| {
        let (orchestrator, _node, engine) = one(cluster)?;
        let chat = format!(
            "LLORCH_URL={} {} chat",
            orchestrator.url(),
            llorch()?.display()
        );
        let line = |options: &str| with_its_end(&format!("{chat} --temperature 0 {options}"));
        let words = chain(WORDS);
        let words = words.trim();

        let mut terminal = Terminal::start(cluster, &line(&format!("--max-tokens {WORDS}")))?;
        terminal.wait(&["tiny at http", "Ctrl-D ends", "\n>"])?;
        for (turn, prompt) in [(1, "count"), (2, "go on")] {
            terminal.type_in(prompt)?;
            terminal.type_in(ENTER)?;
            let answered = format!("\n> {prompt}\n{words}\nnode-a/pool-0 · ");
            let whole = || {
                let text = terminal.text();
                let told: Vec<&str> = text.lines().filter(|line| is_told(line)).collect();
                text.contains(&answered) && told.len() == turn
            };
            wait_for(&format!("an answer to {prompt:?}"), SOON, whole)
                .with_context(|| terminal.text())?;
        }
        terminal.type_in(CTRL_D)?;
        terminal.wait(&["ended with 0", "restored"])?;

        // A long answer is left in its middle, by the program, the engine and the terminal. Its
        // engine computes in short turns, so that the answer does not end before it is
        // interrupted, however slow this test is.
        let mut terminal = Terminal::start(cluster, &line("--max-tokens 7000"))?;
        terminal.wait(&["\n>"])?;
        let process = cluster.engine_processes();
        let process = process.first().context("the engine is gone")?;
        let mut suspended = Some(process.suspend());
        terminal.type_in(&format!("count{ENTER}"))?;
        wait_for("the beginning of the answer", SOON, || {
            drop(suspended.take());
            pause(TURN);
            suspended = Some(process.suspend());
            let screen = terminal.text();
            screen.contains("> count") && screen.contains("one two three")
        })
        .with_context(|| terminal.text())?;
        terminal.type_in(CTRL_C)?;
        let screen = terminal.wait(&["ended with 130", "restored"])?;
        assert!(!screen.contains("first token after"), "{screen}");
        drop(suspended);
        wait_for("the engine to stop", SOON, || engine.busy_slots() == 0)?;
        Ok(())
    })
}
