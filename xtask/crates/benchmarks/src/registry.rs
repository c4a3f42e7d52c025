//! What membership costs: registrations and heartbeats of simulated nodes, by the size of the
//! fleet.
//!
//! The control plane, the generator and the stand-in engine that answers its probes share this
//! machine. The nodes are messages over HTTP on a few connections that are used again and again;
//! their engines do not exist, but one real node serves requests.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{engines::Engines, peers, processes};
use child_process::Group;
use test_client::Client;
use test_clock::{now, pause, wait_for_some};
use test_cluster::{Daemon, free_port, write_handoff};
use workspace_build::{Binaries, build, executable};

/// How many nodes each fleet has, when nothing else is said.
const FLEETS: [u64; 4] = [10, 1000, 10_000, 100_000];
/// Connections of the closed loops: each has one heartbeat on its way.
const CONNECTIONS: &str = "32";
/// Connections that all nodes share when they keep the pace that the server sets.
const SHARED_CONNECTIONS: u64 = 64;
/// Fleets up to this size are measured in closed loops; larger ones only stay online.
const CLOSED_LOOP_UP_TO: u64 = 10_000;
/// From this size on a fleet has to stay online for a while at the dictated interval.
const STAY_FROM: u64 = 10_000;
/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a daemon may take to end.
const GRACE: Duration = Duration::from_secs(30);
/// How often the fleet is looked at while it should stay online.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No real daemon numbers its heartbeats this high, so that each run begins above the one before.
const NUMBERS_PER_RUN: u64 = 1 << 32;

/// How it is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sizes of fleets; empty for all.
    pub fleets: Vec<u64>,
    /// How often each rate is measured.
    pub rounds: usize,
    /// Seconds that are measured for each rate.
    pub seconds: f64,
    /// How long a large fleet has to stay online.
    pub stay: Duration,
}

/// What one fleet showed.
#[derive(Debug, Default)]
struct Figures {
    nodes: u64,
    registrations: Option<Rate>,
    /// Each kind of heartbeat, round by round.
    heartbeats: Vec<(&'static str, Vec<Rate>)>,
    health: Vec<Rate>,
    bytes_per_node: Option<f64>,
    /// Seconds from the start of a new process until every known node can be used again.
    restart_secs: Option<f64>,
    /// Routed requests during that, and while the fleet stayed online.
    routed: Vec<(&'static str, Rate)>,
    stayed: Option<Stayed>,
    /// The most nodes that were seen offline or unreachable.
    lost: u64,
}

/// Answers of a load generator.
#[derive(Debug, Clone, Default)]
struct Rate {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
    first_error: String,
}

/// How a fleet kept the dictated pace.
#[derive(Debug)]
struct Stayed {
    seconds: f64,
    heartbeats: u64,
    errors: u64,
    next_heartbeat_ms: u64,
    timeout_ms: u64,
    slowest_ms: f64,
}

/// Measures, and gives the report as Markdown, which is also kept in the target directory.
///
/// # Errors
/// When something does not build or start, an answer was wrong, or a node was falsely lost.
pub fn run(options: &Options) -> Result<String> {
    eprintln!("building with optimizations");
    let messages = build(&["load-gen", "fake-engine"], &["--release"])?;
    let bench = Bench {
        load_gen: executable(&messages, "load-gen")?,
        daemons: Binaries::optimized(false)?,
        engines: Engines::start(&executable(&messages, "fake-engine")?)?,
        options,
    };
    let fleets = if options.fleets.is_empty() {
        FLEETS.to_vec()
    } else {
        options.fleets.clone()
    };
    let mut all = Vec::new();
    for nodes in fleets {
        let figures = bench
            .fleet(nodes)
            .with_context(|| format!("{nodes} nodes"))?;
        eprintln!("{}", line_of(&figures));
        all.push(figures);
    }
    let report = render(options, &all);
    let directory = peers::directory();
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join("registry.md");
    std::fs::write(&path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    for figures in &all {
        ensure!(
            figures.lost == 0,
            "{} nodes were falsely lost\n\n{report}",
            figures.lost
        );
        let wrong = figures.rates().find(|rate| rate.errors > 0);
        if let Some(rate) = wrong {
            anyhow::bail!(
                "{} wrong answers, the first: {}\n\n{report}",
                rate.errors,
                rate.first_error
            );
        }
    }
    Ok(report)
}

impl Figures {
    fn rates(&self) -> impl Iterator<Item = &Rate> {
        let heartbeats = self.heartbeats.iter().flat_map(|(_, rounds)| rounds);
        let routed = self.routed.iter().map(|(_, rate)| rate);
        self.registrations
            .iter()
            .chain(heartbeats)
            .chain(&self.health)
            .chain(routed)
    }
}

struct Bench<'a> {
    load_gen: PathBuf,
    daemons: Binaries,
    engines: Engines,
    options: &'a Options,
}

/// A control plane with its one real node.
struct Cluster {
    control: Daemon,
    node: Daemon,
    address: SocketAddr,
    client: Client,
    /// Dropped last.
    _directory: tempfile::TempDir,
}

impl Bench<'_> {
    fn fleet(&self, nodes: u64) -> Result<Figures> {
        let mut cluster = self.start()?;
        let mut figures = Figures {
            nodes,
            ..Figures::default()
        };
        let rss = |cluster: &mut Cluster| -> Result<u64> {
            let pid = cluster.control.process()?.pid();
            Ok(processes::memory(pid).unwrap_or_default())
        };
        let mut runs = 0;
        let mut numbers = || {
            runs += 1;
            runs * NUMBERS_PER_RUN
        };
        // What the allocator and the first connections take is not the nodes'.
        self.rate(
            &cluster,
            &["--get", "--path", "/health", "--seconds", "0.5"],
        )?;
        let before = rss(&mut cluster)?;
        let probed_at = format!(
            "http://{}",
            self.engines.addresses().first().context("no engine")?
        );
        let (fleet, count) = (nodes.to_string(), nodes.to_string());
        let once = [
            "--fleet",
            &fleet,
            "--count",
            &count,
            "--warm-up",
            "0",
            "--seconds",
            "600",
        ];
        figures.registrations = Some(self.rate(
            &cluster,
            &[&["--beat", "register", "--address", &probed_at], &once[..]].concat(),
        )?);
        // Each node's first heartbeat says what it has.
        let first = numbers().to_string();
        self.rate(
            &cluster,
            &[
                &["--beat", "unchanged", "--first-number", &first],
                &once[..],
            ]
            .concat(),
        )?;
        let everybody = nodes + 1;
        cluster.wait_for_nodes(everybody)?;
        figures.bytes_per_node =
            Some(rss(&mut cluster)?.saturating_sub(before) as f64 / nodes as f64);
        if nodes <= CLOSED_LOOP_UP_TO {
            self.closed_loops(&cluster, nodes, &mut numbers, &mut figures)?;
        }
        if nodes >= STAY_FROM {
            let first = numbers();
            let (stayed, routed, lost) = self.stay(&cluster, nodes, first, everybody)?;
            figures.stayed = Some(stayed);
            figures
                .routed
                .push(("while the fleet keeps the pace", routed));
            figures.lost = figures.lost.max(lost);
        }
        if nodes <= CLOSED_LOOP_UP_TO {
            let (secs, routed) = self.restart(&mut cluster, nodes)?;
            figures.restart_secs = Some(secs);
            figures.routed.push(("from the restart on", routed));
        }
        Ok(figures)
    }

    fn start(&self) -> Result<Cluster> {
        let directory = tempfile::Builder::new()
            .prefix("llorch-bench-registry-")
            .tempdir()?;
        let daemon = |name: &str, program: &Path, settings: &[(&str, &str)]| -> Result<Daemon> {
            let own = directory.path().join(name);
            std::fs::create_dir_all(&own)?;
            let mut daemon = Daemon::new(name, program, &own, directory.path(), Group::Ours);
            // A line for each node that joins is not what is measured.
            daemon.set(
                "RUST_LOG",
                "warn,daemon=info,orchestratord=info,pool_managerd=info,access=off",
            );
            for (variable, value) in settings {
                daemon.set(variable, value);
            }
            Ok(daemon)
        };
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let settings = [
            ("ORCHESTRATORD_ADDR", listen.as_str()),
            ("ORCHESTRATORD_CLOUD_PROFILE", "true"),
        ];
        let mut control = daemon("orchestratord", &self.daemons.orchestratord, &settings)?;
        let address = control.start()?;
        let (own, url) = (free_port()?, format!("http://{address}"));
        let settings = [
            ("POOL_MANAGERD_ADDR", format!("127.0.0.1:{own}")),
            ("POOL_MANAGERD_ADDRESS", format!("http://127.0.0.1:{own}")),
            ("POOL_MANAGERD_CLOUD_PROFILE", "true".to_owned()),
            ("POOL_MANAGERD_NODE_ID", "a-real-node".to_owned()),
            ("ORCHESTRATORD_URL", url.clone()),
        ];
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(variable, value)| (*variable, value.as_str()))
            .collect();
        let mut node = daemon("pool-managerd", &self.daemons.pool_managerd, &settings)?;
        for handoff in self.engines.handoffs() {
            write_handoff(node.directory(), &handoff)?;
        }
        node.start()?;
        let cluster = Cluster {
            control,
            node,
            address,
            client: Client::new(&url),
            _directory: directory,
        };
        cluster.wait_for_nodes(1)?;
        Ok(cluster)
    }

    /// Runs the load generator to its end.
    fn rate(&self, cluster: &Cluster, arguments: &[&str]) -> Result<Rate> {
        let mut command = self.command(cluster, arguments);
        if !arguments.contains(&"--connections") {
            command.args(["--connections", CONNECTIONS]);
        }
        let output = command.output().context("cannot run load-gen")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        rate_of(&output.stdout)
    }

    fn command(&self, cluster: &Cluster, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.load_gen);
        command
            .args(["--target", &cluster.address.to_string()])
            .args(arguments);
        command
    }

    /// Heartbeats as fast as they are answered, beside what the same server does when it has
    /// nothing to do.
    fn closed_loops(
        &self,
        cluster: &Cluster,
        nodes: u64,
        numbers: &mut dyn FnMut() -> u64,
        figures: &mut Figures,
    ) -> Result<()> {
        let (fleet, seconds) = (nodes.to_string(), self.options.seconds.to_string());
        let beats = [
            ("unchanged", "unchanged"),
            ("load changed", "load"),
            ("readiness changed", "readiness"),
        ];
        figures.heartbeats = beats
            .iter()
            .map(|(title, _)| (*title, Vec::new()))
            .collect();
        for _ in 0..self.options.rounds {
            figures.health.push(self.rate(
                cluster,
                &["--get", "--path", "/health", "--seconds", &seconds],
            )?);
            for ((_, beat), (_, rounds)) in beats.iter().zip(&mut figures.heartbeats) {
                let first = numbers().to_string();
                rounds.push(self.rate(
                    cluster,
                    &[
                        "--fleet",
                        &fleet,
                        "--beat",
                        beat,
                        "--first-number",
                        &first,
                        "--seconds",
                        &seconds,
                    ],
                )?);
                figures.lost = figures.lost.max(cluster.lost());
            }
        }
        // Everybody ready again, whatever the last loop left behind.
        let (first, count) = (numbers().to_string(), nodes.to_string());
        self.rate(
            cluster,
            &[
                "--fleet",
                &fleet,
                "--beat",
                "unchanged",
                "--first-number",
                &first,
                "--count",
                &count,
                "--warm-up",
                "0",
                "--seconds",
                "600",
            ],
        )?;
        Ok(())
    }

    /// The fleet keeps the pace that the server sets, for a while. Nobody may be lost.
    fn stay(
        &self,
        cluster: &Cluster,
        nodes: u64,
        first: u64,
        everybody: u64,
    ) -> Result<(Stayed, Rate, u64)> {
        let seconds = self.options.stay.as_secs_f64();
        let pace = self.paced(cluster, nodes, first, seconds)?;
        let requests = self.requests(cluster, seconds)?;
        let (end, mut lost) = (now() + self.options.stay, 0);
        while now() < end {
            pause(LOOK_EVERY);
            let counts = cluster.counts().unwrap_or_default();
            lost = lost
                .max(counts.lost)
                .max(everybody.saturating_sub(counts.online + counts.lost));
        }
        let told = finish(pace)?;
        let told: Value = serde_json::from_slice(&told).context("load-gen tells no JSON")?;
        let count = |key: &str| told[key].as_u64().unwrap_or_default();
        let stayed = Stayed {
            seconds,
            heartbeats: count("heartbeats"),
            errors: count("errors"),
            next_heartbeat_ms: count("next_heartbeat_ms"),
            timeout_ms: count("timeout_ms"),
            slowest_ms: told["slowest_ms"].as_f64().unwrap_or_default(),
        };
        ensure!(
            stayed.errors == 0,
            "heartbeats were refused: {}",
            told["first_error"]
        );
        Ok((stayed, rate_of(&finish(requests)?)?, lost))
    }

    fn paced(&self, cluster: &Cluster, nodes: u64, first: u64, seconds: f64) -> Result<Child> {
        let (fleet, first, seconds) = (nodes.to_string(), first.to_string(), seconds.to_string());
        let connections = SHARED_CONNECTIONS.to_string();
        let arguments = [
            "--paced",
            "--fleet",
            &fleet,
            "--first-number",
            &first,
            "--seconds",
            &seconds,
        ];
        let mut command = self.command(cluster, &arguments);
        command.args(["--connections", &connections]);
        spawn(command)
    }

    /// One client that asks the real node's model again and again.
    fn requests(&self, cluster: &Cluster, seconds: f64) -> Result<Child> {
        let body =
            r#"{"model":"tiny","messages":[{"role":"user","content":"count"}],"max_tokens":4}"#;
        let seconds = seconds.to_string();
        let arguments = [
            "--body",
            body,
            "--connections",
            "1",
            "--warm-up",
            "0",
            "--seconds",
            &seconds,
        ];
        spawn(self.command(cluster, &arguments))
    }

    /// Ends the control plane and starts it again with what it has kept, while nobody says anything
    /// but when it is asked.
    fn restart(&self, cluster: &mut Cluster, nodes: u64) -> Result<(f64, Rate)> {
        cluster.control.terminate(GRACE)?;
        let begin = now();
        cluster.control.start()?;
        wait_for_some("the first routed answer", PATIENCE, || {
            cluster
                .client
                .chat(1)
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        })?;
        let requests = self.requests(cluster, self.options.seconds.max(5.0))?;
        let secs = wait_for_some("every known node", PATIENCE, || {
            (cluster.routable() >= nodes).then(|| begin.elapsed().as_secs_f64())
        })?;
        Ok((secs, rate_of(&finish(requests)?)?))
    }
}

/// How many nodes there are.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    online: u64,
    lost: u64,
}

impl Cluster {
    fn counts(&self) -> Option<Counts> {
        let status = self.client.get_json("/v2/status").ok()?;
        let count = |key: &str| status["nodes"][key].as_u64().unwrap_or_default();
        Some(Counts {
            online: count("online"),
            lost: count("offline") + count("unreachable"),
        })
    }

    fn lost(&self) -> u64 {
        self.counts().unwrap_or_default().lost
    }

    fn wait_for_nodes(&self, nodes: u64) -> Result<()> {
        wait_for_some("all nodes", PATIENCE, || {
            self.counts()
                .filter(|counts| counts.online >= nodes)
                .map(|_| ())
        })
    }

    /// Endpoints of the simulated nodes that take requests.
    fn routable(&self) -> u64 {
        let status = self.client.get_json("/v2/status").unwrap_or_default();
        let models = status["models"].as_array().into_iter().flatten();
        let simulated = models.filter(|model| {
            model["model"]
                .as_str()
                .is_some_and(|name| name.starts_with("sim-"))
        });
        simulated
            .filter_map(|model| model["endpoints"].as_u64())
            .sum()
    }
}

impl Drop for Cluster {
    /// The node first, so that it can say that it leaves.
    fn drop(&mut self) {
        // What does not end is killed with the daemon.
        let _ = self.node.terminate(GRACE);
        let _ = self.control.terminate(GRACE);
    }
}

fn spawn(mut command: Command) -> Result<Child> {
    command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run load-gen")
}

fn finish(child: Child) -> Result<Vec<u8>> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "load-gen: {}", output.status);
    Ok(output.stdout)
}

fn rate_of(output: &[u8]) -> Result<Rate> {
    let told: Value = serde_json::from_slice(output).context("load-gen tells no JSON")?;
    let number = |key: &str| told[key].as_f64().unwrap_or_default();
    Ok(Rate {
        per_second: number("answers_per_second"),
        p50_ms: number("first_p50_ms"),
        p99_ms: number("first_p99_ms"),
        errors: told["errors"].as_u64().unwrap_or_default(),
        first_error: told["first_error"].as_str().unwrap_or_default().to_owned(),
    })
}

/// The middle of some figures; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn medians(rounds: &[Rate]) -> (f64, f64) {
    let of = |what: fn(&Rate) -> f64| median(rounds.iter().map(what).collect());
    (of(|rate| rate.per_second), of(|rate| rate.p99_ms))
}

fn line_of(figures: &Figures) -> String {
    let mut line = format!("{} nodes:", figures.nodes);
    for (title, rounds) in &figures.heartbeats {
        let (per_second, p99) = medians(rounds);
        // Writing to a String cannot fail.
        let _ = write!(line, " {title} {per_second:.0}/s p99 {p99:.1} ms,");
    }
    let bytes = figures.bytes_per_node.unwrap_or_default();
    let _ = write!(line, " {bytes:.0} bytes a node, {} lost", figures.lost);
    line
}

fn render(options: &Options, all: &[Figures]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!(
        "# Registry benchmark\n\n{cores} cores for the control plane, the load generator and what \
         answers probes together. Simulated: nodes with one pool of one replica and one GPU, as \
         messages over HTTP on connections that are used again ({CONNECTIONS} in the closed \
         loops, {SHARED_CONNECTIONS} for nodes that keep the pace); a stand-in answers the probes \
         of all of them, at the rate at which they come. Real: the control plane, and one node \
         with two stand-in engines. Medians of {} rounds of {} s. Memory is what the control \
         plane's resident memory grew by.\n\n| nodes | registrations/s | p99 ms | bytes per node \
         | restart until all can be used, s | nodes lost |\n|---:|---:|---:|---:|---:|---:|\n",
        options.rounds, options.seconds
    );
    for figures in all {
        let registrations = figures.registrations.clone().unwrap_or_default();
        let restart = figures
            .restart_secs
            .map_or_else(String::new, |secs| format!("{secs:.2}"));
        let bytes = figures.bytes_per_node.unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {bytes:.0} | {restart} | {} |",
            figures.nodes, registrations.per_second, registrations.p99_ms, figures.lost
        );
    }
    text.push_str(
        "\n## Heartbeats\n\n| nodes | heartbeats | per second | p99 ms | of `GET /health` \
         |\n|---:|---|---:|---:|---:|\n",
    );
    for figures in all {
        let (health, _) = medians(&figures.health);
        for (title, rounds) in &figures.heartbeats {
            let (per_second, p99) = medians(rounds);
            let _ = writeln!(
                text,
                "| {} | {title} | {per_second:.0} | {p99:.2} | {:.2} |",
                figures.nodes,
                per_second / health.max(1.0)
            );
        }
    }
    text.push_str(
        "\n## Requests meanwhile\n\n| nodes | when | per second | p50 ms | p99 ms \
         |\n|---:|---|---:|---:|---:|\n",
    );
    for figures in all {
        for (when, rate) in &figures.routed {
            let _ = writeln!(
                text,
                "| {} | {when} | {:.0} | {:.2} | {:.2} |",
                figures.nodes, rate.per_second, rate.p50_ms, rate.p99_ms
            );
        }
    }
    text.push_str(
        "\n## At the dictated pace\n\n| nodes | seconds | heartbeats | refused | interval ms | \
         timeout ms | slowest answer ms |\n|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for figures in all {
        if let Some(stayed) = &figures.stayed {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {} | {} | {} | {} | {:.1} |",
                figures.nodes,
                stayed.seconds,
                stayed.heartbeats,
                stayed.errors,
                stayed.next_heartbeat_ms,
                stayed.timeout_ms,
                stayed.slowest_ms
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_a_line_for_each_fleet_and_kind() {
        let rate = |per_second| Rate {
            per_second,
            p99_ms: 2.0,
            ..Rate::default()
        };
        let figures = Figures {
            nodes: 10,
            registrations: Some(rate(5000.0)),
            heartbeats: vec![(
                "unchanged",
                vec![rate(10.0), rate(30_000.0), rate(20_000.0)],
            )],
            health: vec![rate(40_000.0)],
            bytes_per_node: Some(3000.0),
            ..Figures::default()
        };
        let options = Options {
            fleets: Vec::new(),
            rounds: 3,
            seconds: 1.0,
            stay: Duration::from_secs(1),
        };
        let text = render(&options, &[figures]);
        for line in [
            "| 10 | 5000 | 2.00 | 3000 |  | 0 |",
            "| 10 | unchanged | 20000 | 2.00 | 0.50 |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
