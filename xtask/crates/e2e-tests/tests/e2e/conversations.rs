//! Conversations stay with the replica that has their tokens in its cache: three engines in one
//! pool of one node, in both profiles, by both strategies that keep conversations together.

#![expect(
    clippy::print_stdout,
    reason = "where conversations went is worth reading in the output of a test"
)]

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_client::Client;
use test_clock::{pause, wait_for};
use test_cluster::{Cluster, Engine, OneNode, Profile};
use tiny_model::WORDS;

const SOON: Duration = Duration::from_secs(90);
const REPLICAS: [&str; 3] = ["r0", "r1", "r2"];
const SLOTS: u32 = 4;
/// Three for each replica: fewer than it has slots, so that there is always room at the one where a
/// conversation began.
const CONVERSATIONS: usize = 9;
/// Fewer, for when a replica goes: there is room for all of them on the others, however many ask at
/// once.
const FEW: usize = 6;
const TURNS: usize = 6;
/// What the first message has, in words of the model: one token each. Long, as the instructions and
/// documents are with which conversations begin.
const FIRST_MESSAGE: usize = 250;
/// What each later one has.
const LATER_MESSAGE: usize = 6;
const ANSWER_TOKENS: u32 = 16;
/// Between two turns of a conversation, at most: people think before they answer.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// The part of the prompt tokens of later turns that must come from the cache.
const FROM_CACHE: f64 = 0.9;

/// One conversation that is like no other from its first words on.
struct Conversation {
    number: usize,
    strategy: &'static str,
    messages: Vec<Value>,
    /// Which replica served each turn.
    replicas: Vec<String>,
    /// Prompt tokens of later turns: those that came from the cache, and all.
    cached: u64,
    prompted: u64,
}

impl Conversation {
    fn new(number: usize, strategy: &'static str) -> Self {
        Self {
            number,
            strategy,
            messages: Vec::new(),
            replicas: Vec::new(),
            cached: 0,
            prompted: 0,
        }
    }

    /// Says something, keeps the answer, and notes who gave it.
    fn go_on(&mut self, client: &Client) -> Result<()> {
        let is_first = self.messages.is_empty();
        let words = if is_first {
            FIRST_MESSAGE
        } else {
            LATER_MESSAGE
        };
        let said: Vec<&str> = WORDS
            .iter()
            .copied()
            .cycle()
            .skip(11 * self.number + self.messages.len())
            .step_by(self.number + 1)
            .take(words)
            .collect();
        self.messages
            .push(json!({"role": "user", "content": said.join(" ")}));
        let mut body = json!({
            "model": "tiny", "messages": self.messages, "max_tokens": ANSWER_TOKENS,
             "temperature": 0,
        });
        if self.strategy == "session" {
            body["session_id"] = format!("conversation-{}", self.number).into();
        }
        let answer = client.post("/v1/chat/completions", &body)?;
        let text = answer.text()?;
        self.messages
            .push(json!({"role": "assistant", "content": text}));
        self.replicas
            .push(answer.header("x-llorch-replica").to_owned());
        let answer = answer.json()?;
        let count = |value: &Value| {
            value
                .as_u64()
                .with_context(|| format!("no count in {answer}"))
        };
        if !is_first {
            self.cached += count(&answer["timings"]["cache_n"])?;
            self.prompted += count(&answer["usage"]["prompt_tokens"])?;
        }
        Ok(())
    }

    fn moves(&self) -> usize {
        self.replicas
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count()
    }
}

/// A node with the three engines, all ready.
fn begin(cluster: &Cluster, profile: Profile) -> Result<(OneNode, Vec<Engine>)> {
    let mut node = cluster.one_node(profile, &[], &[])?;
    let mut engines = Vec::new();
    for replica in REPLICAS {
        let engine = cluster.engine(SLOTS)?;
        node.announce("pool-0", replica, &engine)?;
        engines.push(engine);
    }
    wait_for("all replicas", SOON, || {
        node.pool("pool-0")["slots_free"] == u64::from(SLOTS) * REPLICAS.len() as u64
    })?;
    Ok((node, engines))
}

/// Holds so many turns of all conversations at once, with pauses.
fn hold(client: &Client, conversations: &mut [Conversation], turns: usize) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = conversations
            .iter_mut()
            .map(|conversation| {
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(conversation.number as u64);
                    for _ in 0..turns {
                        pause(LONGEST_PAUSE.mul_f64(random.f64()));
                        conversation.go_on(client)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let ends: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a conversation panicked")))
            })
            .collect();
        ends.into_iter().collect()
    })
}

fn some(count: usize, strategy: &'static str) -> Vec<Conversation> {
    (0..count)
        .map(|number| Conversation::new(number, strategy))
        .collect()
}

/// How many conversations each replica serves at their last turn.
fn shares(conversations: &[Conversation]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for replica in conversations
        .iter()
        .filter_map(|conversation| conversation.replicas.last())
    {
        *shares.entry(replica.as_str()).or_default() += 1;
    }
    shares
}

fn stay(profile: Profile, strategy: &'static str) -> Result<()> {
    Cluster::test(&format!("stay-{strategy}"), |cluster| {
        let (node, _engines) = begin(cluster, profile)?;
        let client = node.client().with_header("x-llorch-strategy", strategy);
        let mut conversations = some(CONVERSATIONS, strategy);
        hold(&client, &mut conversations, TURNS)?;
        let moves: usize = conversations.iter().map(Conversation::moves).sum();
        let cached: u64 = conversations
            .iter()
            .map(|conversation| conversation.cached)
            .sum();
        let prompted: u64 = conversations
            .iter()
            .map(|conversation| conversation.prompted)
            .sum();
        let part = cached as f64 / prompted as f64;
        println!(
            "{profile:?}, {strategy}: {moves} moves in {} turns, {part:.3} of the {prompted} \
             prompt tokens of later turns from the \
             cache, conversations {:?}",
            CONVERSATIONS * (TURNS - 1),
            shares(&conversations)
        );
        assert_eq!(moves, 0, "conversations moved while there was room");
        assert!(
            part >= FROM_CACHE,
            "only {part} of the prompt tokens came from the cache"
        );
        Ok(())
    })
}

/// A replica goes, in one way or another: its conversations go on elsewhere, and stay there.
fn leave(profile: Profile, strategy: &'static str) -> Result<()> {
    Cluster::test(&format!("leave-{strategy}"), |cluster| {
        let (node, mut engines) = begin(cluster, profile)?;
        let client = node.client().with_header("x-llorch-strategy", strategy);
        let mut conversations = some(FEW, strategy);
        hold(&client, &mut conversations, 2)?;
        ensure!(
            shares(&conversations).len() == 3,
            "not spread: {:?}",
            shares(&conversations)
        );

        // Drained: its conversations go, the others stay.
        node.set_draining(Some("pool-0/replicas/r0"), true)?;
        wait_for("the drain", SOON, || {
            node.replica("pool-0", "r0")["draining"] == true
        })?;
        let before: Vec<Option<String>> = last(&conversations);
        hold(&client, &mut conversations, 2)?;
        for (conversation, before) in conversations.iter().zip(&before) {
            let now: Vec<&str> = conversation.replicas[2..]
                .iter()
                .map(String::as_str)
                .collect();
            println!(
                "{profile:?}, {strategy}, r0 drained: {:?}",
                conversation.replicas
            );
            assert!(!now.contains(&"r0"), "{now:?}");
            assert!(
                before.as_deref() == Some("r0") || now[0] == before.as_deref().unwrap_or_default()
            );
            assert_eq!(now[0], now[1], "it did not stay where it went");
        }

        // Killed: the same.
        let killed = "r1";
        let before = last(&conversations);
        ensure!(
            before
                .iter()
                .any(|replica| replica.as_deref() == Some(killed)),
            "no conversation is with {killed}"
        );
        node.set_draining(Some("pool-0/replicas/r0"), false)?;
        wait_for("the undrain", SOON, || {
            node.replica("pool-0", "r0")["draining"] != true
        })?;
        engines[1].kill();
        hold(&client, &mut conversations, 2)?;
        for (conversation, before) in conversations.iter().zip(&before) {
            let now: Vec<&str> = conversation.replicas[4..]
                .iter()
                .map(String::as_str)
                .collect();
            println!(
                "{profile:?}, {strategy}, {killed} killed: {:?}",
                conversation.replicas
            );
            assert!(!now.contains(&killed), "{now:?}");
            assert!(
                before.as_deref() == Some(killed)
                    || now[0] == before.as_deref().unwrap_or_default()
            );
            assert_eq!(now[0], now[1], "it did not stay where it went");
        }
        Ok(())
    })
}

fn last(conversations: &[Conversation]) -> Vec<Option<String>> {
    conversations
        .iter()
        .map(|conversation| conversation.replicas.last().cloned())
        .collect()
}

/// The one replica of a conversation is filled by others: it goes on elsewhere, and stays there.
fn full(profile: Profile, strategy: &'static str) -> Result<()> {
    Cluster::test(&format!("full-{strategy}"), |cluster| {
        let (node, _engines) = begin(cluster, profile)?;
        let client = node.client().with_header("x-llorch-strategy", strategy);
        let mut conversation = vec![Conversation::new(0, strategy)];
        hold(&client, &mut conversation, 2)?;
        let home = conversation[0].replicas[1].clone();
        // Everywhere else is closed while the others come, so that they fill its replica.
        let others: Vec<&str> = REPLICAS
            .into_iter()
            .filter(|replica| *replica != home)
            .collect();
        for other in &others {
            node.set_draining(Some(&format!("pool-0/replicas/{other}")), true)?;
        }
        wait_for("the drains", SOON, || {
            others
                .iter()
                .all(|other| node.replica("pool-0", other)["draining"] == true)
        })?;
        let long = |client: Client| {
            thread::spawn(move || {
                client
                    .chat_stream(1500)
                    .map(|stream| stream.finish().status)
            })
        };
        let running: Vec<_> = (0..SLOTS).map(|_| long(node.client())).collect();
        wait_for("a full replica", SOON, || {
            node.replica("pool-0", &home)["requests_running"] == SLOTS
        })?;
        for other in &others {
            node.set_draining(Some(&format!("pool-0/replicas/{other}")), false)?;
        }
        wait_for("the undrains", SOON, || {
            others
                .iter()
                .all(|other| node.replica("pool-0", other)["draining"] != true)
        })?;
        hold(&client, &mut conversation, 1)?;
        for thread in running {
            let status = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a stream panicked"))??;
            assert_eq!(status, 200);
        }
        hold(&client, &mut conversation, 2)?;
        let replicas = &conversation[0].replicas;
        println!("{profile:?}, {strategy}, full: {replicas:?}");
        assert_ne!(
            replicas[2], home,
            "it waited, or was sent to a full replica"
        );
        assert_eq!(replicas[2], replicas[3], "it did not stay where it went");
        assert_eq!(replicas[3], replicas[4], "it did not stay where it went");
        Ok(())
    })
}

macro_rules! in_both_profiles {
    ($($name:ident($test:path, $strategy:literal);)+) => {
        mod home {
            $(
                // spec: PLACE-50
                #[test]
                fn $name() -> anyhow::Result<()> {
                    $test(test_cluster::Profile::Home, $strategy)
                }
            )+
        }
        mod cloud {
            $(
                // spec: PLACE-50
                #[test]
                fn $name() -> anyhow::Result<()> {
                    $test(test_cluster::Profile::Cloud, $strategy)
                }
            )+
        }
    };
}

in_both_profiles! {
    sessions_stay_where_their_tokens_are(super::stay, "session");
    prefixes_stay_where_their_tokens_are(super::stay, "prefix");
    sessions_go_on_elsewhere_and_stay_there(super::leave, "session");
    prefixes_go_on_elsewhere_and_stay_there(super::leave, "prefix");
    a_session_leaves_a_full_replica(super::full, "session");
    a_prefix_leaves_a_full_replica(super::full, "prefix");
}
