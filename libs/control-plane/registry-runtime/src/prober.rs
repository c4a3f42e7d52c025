//! Tries to reach every node about once a second, and tells the registry.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use local_limits::{Episode, Turn};
use service_runtime::Shutdown;
use tokio::time::{Instant, sleep_until};

use crate::{
    ProberConfig, RegistryHandle,
    probe::{ProbeError, probe},
    schedule::{Found, Job, Schedule},
};

/// Probes every node of the registry for as long as it is known, silent ones too: that is how they are found again.
#[derive(Debug)]
pub struct Prober {
    registry: RegistryHandle,
    config: ProberConfig,
}

impl Prober {
    pub(crate) fn new(registry: RegistryHandle, config: ProberConfig) -> Self {
        Self { registry, config }
    }

    /// Runs until `shutdown` is requested or the registry stops.
    pub async fn run(self, shutdown: Shutdown) {
        let mut nodes = self.registry.nodes();
        let mut schedule = Schedule::new(&self.config);
        schedule.sync(&nodes.borrow_and_update().clone().nodes, Instant::now());
        let mut running = FuturesUnordered::new();
        let mut limit = Episode::default();
        loop {
            let due = schedule.take_due(Instant::now());
            running.extend(due.into_iter().map(|job| self.ask(job)));
            let next = schedule.next();
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                changed = nodes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = nodes.borrow_and_update().clone();
                    schedule.sync(&snapshot.nodes, Instant::now());
                }
                Some((job, found)) = running.next() => {
                    log_limit(limit.note(found == Found::NotAsked, Instant::now().into_std()));
                    let drift = fastrand::f64().mul_add(2.0, -1.0);
                    schedule.finished(&job, found, Instant::now(), drift);
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Probes a node and tells the registry.
    async fn ask(&self, job: Job) -> (Job, Found) {
        let (node_id, address) = (&job.node_id, &job.address);
        let result = probe(node_id, job.incarnation, address, self.config.timeout).await;
        if let Err(error) = &result {
            tracing::debug!(%node_id, %address, %error, "Node probe failed");
        }
        let (found, result) = match result {
            Ok(()) => (Found::Answered, Ok(())),
            Err(ProbeError::Own(_)) => return (job, Found::NotAsked),
            Err(error) => (Found::Failed, Err(error.to_string())),
        };
        // A registry that has stopped ends the run by itself.
        let _ = self
            .registry
            .probed(node_id.clone(), job.incarnation, result)
            .await;
        (job, found)
    }
}

/// Says once that this process cannot probe, and once that it can again.
fn log_limit(turn: Option<Turn>) {
    match turn {
        Some(Turn::Began) => tracing::warn!(
            "Nodes cannot be probed, and stay as they are, because this process is at a limit of its own: raise the limit \
             of open files (ulimit -n), or give it more processor time"
        ),
        Some(Turn::Ended) => tracing::info!("Nodes are probed again"),
        None => {}
    }
}
