//! Probes every node, and passes the results to the registry.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use local_limits::{Episode, Turn};
use service_runtime::Shutdown;
use tokio::time::{Instant, sleep_until};

use crate::{
    ProberConfig, RegistryHandle,
    probe::{ProbeError, probe},
    schedule::{Job, ProbeResult, Schedule},
};

/// The targets that are taken under one lock: less than a millisecond of work.
const TARGETS_AT_ONCE: usize = 1024;

/// Probes every known node. It probes silent nodes too, to find them again.
#[derive(Debug)]
pub struct Prober {
    registry: RegistryHandle,
    config: ProberConfig,
}

impl Prober {
    pub(crate) fn new(registry: RegistryHandle, config: ProberConfig) -> Self {
        Self { registry, config }
    }

    /// Runs until `shutdown` is requested.
    pub async fn run(self, shutdown: Shutdown) {
        let mut schedule = Schedule::new(&self.config, Instant::now());
        let mut running = FuturesUnordered::new();
        let mut limit = Episode::default();
        loop {
            self.take_targets(&mut schedule);
            let due = schedule.take_due(Instant::now());
            running.extend(due.into_iter().map(|job| self.ask(job)));
            let next = schedule.next();
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = self.registry.shared.retargeted.notified() => {}
                Some((job, found)) = running.next() => {
                    log_limit(limit.note(found == ProbeResult::NotSent, Instant::now().into_std()));
                    let drift = fastrand::f64().mul_add(2.0, -1.0);
                    schedule.finished(&job, found, Instant::now(), drift);
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Takes the changed targets from the registry.
    fn take_targets(&self, schedule: &mut Schedule) {
        loop {
            let some = self.registry.shared.take(|registry| {
                let mut some = Vec::new();
                while some.len() < TARGETS_AT_ONCE
                    && let Some(node_id) = registry.pop_target()
                {
                    let target = registry.target(&node_id);
                    some.push((node_id, target));
                }
                some
            });
            let is_all = some.len() < TARGETS_AT_ONCE;
            let now = Instant::now();
            for (node_id, target) in some {
                schedule.update(node_id, target, now);
            }
            if is_all {
                return;
            }
        }
    }

    /// Probes a node, and passes the result to the registry.
    async fn ask(&self, job: Job) -> (Job, ProbeResult) {
        let (node_id, address) = (&job.node_id, &job.address);
        let result = probe(
            &self.registry.shared.proxy,
            node_id,
            job.incarnation,
            address,
            self.config.timeout,
        )
        .await;
        if let Err(error) = &result {
            tracing::debug!(%node_id, %address, %error, "Node probe failed");
        }
        let (found, result) = match result {
            Ok(()) => (ProbeResult::Answered, Ok(())),
            Err(ProbeError::Own(_)) => return (job, ProbeResult::NotSent),
            Err(error) => (ProbeResult::Failed, Err(error.to_string())),
        };
        self.registry.probed(node_id, job.incarnation, result);
        (job, found)
    }
}

/// Logs once that this process cannot probe, and once that it can again.
fn log_limit(turn: Option<Turn>) {
    match turn {
        Some(Turn::Began) => tracing::warn!(
            "Nodes cannot be probed, and stay as they are, because this process is at a limit of \
             its own: raise the limit of open files (ulimit -n), or give it more processor time"
        ),
        Some(Turn::Ended) => tracing::info!("Nodes are probed again"),
        None => {}
    }
}
