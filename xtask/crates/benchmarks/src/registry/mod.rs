//! What membership costs: registrations and heartbeats, by the size of the fleet.
//!
//! The control plane, the load generator and the stand-in engines share this machine. The simulated
//! nodes are messages over HTTP on a few connections. They have no engines; one real node serves
//! requests.

mod cluster;
mod figures;
mod load;
mod options;
mod report;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use test_clock::{now, pause, wait_for};
use workspace_build::{Binaries, build, executable};

pub use self::options::Options;
use self::{
    cluster::{Cluster, DEADLINE},
    figures::{FleetFigures, PacedFigures, Rate},
    load::{LoadGenerator, Message},
};
use crate::{engines::Engines, peers};

/// The sizes of fleets, unless the command line says otherwise.
const FLEETS: [u64; 4] = [10, 1000, 10_000, 100_000];
/// Fleets up to this size are measured in closed loops; larger ones only have to stay online.
const CLOSED_LOOP_UP_TO: u64 = 10_000;
/// Fleets of this size and above have to stay online at the pace that the server sets.
const PACED_FROM: u64 = 10_000;
/// How often the nodes are counted while the fleet has to stay online.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds of requests before memory is measured: the allocator and the first connections take
/// memory too.
const WARM_UP_SECS: f64 = 0.5;
/// The shortest time of requests after a restart.
const RESTART_SECS: f64 = 5.0;
/// The heartbeats of the closed loops: a title, and the name that load-gen knows.
const HEARTBEATS: [(&str, &str); 3] = [
    ("unchanged", "unchanged"),
    ("load changed", "load"),
    ("readiness changed", "readiness"),
];

/// Measures, writes the report in Markdown to the target directory, and returns it.
///
/// # Errors
/// When something does not build or start, an answer was wrong, or a node was falsely lost.
pub fn run(options: &Options) -> Result<String> {
    eprintln!("building with optimizations");
    let messages = build(&["load-gen", "fake-engine"], &["--release"])?;
    let bench = RegistryBench {
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
            .measure(nodes)
            .with_context(|| format!("{nodes} nodes"))?;
        eprintln!("{}", report::summary(&figures));
        all.push(figures);
    }
    let report = report::render(options, &all);
    let directory = peers::directory();
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join("registry.md");
    std::fs::write(&path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    fail_on_errors(&all).with_context(|| report.clone())?;
    Ok(report)
}

fn fail_on_errors(all: &[FleetFigures]) -> Result<()> {
    for figures in all {
        ensure!(
            figures.lost == 0,
            "{} nodes were falsely lost",
            figures.lost
        );
        if let Some(rate) = figures.rates().find(|rate| rate.errors > 0) {
            bail!(
                "{} wrong answers, the first: {}",
                rate.errors,
                rate.first_error
            );
        }
    }
    Ok(())
}

struct RegistryBench<'a> {
    load_gen: PathBuf,
    daemons: Binaries,
    engines: Engines,
    options: &'a Options,
}

impl RegistryBench<'_> {
    /// Measures a fleet of this size with a new control plane.
    fn measure(&self, nodes: u64) -> Result<FleetFigures> {
        let mut cluster = Cluster::start(&self.daemons, &self.engines)?;
        let mut load = LoadGenerator {
            program: self.load_gen.clone(),
            target: cluster.address(),
            runs: 0,
        };
        let mut figures = FleetFigures {
            nodes,
            ..FleetFigures::default()
        };
        self.join(&mut cluster, &mut load, &mut figures)?;
        if nodes <= CLOSED_LOOP_UP_TO {
            self.closed_loops(&cluster, &mut load, &mut figures)?;
        }
        if nodes >= PACED_FROM {
            let (paced, routed) = self.stay_online(&cluster, &mut load, &mut figures)?;
            figures.paced = Some(paced);
            figures
                .routed
                .push(("while the fleet keeps the pace", routed));
        }
        if nodes <= CLOSED_LOOP_UP_TO {
            let (secs, routed) = self.restart(&mut cluster, &load, nodes)?;
            figures.restart_secs = Some(secs);
            figures.routed.push(("from the restart on", routed));
        }
        Ok(figures)
    }

    /// All nodes register and send a first heartbeat.
    fn join(
        &self,
        cluster: &mut Cluster,
        load: &mut LoadGenerator,
        figures: &mut FleetFigures,
    ) -> Result<()> {
        let nodes = figures.nodes;
        load.health(WARM_UP_SECS)?;
        let before = cluster.memory()?;
        let engines = self.engines.addresses();
        let address = format!("http://{}", engines.first().context("no engine")?);
        let address = address.as_str();
        figures.registrations = Some(load.once(nodes, Message::Register { address })?);
        load.once(nodes, Message::Heartbeat("unchanged"))?;
        cluster.wait_for_nodes(with_the_real_one(nodes))?;
        let bytes = cluster.memory()?.saturating_sub(before);
        figures.bytes_per_node = Some(bytes as f64 / nodes as f64);
        Ok(())
    }

    /// Heartbeats as fast as they are answered, beside the same server's `GET /health`.
    fn closed_loops(
        &self,
        cluster: &Cluster,
        load: &mut LoadGenerator,
        figures: &mut FleetFigures,
    ) -> Result<()> {
        let (nodes, seconds) = (figures.nodes, self.options.seconds);
        figures.heartbeats = HEARTBEATS
            .iter()
            .map(|(title, _)| (*title, Vec::new()))
            .collect();
        for _ in 0..self.options.rounds {
            figures.health.push(load.health(seconds)?);
            for ((_, beat), (_, rounds)) in HEARTBEATS.iter().zip(&mut figures.heartbeats) {
                rounds.push(load.repeated(nodes, Message::Heartbeat(beat), seconds)?);
                figures.lost = figures.lost.max(cluster.lost());
            }
        }
        // The last loop may have left nodes that are not ready.
        load.once(nodes, Message::Heartbeat("unchanged"))?;
        Ok(())
    }

    /// The fleet keeps the pace that the server sets, for a while. No node may be lost.
    fn stay_online(
        &self,
        cluster: &Cluster,
        load: &mut LoadGenerator,
        figures: &mut FleetFigures,
    ) -> Result<(PacedFigures, Rate)> {
        let seconds = self.options.stay.as_secs_f64();
        let heartbeats = load.paced(figures.nodes, seconds)?;
        let requests = load.requests(seconds)?;
        let end = now() + self.options.stay;
        while now() < end {
            pause(COUNT_INTERVAL);
            let counts = cluster.counts().unwrap_or_default();
            let known = counts.online + counts.lost;
            let missing = with_the_real_one(figures.nodes).saturating_sub(known);
            figures.lost = figures.lost.max(counts.lost).max(missing);
        }
        let paced = heartbeats.paced_figures()?;
        ensure!(
            paced.errors == 0,
            "heartbeats were refused: {}",
            paced.first_error
        );
        Ok((paced, requests.rate()?))
    }

    /// Restarts the control plane with its state. No simulated node sends anything meanwhile.
    fn restart(
        &self,
        cluster: &mut Cluster,
        load: &LoadGenerator,
        nodes: u64,
    ) -> Result<(f64, Rate)> {
        cluster.stop_control_plane()?;
        let begin = now();
        cluster.start_control_plane()?;
        let requests = load.requests(self.options.seconds.max(RESTART_SECS))?;
        wait_for("every known node", DEADLINE, || cluster.routable() >= nodes)?;
        Ok((begin.elapsed().as_secs_f64(), requests.rate()?))
    }
}

fn with_the_real_one(simulated: u64) -> u64 {
    simulated + 1
}
