//! When each node is probed, and what it takes to be probed then. No I/O, no clock.
//!
//! A probe of a node that is gone takes as long as a probe may take, so many of them would hold up the others. Nodes are
//! therefore probed in lanes, each with its own bound on the probes under way:
//!
//! * [`Lane::Answering`]: the node answered, and at most its last probe failed. Probed every interval. Nothing but a node of
//!   this lane takes its places.
//! * [`Lane::Doubtful`]: it has not answered yet, or has failed twice in a row. A little later each time.
//! * [`Lane::Offline`]: it was silent for the timeout. Much later each time, and few at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pool_registry_types::{HttpUrl, NodeId, NodeStatus};
use service_registry::{NodeView, PROBES_TO_UNREACHABLE};
use tokio::time::Instant;

use crate::ProberConfig;

/// Nodes that joined together are not probed together for long: each round is up to a tenth shorter or longer.
const JITTER: f64 = 0.1;

/// The same of nodes that are waited for: they were lost together more often than they joined together.
const BACKOFF_JITTER: f64 = 0.25;

/// The longest pause between two probes of a node that is not offline and does not answer: when it does again, it should be
/// used again soon.
const DOUBTFUL_CAP: Duration = Duration::from_secs(2);

/// The longest pause between two probes of an offline node. One that comes back registers or reports, and is probed at
/// once then; so this only has to find one that is held up in that.
const OFFLINE_CAP: Duration = Duration::from_secs(60);

/// No exponent beyond this makes a difference below the caps.
const MAX_DOUBLINGS: u32 = 16;

/// Which bound a probe counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Answering,
    Doubtful,
    Offline,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Answering, Self::Doubtful, Self::Offline];
}

/// What a probe showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Answered,
    Failed,
    /// This process could not make it, which says nothing about the node.
    NotAsked,
}

/// One probe to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) node_id: NodeId,
    pub(crate) address: HttpUrl,
    pub(crate) incarnation: Option<u64>,
    pub(crate) lane: Lane,
    /// Which entry it is for: a node may leave and join again meanwhile.
    generation: u64,
    began: Instant,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    address: HttpUrl,
    incarnation: Option<u64>,
    offline: bool,
    answered: bool,
    /// In a row.
    failures: u32,
    /// How often it was probed since it is offline, whatever came of it.
    probes_offline: u32,
    /// When it is due; `None` while it is probed.
    due: Option<Instant>,
}

impl Entry {
    fn lane(&self) -> Lane {
        if self.offline {
            Lane::Offline
        } else if self.answered && self.failures < PROBES_TO_UNREACHABLE {
            Lane::Answering
        } else {
            Lane::Doubtful
        }
    }

    /// From the beginning of one probe to the next; `drift` in -1..=1 moves it within its jitter.
    fn pause(&self, interval: Duration, drift: f64) -> Duration {
        let drift = drift.clamp(-1.0, 1.0);
        let backoff = |doublings: u32, cap: Duration| {
            let pause = interval.saturating_mul(1 << doublings.min(MAX_DOUBLINGS));
            // A cap below the interval would probe the lost more often than the others.
            pause.min(cap.max(interval)).mul_f64(1.0 + BACKOFF_JITTER * drift)
        };
        match self.lane() {
            Lane::Answering => interval.mul_f64(1.0 + JITTER * drift),
            Lane::Doubtful => backoff(self.failures.saturating_sub(PROBES_TO_UNREACHABLE), DOUBTFUL_CAP),
            Lane::Offline => backoff(self.probes_offline, OFFLINE_CAP),
        }
    }
}

/// The probes of one lane.
#[derive(Debug, Default)]
struct Queue {
    /// The longest overdue first.
    due: BTreeSet<(Instant, NodeId)>,
    running: usize,
    at_once: usize,
}

/// When each node is probed next.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    nodes: BTreeMap<NodeId, Entry>,
    answering: Queue,
    doubtful: Queue,
    offline: Queue,
    generations: u64,
}

impl Schedule {
    pub(crate) fn new(config: &ProberConfig) -> Self {
        let queue = |at_once: usize| Queue {
            at_once: at_once.max(1),
            ..Queue::default()
        };
        Self {
            interval: config.interval,
            nodes: BTreeMap::new(),
            answering: queue(config.at_once),
            doubtful: queue(config.at_once),
            offline: queue(config.offline_at_once),
            generations: 0,
        }
    }

    /// Takes in which nodes there are. A new one, one that is new at its address and one that is offline no longer are
    /// due at once.
    pub(crate) fn sync(&mut self, nodes: &[NodeView], now: Instant) {
        let mut gone = std::mem::take(&mut self.nodes);
        for node in nodes {
            let offline = node.status == NodeStatus::Offline;
            let known = gone.remove(&node.node_id);
            let same = |entry: &Entry| entry.address == node.address && entry.incarnation == node.incarnation;
            let entry = match known {
                Some(entry) if same(&entry) && entry.offline == offline => entry,
                Some(mut entry) if same(&entry) && offline => {
                    // It waits its turn in the other lane.
                    let due = self.unqueue(&node.node_id, &mut entry);
                    entry.offline = true;
                    entry.probes_offline = 0;
                    self.queue(&node.node_id, &mut entry, due);
                    entry
                }
                known => {
                    if let Some(mut entry) = known {
                        self.unqueue(&node.node_id, &mut entry);
                    }
                    self.generations += 1;
                    let mut entry = Entry {
                        generation: self.generations,
                        address: node.address.clone(),
                        incarnation: node.incarnation,
                        offline,
                        answered: false,
                        failures: 0,
                        probes_offline: 0,
                        due: None,
                    };
                    self.queue(&node.node_id, &mut entry, Some(now));
                    entry
                }
            };
            self.nodes.insert(node.node_id.clone(), entry);
        }
        for (node_id, mut entry) in gone {
            self.unqueue(&node_id, &mut entry);
        }
    }

    /// The probes to be made now; they count as running until [`finished`](Self::finished).
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        for lane in Lane::ALL {
            let queue = self.lane(lane);
            let mut taken = Vec::new();
            while queue.running < queue.at_once
                && let Some(first) = queue.due.first()
                && first.0 <= now
                && let Some((_, node_id)) = queue.due.pop_first()
            {
                queue.running += 1;
                taken.push(node_id);
            }
            for node_id in taken {
                let Some(entry) = self.nodes.get_mut(&node_id) else {
                    continue;
                };
                entry.due = None;
                jobs.push(Job {
                    address: entry.address.clone(),
                    incarnation: entry.incarnation,
                    generation: entry.generation,
                    lane,
                    began: now,
                    node_id,
                });
            }
        }
        jobs
    }

    /// A probe has ended; `drift` in -1..=1 moves the next one within its jitter.
    pub(crate) fn finished(&mut self, job: &Job, found: Found, now: Instant, drift: f64) {
        let queue = self.lane(job.lane);
        queue.running = queue.running.saturating_sub(1);
        let Some(mut entry) = self.nodes.remove(&job.node_id) else {
            return;
        };
        if entry.generation == job.generation {
            match found {
                Found::Answered => {
                    entry.answered = true;
                    entry.failures = 0;
                }
                Found::Failed => entry.failures = entry.failures.saturating_add(1),
                Found::NotAsked => {}
            }
            if entry.offline && found != Found::NotAsked {
                entry.probes_offline = entry.probes_offline.saturating_add(1);
            }
            let due = (job.began + entry.pause(self.interval, drift)).max(now);
            self.queue(&job.node_id, &mut entry, Some(due));
        }
        self.nodes.insert(job.node_id.clone(), entry);
    }

    /// When the next probe is due for which there is room.
    pub(crate) fn next(&self) -> Option<Instant> {
        let queues = [&self.answering, &self.doubtful, &self.offline];
        let with_room = queues.into_iter().filter(|queue| queue.running < queue.at_once);
        with_room.filter_map(|queue| Some(queue.due.first()?.0)).min()
    }

    fn lane(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Answering => &mut self.answering,
            Lane::Doubtful => &mut self.doubtful,
            Lane::Offline => &mut self.offline,
        }
    }

    fn queue(&mut self, node_id: &NodeId, entry: &mut Entry, due: Option<Instant>) {
        entry.due = due;
        if let Some(due) = due {
            self.lane(entry.lane()).due.insert((due, node_id.clone()));
        }
    }

    /// Returns when it was due; `None` while it is probed.
    fn unqueue(&mut self, node_id: &NodeId, entry: &mut Entry) -> Option<Instant> {
        let due = entry.due.take()?;
        self.lane(entry.lane()).due.remove(&(due, node_id.clone()));
        Some(due)
    }
}

#[cfg(test)]
mod tests;
