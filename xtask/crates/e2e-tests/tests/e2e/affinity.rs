//! What it gains to go where a conversation was before: tokens that an engine need not compute
//! again.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use test_client::Client;
use test_clock::wait_for;
use test_cluster::Cluster;
use tiny_model::WORDS;

const NAMES: [&str; 2] = ["node-a", "node-b"];
/// Five conversations fit into the six slots of both engines, each of which keeps the last prompt
/// it worked on; all five on both engines do not fit.
const SLOTS: u32 = 3;
/// An odd number, so that taking turns between two engines does not keep a conversation where it is
/// by chance.
const CONVERSATIONS: usize = 5;
const TURNS: usize = 6;
/// About 350 bytes: each message ends in another block of the index than the one before.
const WORDS_PER_MESSAGE: usize = 60;
const SOON: Duration = Duration::from_secs(90);

/// Tokens of all prompts together.
#[derive(Debug, Default, Clone, Copy)]
struct Prompts {
    cached: u64,
    all: u64,
}

/// One that is like no other from its first words on.
struct Conversation {
    number: usize,
    messages: Vec<Value>,
}

impl Conversation {
    /// Says something, and keeps the answer.
    fn go_on(&mut self, client: &Client, prompts: &mut Prompts) -> Result<()> {
        let said: Vec<&str> = WORDS
            .iter()
            .copied()
            .cycle()
            .skip(7 * self.number + self.messages.len())
            .step_by(self.number + 1)
            .take(WORDS_PER_MESSAGE)
            .collect();
        self.messages
            .push(json!({"role": "user", "content": said.join(" ")}));
        let body =
            json!({"model": "tiny", "messages": self.messages, "max_tokens": 30, "temperature": 0});
        let answer = client.post("/v1/chat/completions", &body)?;
        self.messages
            .push(json!({"role": "assistant", "content": answer.text()?}));
        let usage = answer.json()?["usage"].take();
        let count = |value: &Value| {
            value
                .as_u64()
                .with_context(|| format!("no count in {usage}"))
        };
        prompts.cached += count(&usage["prompt_tokens_details"]["cached_tokens"])?;
        prompts.all += count(&usage["prompt_tokens"])?;
        Ok(())
    }
}

/// Holds all conversations, turn by turn, with a strategy and fresh engines.
fn converse(strategy: &str) -> Result<Prompts> {
    let mut prompts = Prompts::default();
    Cluster::test(strategy, |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut running = Vec::new();
        for name in NAMES {
            let node = cluster.node(name, &orchestrator, &[])?;
            let engine = cluster.engine(SLOTS)?;
            node.write_handoff("pool-0", "r0", &engine)?;
            running.push((node, engine));
        }
        wait_for("two ready nodes", SOON, || {
            orchestrator.ready_nodes() == NAMES.len()
        })?;
        let client = orchestrator
            .client()
            .with_header("x-llorch-strategy", strategy);
        let mut conversations: Vec<_> = (0..CONVERSATIONS)
            .map(|number| Conversation {
                number,
                messages: Vec::new(),
            })
            .collect();
        for _ in 0..TURNS {
            for conversation in &mut conversations {
                conversation.go_on(&client, &mut prompts)?;
            }
        }
        Ok(())
    })?;
    Ok(prompts)
}

// spec: PLACE-9
#[test]
fn the_prefix_strategy_reuses_more_of_each_prompt_than_taking_turns() -> Result<()> {
    let (in_turn, prefix) = (converse("round-robin")?, converse("prefix")?);
    println!("cached tokens of all prompt tokens: round-robin {in_turn:?}, prefix {prefix:?}");
    assert_eq!(in_turn.all, prefix.all, "not the same conversations");
    assert!(prefix.cached > in_turn.cached, "{prefix:?}, {in_turn:?}");
    Ok(())
}
