//! Which engine is probed when, and for what. No I/O, no clock.

use std::{collections::BTreeMap, time::Duration};

use pool_registry::{ProbeOutcome, ReplicaTarget};
use pool_registry_types::{PoolId, ReplicaId};
use tokio::time::Instant;

use crate::probe::ProbeScope;

/// The intervals and timeout of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two readings of its readiness.
    pub readiness: Duration,
    /// Between two readings of its load.
    pub load: Duration,
    /// Between two readings of its models, version and slots, once its models are known. Until then
    /// every probe reads them.
    pub models: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for Timing {
    /// * 2 s for readiness: three failures take six seconds. Probing llama-server more than once a
    ///   second can keep it from noticing closed connections.
    /// * 5 s for the load: a heartbeat carries it every ten seconds, and reading it delays
    ///   llama-server in noticing closed connections.
    /// * 30 s for models: they change when an operator changes them.
    /// * 1 s for an answer: none of these requests waits for a token.
    fn default() -> Self {
        Self {
            readiness: Duration::from_secs(2),
            load: Duration::from_secs(5),
            models: Duration::from_secs(30),
            timeout: Duration::from_secs(1),
        }
    }
}

/// The jitter of intervals, so that engines that appeared together drift apart.
const JITTER: f64 = 0.1;

fn jittered(interval: Duration, drift: f64) -> Duration {
    interval.mul_f64(1.0 + JITTER * drift.clamp(-1.0, 1.0))
}

type Key = (PoolId, ReplicaId);

#[derive(Debug)]
struct Entry {
    target: ReplicaTarget,
    next: Instant,
    models_due: Instant,
    load_due: Instant,
    /// The scope of the running probe.
    running: Option<ProbeScope>,
}

/// One probe to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) target: ReplicaTarget,
    pub(crate) scope: ProbeScope,
}

/// When each replica is probed next.
#[derive(Debug)]
pub(crate) struct Schedule {
    timing: Timing,
    entries: BTreeMap<Key, Entry>,
}

fn key(target: &ReplicaTarget) -> Key {
    (target.pool_id.clone(), target.replica_id.clone())
}

/// Whether both have the same generation and handoff of a replica.
fn is_same(a: &ReplicaTarget, b: &ReplicaTarget) -> bool {
    (a.generation, a.revision) == (b.generation, b.revision)
}

impl Schedule {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            entries: BTreeMap::new(),
        }
    }

    /// Applies the current replicas. A new one, or one with a new handoff, is due at once.
    pub(crate) fn sync(&mut self, targets: &[ReplicaTarget], now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        self.entries = targets
            .iter()
            .map(|target| {
                let key = key(target);
                let kept = before
                    .remove(&key)
                    .filter(|entry| is_same(&entry.target, target));
                let entry = kept.unwrap_or_else(|| Entry {
                    target: target.clone(),
                    next: now,
                    models_due: now,
                    load_due: now,
                    running: None,
                });
                (key, entry)
            })
            .collect();
    }

    /// Starts at most `most` probes that are due, the longest overdue first.
    pub(crate) fn take_due(&mut self, most: usize, now: Instant) -> Vec<Job> {
        let is_due = |entry: &Entry| entry.running.is_none() && entry.next <= now;
        let mut due: Vec<&mut Entry> = self
            .entries
            .values_mut()
            .filter(|entry| is_due(entry))
            .collect();
        due.sort_by_key(|entry| entry.next);
        due.into_iter()
            .take(most)
            .map(|entry| {
                let is_due = entry.models_due <= now;
                let scope = ProbeScope {
                    models: is_due && !entry.target.declares_models,
                    traits: is_due,
                    load: entry.load_due <= now,
                };
                entry.running = Some(scope);
                Job {
                    target: entry.target.clone(),
                    scope,
                }
            })
            .collect()
    }

    /// A probe has ended; `drift` in -1..=1 moves the next one within its jitter.
    pub(crate) fn finished(
        &mut self,
        target: &ReplicaTarget,
        outcome: &ProbeOutcome,
        now: Instant,
        drift: f64,
    ) {
        let entry = self.entries.get_mut(&key(target));
        let Some(entry) = entry.filter(|entry| is_same(&entry.target, target)) else {
            return;
        };
        let asked = entry.running.take().unwrap_or_default();
        entry.next = now + jittered(self.timing.readiness, drift);
        if !outcome.ready {
            // Another engine may answer next time.
            entry.models_due = now;
        } else if asked.traits && (outcome.models.is_some() || !asked.models) {
            entry.models_due = now + self.timing.models;
        }
        if outcome.load.is_some() {
            entry.load_due = now + self.timing.load;
        }
    }

    /// A probe could not be made. It is retried after the readiness interval, with the same scope.
    pub(crate) fn not_asked(&mut self, target: &ReplicaTarget, now: Instant, drift: f64) {
        let entry = self.entries.get_mut(&key(target));
        if let Some(entry) = entry.filter(|entry| is_same(&entry.target, target)) {
            entry.running = None;
            entry.next = now + jittered(self.timing.readiness, drift);
        }
    }

    /// When the next probe is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let idle = self
            .entries
            .values()
            .filter(|entry| entry.running.is_none());
        idle.map(|entry| entry.next).min()
    }
}
