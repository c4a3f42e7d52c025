//! Who is asked what, and when. No I/O, no clock.

use std::{collections::BTreeMap, time::Duration};

use pool_registry::{ProbeOutcome, ReplicaTarget};
use pool_registry_types::{PoolId, ReplicaId};
use tokio::time::Instant;

use crate::probe::ProbeScope;

/// How often and how long engines are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two questions whether an engine takes requests.
    pub readiness: Duration,
    /// Between two questions what it does.
    pub load: Duration,
    /// Between two questions for its models, version and slots, once its models are known; until
    /// then they are part of every probe.
    pub models: Duration,
    /// How long an engine has for one answer.
    pub timeout: Duration,
}

impl Default for Timing {
    /// * 2 s: three failures distrust an engine after six. Asking llama-server more often than once
    ///   a second can keep it from noticing that clients have gone.
    /// * 5 s for the load: a heartbeat carries it every ten, and to be asked for it keeps
    ///   llama-server from noticing within the same second that clients have gone.
    /// * 30 s for models: they change when an operator changes them.
    /// * 1 s for an answer: none of these questions waits for a token.
    fn default() -> Self {
        Self {
            readiness: Duration::from_secs(2),
            load: Duration::from_secs(5),
            models: Duration::from_secs(30),
            timeout: Duration::from_secs(1),
        }
    }
}

/// Probes of engines that appeared together drift apart by this part of the interval, up or down.
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
    /// What it is being asked.
    running: Option<ProbeScope>,
}

/// One probe to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) target: ReplicaTarget,
    pub(crate) ask: ProbeScope,
}

/// When each replica is asked next.
#[derive(Debug)]
pub(crate) struct Schedule {
    timing: Timing,
    entries: BTreeMap<Key, Entry>,
}

fn key(target: &ReplicaTarget) -> Key {
    (target.pool_id.clone(), target.replica_id.clone())
}

/// Whether both are the same announcement of the same life of a replica.
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

    /// Takes in which replicas there are. A new one, or one announced anew, is due at once.
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

    /// At most `most` probes that are due, the longest overdue first; they count as running from
    /// now on.
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
                let ask = ProbeScope {
                    models: is_due && !entry.target.declares_models,
                    traits: is_due,
                    load: entry.load_due <= now,
                };
                entry.running = Some(ask);
                Job {
                    target: entry.target.clone(),
                    ask,
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
        if asked.traits && outcome.ready && (outcome.models.is_some() || !asked.models) {
            entry.models_due = now + self.timing.models;
        }
        if outcome.load.is_some() {
            entry.load_due = now + self.timing.load;
        }
    }

    /// A probe could not be made, which says nothing: it is tried again after the usual interval,
    /// with the same questions.
    pub(crate) fn not_asked(&mut self, target: &ReplicaTarget, now: Instant, drift: f64) {
        let entry = self.entries.get_mut(&key(target));
        if let Some(entry) = entry.filter(|entry| is_same(&entry.target, target)) {
            entry.running = None;
            entry.next = now + jittered(self.timing.readiness, drift);
        }
    }

    /// When the next probe is due that is not running.
    pub(crate) fn next(&self) -> Option<Instant> {
        let idle = self
            .entries
            .values()
            .filter(|entry| entry.running.is_none());
        idle.map(|entry| entry.next).min()
    }
}
