//! Keys with limits, a fair share, and what they have used, also after a kill.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use fake_engine::{FakeEngine, Script};
use parking_lot::Mutex;
use serde_json::{Value, json};
use test_client::{Client, End, Event, Stream};
use test_clock::{now, pause, wait_for};
use test_cluster::{Cluster, Orchestrator, Setting, write_handoff};
use test_tools::is_long;
use workspace_build::llorch;

use crate::queue::waiting;

const SOON: Duration = Duration::from_secs(90);
const TOKEN: &str = "canary-api-token-of-the-fleet";
const KEYS: usize = 20;
/// Requests of all keys, in the form that always runs and in the long one. The first half ends with
/// a kill.
const REQUESTS: [usize; 2] = [2000, 10_000];
const CHAT: &str = "/v1/chat/completions";

/// A control plane of one machine with a token, and an engine whose counts are known.
fn home(cluster: &Cluster, script: Script) -> Result<(Orchestrator, FakeEngine, Client)> {
    home_with(cluster, script, &[])
}

fn home_with(
    cluster: &Cluster,
    script: Script,
    settings: &[Setting<'_>],
) -> Result<(Orchestrator, FakeEngine, Client)> {
    let mut home = cluster.home(&[&[("LLORCH_API_TOKEN", TOKEN)], settings].concat())?;
    let engine = FakeEngine::start(script)?;
    let handoff = json!({"pool_id": "pool-0", "replica_id": "r0", "engine": "llamacpp",
        "url": engine.url(), "slots": engine.script().slots, "models": ["tiny"]});
    write_handoff(home.daemon().directory(), &handoff)?;
    let operator = home.client().with_token(TOKEN);
    is_served(&operator)?;
    Ok((home, engine, operator))
}

fn is_served(operator: &Client) -> Result<()> {
    wait_for("an answer", SOON, || {
        operator.chat(1).is_ok_and(|answer| answer.status == 200)
    })
}

/// Creates a key with these limits; returns a client with its token.
fn key(operator: &Client, client: &Client, name: &str, limits: &Value) -> Result<Client> {
    let request = json!({"name": name, "scopes": ["client"], "limits": limits});
    let answer = operator.post("/v2/keys", &request)?;
    ensure!(answer.status == 200, "{request}: {}", answer.body);
    let token = answer.json()?["token"].as_str().map(str::to_owned);
    Ok(client.clone().with_token(&token.context("no token")?))
}

/// Requests, tokens read and tokens generated, by the name of the key.
type Counts = BTreeMap<String, (u64, u64, u64)>;

fn usage(operator: &Client) -> Result<Counts> {
    let answer = operator.get_json("/v2/usage")?;
    let mut counts = Counts::new();
    for row in answer["usage"].as_array().context("no usage")? {
        let number = |name: &str| row[name].as_u64().with_context(|| format!("no {name}"));
        let name = row["key_name"].as_str().context("no name")?.to_owned();
        let count = counts.entry(name).or_default();
        // The test may run across midnight.
        count.0 += number("requests")?;
        count.1 += number("input_tokens")?;
        count.2 += number("output_tokens")?;
    }
    Ok(counts)
}

/// A key, and what its client has seen.
struct Caller {
    name: String,
    client: Client,
    tokens: u32,
    sent: AtomicU64,
    /// When each complete answer was there.
    complete: Mutex<Vec<Instant>>,
}

impl Caller {
    /// Sends a request, every other one as a stream. Returns whether the answer is complete.
    fn ask(&self, turn: usize) -> bool {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let is_complete = if turn.is_multiple_of(2) {
            let answer = self.client.chat(self.tokens);
            answer.is_ok_and(|answer| answer.status == 200)
        } else {
            let stream = self.client.chat_stream(self.tokens);
            stream.map(Stream::finish).is_ok_and(|whole| {
                let is_usage = |event: &Event| event.data.contains("\"usage\":{");
                matches!(whole.end, End::Done) && !whole.events.iter().any(is_usage)
            })
        };
        if is_complete {
            self.complete.lock().push(now());
        }
        is_complete
    }
}

/// Every key sends so many requests, one after the other, while `beside` runs. One that fails is
/// the last of its key, and is allowed where `may_fail` says so.
fn ask_all(
    callers: &[Caller],
    each: usize,
    may_fail: &AtomicBool,
    beside: impl FnOnce() -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let start = |caller| {
            scope.spawn(move || -> Result<()> {
                let caller: &Caller = caller;
                let fails = (0..each).any(|turn| !caller.ask(turn));
                let is_right = !fails || may_fail.load(Ordering::SeqCst);
                ensure!(is_right, "{}: a request failed", caller.name);
                Ok(())
            })
        };
        let all: Vec<_> = callers.iter().map(start).collect();
        beside()?;
        for one in all {
            one.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(())
    })
}

/// Runs `llorch` as the operator, which must succeed.
fn operate(url: &str, command: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(llorch()?)
        .arg(command)
        .args(arguments)
        .env_clear()
        .envs([("LLORCH_URL", url), ("LLORCH_API_TOKEN", TOKEN)])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

// spec: KEY-20, KEY-21, KEY-22, KEY-23
#[test]
fn usage_is_right_for_each_key_also_after_a_kill() -> Result<()> {
    let requests = REQUESTS[usize::from(is_long())];
    Cluster::test("usage", |cluster| {
        let script = Script {
            slots: 32,
            ..Script::default()
        };
        let (mut home, _engine, operator) = home(cluster, script)?;
        let callers = (0..KEYS).map(|number| {
            // Some have limits that are not reached.
            let limits = if number.is_multiple_of(2) {
                json!({"requests_per_minute": 1_000_000, "concurrent_requests": 1000})
            } else {
                json!({})
            };
            let name = format!("key-{number}");
            Ok(Caller {
                client: key(&operator, &home.client(), &name, &limits)?,
                name,
                tokens: 2 + u32::try_from(number)? % 5,
                sent: AtomicU64::new(0),
                complete: Mutex::default(),
            })
        });
        let callers: Vec<Caller> = callers.collect::<Result<_>>()?;
        let complete = || -> usize {
            let each = callers.iter().map(|caller| caller.complete.lock().len());
            each.sum()
        };
        let is_killed = AtomicBool::new(false);
        let mut killed_at = now();
        // Every key is busy when the process is killed.
        ask_all(&callers, requests, &is_killed, || {
            wait_for("half of the requests", SOON, || complete() >= requests / 2)?;
            is_killed.store(true, Ordering::SeqCst);
            killed_at = now();
            home.kill();
            Ok(())
        })?;
        home.restart()?;
        let after_kill = usage(&operator)?;
        let mut missing = Vec::new();
        for caller in &callers {
            let complete = caller.complete.lock();
            // What was complete a second before the kill is there.
            let second_before = killed_at.checked_sub(Duration::from_secs(1));
            let is_old = |at: &&Instant| second_before.is_some_and(|before| **at < before);
            let least = complete.iter().filter(is_old).count() as u64;
            let most = caller.sent.load(Ordering::SeqCst);
            let counts = after_kill.get(&caller.name).copied().unwrap_or_default();
            let (requests, input, output) = counts;
            ensure!(
                (least..=most).contains(&requests),
                "{}: {requests} requests, and not {least} to {most}",
                caller.name
            );
            ensure!(
                (input, output) == (requests, requests * u64::from(caller.tokens)),
                "{}: {counts:?}",
                caller.name
            );
            missing.push((complete.len() as u64).saturating_sub(requests));
        }
        println!("missing after the kill, by key: {missing:?}");

        // Of the rest every count is exact, and stays so across a stop.
        is_served(&operator)?;
        let rest = requests / 2 / KEYS;
        ask_all(&callers, rest, &AtomicBool::new(false), || Ok(()))?;
        let expected = callers.iter().map(|caller| {
            let before = after_kill.get(&caller.name).copied().unwrap_or_default();
            let requests = before.0 + rest as u64;
            let output = requests * u64::from(caller.tokens);
            (caller.name.clone(), (requests, requests, output))
        });
        let expected: Counts = expected.collect();
        wait_for("all usage", SOON, || {
            usage(&operator).is_ok_and(|usage| usage == expected)
        })?;
        home.terminate(SOON)?;
        home.restart()?;
        assert_eq!(usage(&operator)?, expected);

        let csv = operator.get("/v2/usage?format=csv&key=key-3")?.body;
        assert!(csv.contains(",key-3,tiny,"), "{csv}");
        let shown = operate(&home.url(), "usage", &["--key", "key-3", "--json"])?;
        let shown: Value = serde_json::from_str(&shown)?;
        assert_eq!(shown["usage"][0]["key_name"], "key-3");
        let table = operate(&home.url(), "usage", &[])?;
        assert!(
            table.contains("REQUESTS") && table.contains("key-19"),
            "{table}"
        );
        Ok(())
    })
}

// spec: KEY-30, KEY-31, CLI-60
#[test]
fn other_limits_of_a_key_hold_for_its_next_request() -> Result<()> {
    Cluster::test("new-limits", |cluster| {
        let audit_file = cluster.directory().join("audit.json");
        let audit = audit_file.to_str().context("a path in UTF-8")?;
        let script = Script {
            slots: 4,
            ..Script::default()
        };
        let settings = [("ORCHESTRATORD_AUDIT_FILE", audit)];
        let (mut home, engine, operator) = home_with(cluster, script, &settings)?;
        let url = home.url();
        let shop = key(&operator, &home.client(), "shop", &json!({}))?;
        let status = |client: &Client| client.chat(4).map(|answer| answer.status);
        assert_eq!(status(&shop)?, 200);
        // What it has used today without a limit counts.
        wait_for("usage", SOON, || {
            usage(&operator).is_ok_and(|usage| usage.get("shop").is_some_and(|used| used.2 == 4))
        })?;
        let said = operate(
            &url,
            "token",
            &["limits", "shop", "--tpd", "4", "--weight", "2"],
        )?;
        ensure!(said.contains("has 4 tpd, 2 a turn"), "{said}");
        let refused = shop.chat(4)?;
        assert_eq!(refused.status, 429, "{}", refused.body);
        ensure!(refused.body.contains("tokens_per_day"), "{}", refused.body);
        // Others stay, and `none` removes.
        let said = operate(
            &url,
            "token",
            &["limits", "shop", "--tpd", "none", "--models", "other"],
        )?;
        ensure!(said.contains("has 2 a turn, other"), "{said}");
        assert_eq!(status(&shop)?, 403);
        operate(
            &url,
            "token",
            &["limits", "shop", "--models", "none", "--rpm", "1"],
        )?;

        // A stream that runs goes on.
        engine.update(|script| script.token_delay = Duration::from_millis(5));
        let mut stream = shop.chat_stream(200)?;
        let _ = stream.next_text()?;
        assert_eq!(status(&shop)?, 429);
        operate(
            &url,
            "token",
            &["limits", "shop", "--rpm", "none", "--concurrent", "1"],
        )?;
        engine.update(|script| script.token_delay = Duration::ZERO);
        ensure!(
            matches!(stream.finish().end, End::Done),
            "the stream broke off"
        );
        wait_for("a free place", SOON, || {
            status(&shop).is_ok_and(|status| status == 200)
        })?;

        home.kill();
        home.restart()?;
        is_served(&operator)?;
        let keys = operator.get_json("/v2/keys")?;
        let limits = json!({"concurrent_requests": 1, "weight": 2});
        assert_eq!(keys["keys"][0]["limits"], limits, "{keys}");
        let audit = std::fs::read_to_string(&audit_file)?;
        let id = keys["keys"][0]["key_id"].as_str().context("no id")?;
        let said = format!("change limits of key {id}: ");
        assert_eq!(audit.matches(&said).count(), 4, "{audit}");
        Ok(())
    })
}

/// Whether usage of the key with this name is on disk.
fn is_kept(home: &mut Orchestrator, name: &str) -> bool {
    let directory = home.daemon().directory().join(".runtime/state/home/usage");
    let Ok(files) = std::fs::read_dir(directory) else {
        return false;
    };
    files
        .flatten()
        .any(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains(name)))
}

// spec: KEY-9
#[test]
fn a_limit_of_the_day_holds_after_a_kill() -> Result<()> {
    const LIMIT: u32 = 8;
    Cluster::test("key-day", |cluster| {
        let (mut home, engine, operator) = home(cluster, Script::default())?;
        let limits = json!({"tokens_per_day": LIMIT});
        let spent = key(&operator, &home.client(), "day-spent", &limits)?;
        let other = key(&operator, &home.client(), "day-other", &limits)?;
        let answer = spent.chat(2 * LIMIT)?;
        ensure!(answer.status == 200, "{}", answer.body);
        // One request has used it up, so what is kept of it is all.
        wait_for("the usage on disk", SOON, || {
            is_kept(&mut home, "day-spent")
        })?;
        for is_killed in [false, true] {
            if is_killed {
                home.kill();
                home.restart()?;
                is_served(&operator)?;
            }
            let before = engine.stats().requests;
            let refused = spent.chat(1)?;
            if refused.status == 200 {
                // Midnight of UTC has passed.
                let shown = operator.get_json("/v2/usage?key=day-spent")?;
                let days = shown["usage"].as_array().context("no usage")?.len();
                ensure!(days == 2, "killed: {is_killed}: admitted, {shown}");
                return Ok(());
            }
            ensure!(refused.status == 429, "{}", refused.body);
            let error = refused.json()?["error"].take();
            assert_eq!(error["code"], "RATE_LIMITED");
            let message = error["message"].as_str().unwrap_or_default();
            ensure!(message.contains("day"), "{message}");
            assert_eq!(engine.stats().requests, before);
        }
        let answer = other.chat(1)?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
}

// spec: KEY-2, KEY-4, KEY-5, KEY-6, KEY-8
#[test]
fn limits_hold_for_requests_at_once_and_for_tasks() -> Result<()> {
    Cluster::test("key-limits", |cluster| {
        let script = Script {
            slots: 64,
            ..Script::default()
        };
        let (mut home, engine, operator) = home(cluster, script)?;
        let url = home.url();
        let output = Command::new(llorch()?)
            .args([
                "token", "create", "shop", "--scope", "client", "--models", "tiny",
            ])
            .args(["--rpm", "50", "--concurrent", "7"])
            .env_clear()
            .envs([("LLORCH_URL", url.as_str()), ("LLORCH_API_TOKEN", TOKEN)])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        let token = String::from_utf8(output.stdout)?;
        let shop = home.client().with_token(token.trim());
        let is_known = operator.get_json("/v2/keys")?;
        let limits = &is_known["keys"][0]["limits"];
        assert_eq!(limits["requests_per_minute"], 50, "{is_known}");
        let foreign = shop.post(CHAT, &json!({"model": "other"}))?;
        assert_eq!(foreign.status, 403, "{}", foreign.body);
        // That was one of the 50. All others come at once, again and again.
        let began = now();
        let admitted = AtomicU64::new(1);
        let before = engine.stats().requests;
        let barrier = Barrier::new(40);
        thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..20 {
                        let answer = shop.clone().chat(4);
                        match answer.map(|answer| answer.status) {
                            Ok(200) => {
                                admitted.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok(429) => pause(Duration::from_millis(1)),
                            other => panic!("{other:?}"),
                        }
                    }
                });
            }
        });
        let admitted = admitted.into_inner();
        println!("{admitted} of 801 requests admitted");
        // A minute may have passed on a slow machine.
        let minutes = began.elapsed().as_secs() / 60 + 1;
        ensure!(admitted <= 50 * minutes, "{admitted}");
        assert_eq!(engine.stats().requests - before, admitted - 1);
        let refused = shop.chat(1)?;
        if refused.status == 429 {
            assert_eq!(refused.json()?["error"]["code"], "RATE_LIMITED");
            assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
            let task = json!({"workload": "completion", "model_ref": "tiny", "prompt": "x"});
            let answer = shop.post("/v2/tasks", &task)?;
            assert_eq!(answer.status, 429, "{}", answer.body);
            assert_eq!(answer.json()?["error"]["code"], "RATE_LIMITED");
            let after = answer.header("retry-after").parse::<u64>()?;
            assert!((1..=61).contains(&after), "{after}");
        }
        let task = json!({"workload": "completion", "model_ref": "other", "prompt": "x"});
        let other = key(
            &operator,
            &home.client(),
            "other",
            &json!({"models": ["tiny"]}),
        )?;
        assert_eq!(other.post("/v2/tasks", &task)?.status, 403);

        // No more than the limit at once.
        let busy = key(
            &operator,
            &home.client(),
            "busy",
            &json!({"concurrent_requests": 5}),
        )?;
        engine.update(|script| script.token_delay = Duration::from_millis(3));
        let running = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let answer = busy.clone().chat(16);
                        if answer.is_ok_and(|answer| answer.status == 200) {
                            running.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        let peak = engine.stats().peak;
        println!("{} served, {peak} at once", running.into_inner());
        ensure!(peak <= 7, "{peak} at once");
        home.terminate(SOON)?;
        Ok(())
    })
}

// spec: KEY-10, KEY-11
#[test]
fn a_flood_of_one_key_delays_another_by_one_turn() -> Result<()> {
    const FLOOD: usize = 60;
    const OTHERS: usize = 5;
    Cluster::test("fairness", |cluster| {
        let script = Script {
            slots: 1,
            ..Script::default()
        };
        let settings = [("ORCHESTRATORD_QUEUE_WAIT_MS", "600000")];
        let (home, engine, operator) = home_with(cluster, script, &settings)?;
        let flood = key(&operator, &home.client(), "flood", &json!({}))?;
        let other = key(&operator, &home.client(), "other", &json!({}))?;
        // The engine tells the keys apart by a header that passes.
        let flood = flood.with_header("x-caller", "flood");
        let other = other.with_header("x-caller", "other");
        // The slot is taken until all requests wait.
        engine.update(|script| script.token_delay = SOON);
        let occupant = operator.chat_stream(16)?;
        engine.update(|script| script.token_delay = Duration::ZERO);
        thread::scope(|scope| -> Result<()> {
            let mut clients = Vec::new();
            for (caller, number) in [(&flood, FLOOD), (&other, OTHERS)] {
                let all = clients.len() + number;
                let one = |_| scope.spawn(|| caller.clone().chat(16));
                clients.extend((0..number).map(one));
                wait_for("a queue", SOON, || waiting(&operator) == all)?;
            }
            drop(occupant);
            for client in clients {
                let answer = client.join().map_err(|_| anyhow!("panicked"))??;
                ensure!(answer.status == 200, "{}", answer.body);
            }
            Ok(())
        })?;
        let records = engine.records().into_iter();
        let served: Vec<String> = records
            .filter_map(|record| record.header("x-caller").map(str::to_owned))
            .collect();
        ensure!(served.len() == FLOOD + OTHERS, "{served:?}");
        let places = served.iter().enumerate();
        let places = places.filter_map(|(place, caller)| (caller == "other").then_some(place));
        for (number, place) in places.enumerate() {
            // One of the flood before each of them.
            println!("request {number} of the other key was served as number {place}");
            ensure!(place <= 2 * number + 1, "{served:?}");
        }
        Ok(())
    })
}
