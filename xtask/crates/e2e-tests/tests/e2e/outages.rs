//! The only engine of a model is away: how long requests wait, and how their waits end.

#![allow(clippy::print_stdout, reason = "what was counted is shown")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use test_client::{Answer, Client, End, chat_body};
use test_clock::wait_for;
use test_cluster::{Cluster, OneNode, Profile, Setting};

use crate::many_clients::with_engines;

const SOON: Duration = Duration::from_secs(90);
const SLOTS: u32 = 2;
const CLIENTS: usize = 8;
/// How often each outcome must be seen before the test goes on.
const OFTEN: usize = 2 * CLIENTS;

/// What became of the requests.
#[derive(Debug, Default)]
struct Tally {
    served: AtomicUsize,
    /// 429 or 503, with the time of the next try.
    refused: AtomicUsize,
    /// Those that were in the engine when it ended.
    broken: AtomicUsize,
}

impl Tally {
    fn count(of: &AtomicUsize) {
        of.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until `of` has grown by [`OFTEN`].
    fn wait_for_more(of: &AtomicUsize, what: &str) -> Result<()> {
        let before = of.load(Ordering::Relaxed);
        wait_for(what, SOON, || of.load(Ordering::Relaxed) >= before + OFTEN)
    }

    /// One streamed request. An error is an outcome that no request may have.
    fn ask(&self, client: &Client) -> Result<()> {
        let streamed = client.chat_stream(8)?.finish();
        let has_retry = !streamed.header("retry-after").is_empty();
        match (streamed.status, streamed.end == End::Done) {
            (200, true) => Self::count(&self.served),
            (429 | 503, _) if has_retry => Self::count(&self.refused),
            (200 | 502, false) => Self::count(&self.broken),
            (status, _) => anyhow::bail!("{status}, retry: {has_retry}, {:?}", streamed.end),
        }
        Ok(())
    }
}

/// Nothing here depends on the length of the queue timeout: it ends each wait during the outage.
fn an_outage_ends_every_wait(profile: Profile) -> Result<()> {
    const QUEUE_WAIT: Setting<'_> = ("ORCHESTRATORD_QUEUE_WAIT_MS", "1000");
    Cluster::test("outage", |cluster| {
        let node = cluster.one_node_with(profile, &[QUEUE_WAIT], &[], &[])?;
        let (node, mut engines) = with_engines(cluster, node, 1, SLOTS)?;
        let engine = engines.first_mut().context("no engine")?;
        let (client, tally, stop) = (node.client(), Tally::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let load = || {
                while !stop.load(Ordering::Relaxed) {
                    tally.ask(&client)?;
                }
                Ok::<_, anyhow::Error>(())
            };
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(load)).collect();
            let mut outage = || {
                Tally::wait_for_more(&tally.served, "requests to be served")?;
                engine.kill();
                Tally::wait_for_more(&tally.refused, "requests to be refused")?;
                engine.restart()?;
                Tally::wait_for_more(&tally.served, "requests to be served again")
            };
            let outage = outage();
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().map_err(|_| anyhow!("a client panicked"))??;
            }
            outage
        })?;
        println!("{profile:?}: {tally:?}");
        let broken = tally.broken.load(Ordering::Relaxed);
        ensure!(broken <= SLOTS as usize, "{tally:?}");
        Ok(())
    })
}

// spec: ADM-3, ADM-51
#[test]
fn an_outage_ends_every_wait_in_home() -> Result<()> {
    an_outage_ends_every_wait(Profile::Home)
}

// spec: ADM-3, ADM-51
#[test]
fn an_outage_ends_every_wait_in_cloud() -> Result<()> {
    an_outage_ends_every_wait(Profile::Cloud)
}

/// A program in place of `llama-server` that starts it when a file is gone.
struct HeldEngine {
    program: PathBuf,
    hold: PathBuf,
}

impl HeldEngine {
    fn new(cluster: &Cluster) -> Result<Self> {
        let held = Self {
            program: cluster.directory().join("held-engine"),
            hold: cluster.directory().join("hold"),
        };
        let script = format!(
            "#!/bin/sh\nwhile [ -e {:?} ]; do sleep 0.05; done\nexec {:?} \"$@\"\n",
            held.hold,
            cluster.llama_server()
        );
        fs::write(&held.program, script)?;
        fs::set_permissions(&held.program, fs::Permissions::from_mode(0o755))?;
        Ok(held)
    }

    /// The next starts wait.
    fn hold(&self) -> Result<()> {
        fs::write(&self.hold, "").context("cannot hold the engine")
    }

    fn release(&self) -> Result<()> {
        fs::remove_file(&self.hold).context("cannot release the engine")
    }
}

/// A node with a pool file that has one pool with one engine.
fn with_pool(
    cluster: &Cluster,
    profile: Profile,
    program: &Path,
    more: &str,
    control: &[Setting<'_>],
) -> Result<OneNode> {
    let path = cluster.directory().join("pools.toml");
    let text = format!(
        "[[pool]]\nid = \"chat\"\nengine = \"llamacpp\"\nbinary = {program:?}\nmodel = {:?}\n\
         models = [\"tiny\"]\nslots = {SLOTS}\ncontext = 2048\n{more}\n",
        cluster.model(),
    );
    fs::write(&path, text)?;
    let path = path.to_str().context("no path")?;
    cluster.one_node_with(profile, control, &[("POOLS_FILE", path)], &[])
}

fn slots_are(node: &OneNode, free: u32) -> Result<()> {
    wait_for("its slots", SOON, || {
        node.pool("chat")["slots_free"] == free
    })
}

/// The setting alone would end each wait at once.
fn a_pool_lets_its_requests_wait_for_longer(profile: Profile) -> Result<()> {
    const NO_WAIT: Setting<'_> = ("ORCHESTRATORD_QUEUE_WAIT_MS", "1");
    Cluster::test("pool-timeout", |cluster| {
        let program = cluster.llama_server();
        let timeout = "queue_timeout_secs = 240";
        let node = with_pool(cluster, profile, program, timeout, &[NO_WAIT])?;
        slots_are(&node, SLOTS)?;
        ensure!(node.pool("chat")["queue_timeout_ms"] == 240_000);
        // A drained pool serves no request, and each waits until its own end.
        node.set_draining(Some("chat"), true)?;
        let client = node.client();
        let impatient = client.clone().with_header("x-deadline-ms", "50").chat(1)?;
        ensure!(impatient.status == 504, "{}", impatient.body);
        let answers = thread::scope(|scope| {
            let asked: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| client.chat(8)))
                .collect();
            wait_for("all to wait", SOON, || {
                crate::queue::waiting(&client) == CLIENTS
            })?;
            node.set_draining(Some("chat"), false)?;
            asked
                .into_iter()
                .map(|asked| asked.join().map_err(|_| anyhow!("a client panicked"))?)
                .collect::<Result<Vec<Answer>>>()
        })?;
        for answer in answers {
            ensure!(answer.status == 200, "{}", answer.body);
        }
        Ok(())
    })
}

// spec: ADM-50, PROV-42, ADM-3
#[test]
fn a_pool_lets_its_requests_wait_for_longer_in_home() -> Result<()> {
    a_pool_lets_its_requests_wait_for_longer(Profile::Home)
}

// spec: ADM-50, PROV-42, ADM-3
#[test]
fn a_pool_lets_its_requests_wait_for_longer_in_cloud() -> Result<()> {
    a_pool_lets_its_requests_wait_for_longer(Profile::Cloud)
}

fn an_engine_that_never_starts_ends_every_wait(profile: Profile) -> Result<()> {
    Cluster::test("never-starts", |cluster| {
        let engine = HeldEngine::new(cluster)?;
        let more = "sleep_after_secs = 1\nqueue_timeout_secs = 1";
        let node = with_pool(cluster, profile, &engine.program, more, &[])?;
        wait_for("the pool to sleep", SOON, || {
            cluster.engine_processes().is_empty() && node.pool("chat")["sleeping"] == true
        })?;
        engine.hold()?;
        let client = node.client();
        for is_stream in [true, false] {
            let body = chat_body(8, is_stream);
            let refused = client.post("/v1/chat/completions", &body)?;
            ensure!(
                refused.status == 503 && !refused.header("retry-after").is_empty(),
                "{} {}",
                refused.status,
                refused.body
            );
            slots_are(&node, SLOTS)?;
        }
        engine.release()?;
        wait_for("an answer", SOON, || {
            client.chat(8).is_ok_and(|answer| answer.status == 200)
        })
    })
}

// spec: PROV-43
#[test]
fn an_engine_that_never_starts_ends_every_wait_in_home() -> Result<()> {
    an_engine_that_never_starts_ends_every_wait(Profile::Home)
}

// spec: PROV-43
#[test]
fn an_engine_that_never_starts_ends_every_wait_in_cloud() -> Result<()> {
    an_engine_that_never_starts_ends_every_wait(Profile::Cloud)
}
