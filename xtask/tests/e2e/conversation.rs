//! `llorch chat` as a conversation: on a terminal, with real daemons and a real engine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use xtask::{clock::wait_for, cluster::Cluster, http::chain, workspace::llorch};

use crate::{command_line::one, terminal::Terminal};

const SOON: Duration = Duration::from_secs(20);
const WORDS: usize = 8;

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
        let chat = format!("LLORCH_URL={} {} chat", orchestrator.url(), llorch()?.display());
        // The shell goes on afterwards, and says what it was left with.
        let line = |options: &str| {
            format!(
                "{chat} --temperature 0 {options}; echo \"ended with $?\"; stty -a | grep -o ' icanon'; read line"
            )
        };
        let words = chain(WORDS);
        let words = words.trim();

        let terminal = Terminal::start(cluster, "turns", &line(&format!("--max-tokens {WORDS}")))?;
        terminal.wait(&["tiny at http", "Ctrl-D ends", "\n>"])?;
        for (turn, prompt) in [(1, "count"), (2, "go on")] {
            // As a person types: letter by letter, then the line's end.
            terminal.press(&["-l", prompt])?;
            terminal.press(&["Enter"])?;
            let answered = format!("\n> {prompt}\n{words}\nnode-a/pool-0 · ");
            let whole = || {
                let text = terminal.text().unwrap_or_default();
                let told: Vec<&str> = text.lines().filter(|line| is_told(line)).collect();
                text.contains(&answered) && told.len() == turn
            };
            wait_for(&format!("an answer to {prompt:?}"), SOON, whole)
                .with_context(|| terminal.text().unwrap_or_default())?;
        }
        terminal.press(&["C-d"])?;
        terminal.wait(&["ended with 0", " icanon"])?;

        // An answer without an end is left in its middle, by the program, the engine and the terminal.
        let terminal = Terminal::start(cluster, "interrupted", &line("--max-tokens 7000"))?;
        terminal.wait(&["\n>"])?;
        terminal.press(&["count", "Enter"])?;
        terminal.wait(&["> count", "one two three"])?;
        assert_eq!(
            engine.busy_slots(),
            1,
            "the answer ended before it was interrupted"
        );
        terminal.press(&["C-c"])?;
        let screen = terminal.wait(&["ended with 130", " icanon"])?;
        assert!(!screen.contains("first token after"), "{screen}");
        wait_for("the engine to stop", SOON, || engine.busy_slots() == 0)?;
        Ok(())
    })
}
