//! The schedule of probes. No I/O, no clock.
//!
//! A probe of a dead node takes the whole timeout, so many of them would delay the others. Nodes
//! are therefore probed in lanes, each with its own bound of running probes:
//!
//! * [`Lane::Answering`]: the node answers, and at most its last probe failed. It is probed every
//!   interval. Only nodes of this lane take its places.
//! * [`Lane::Doubtful`]: the node has not answered yet, or has failed twice in a row. Its pause
//!   grows a little each time.
//! * [`Lane::Offline`]: the node was silent for the timeout. Its pause grows much each time, and
//!   few of these run at once.
//!
//! All lanes together start a bounded number of probes per second. In a large fleet the interval of
//! answering nodes grows, so that they leave a part of these probes to the other lanes. Each lane
//! has its share when all are busy; the others use what a lane does not need.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use pool_registry_types::{HttpUrl, NodeId};
use service_registry::{PROBES_TO_UNREACHABLE, ProbeTarget};
use tokio::time::Instant;

use crate::ProberConfig;

mod rate;

use rate::Rate;

/// The share of all probes for answering nodes, in percent.
const ANSWERING_PERCENT: u32 = 80;

/// The jitter of an interval, which spreads the probes of nodes that joined together.
const JITTER: f64 = 0.1;

/// The jitter of a backoff. It is larger, because nodes are more often lost together than they join
/// together.
const BACKOFF_JITTER: f64 = 0.25;

/// The longest pause between two probes of a doubtful node. It bounds the time until the node is
/// used again.
const DOUBTFUL_CAP: Duration = Duration::from_secs(2);

/// The longest pause between two probes of an offline node. A node that returns registers or
/// reports, and is then probed at once.
const OFFLINE_CAP: Duration = Duration::from_secs(60);

/// The largest exponent of the backoff; above it every pause is at its cap.
const MAX_DOUBLINGS: u32 = 16;

/// A group of nodes with its own bound of running probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Answering,
    Doubtful,
    Offline,
}

impl Lane {
    /// By priority, when several lanes are next.
    const ALL: [Self; 3] = [Self::Answering, Self::Doubtful, Self::Offline];

    /// The cost of one probe of this lane. When all lanes are busy, their shares are inversely
    /// proportional to it: 82 %, 14 % and 4 %.
    fn cost(self) -> u64 {
        match self {
            Self::Answering => 1,
            Self::Doubtful => 6,
            Self::Offline => 20,
        }
    }
}

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Answered,
    Failed,
    /// This process could not send it, so nothing is known about the node.
    NotSent,
}

/// One probe to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) node_id: NodeId,
    pub(crate) address: Arc<HttpUrl>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) lane: Lane,
    /// The generation of the entry: a node may leave and join again meanwhile.
    generation: u64,
    began: Instant,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    target: ProbeTarget,
    answered: bool,
    /// Failures in a row.
    failures: u32,
    /// Probes since it is offline.
    probes_offline: u32,
    /// When its next probe is due; `None` while a probe runs.
    due: Option<Instant>,
}

impl Entry {
    fn lane(&self) -> Lane {
        if self.target.offline {
            Lane::Offline
        } else if self.answered && self.failures < PROBES_TO_UNREACHABLE {
            Lane::Answering
        } else {
            Lane::Doubtful
        }
    }

    /// Whether it counts as answering for the interval. Restored nodes count, because they are
    /// expected to answer their first probe.
    fn is_expected_to_answer(&self) -> bool {
        match self.lane() {
            Lane::Answering => true,
            Lane::Doubtful => self.failures == 0,
            Lane::Offline => false,
        }
    }

    /// The time from the start of one probe to the next. `drift` in -1..=1 moves it within the
    /// jitter. `stretched` is the interval of answering nodes in a fleet of this size. After a
    /// first failure the plain interval holds, because the second failure counts.
    fn pause(&self, interval: Duration, stretched: Duration, drift: f64) -> Duration {
        let drift = drift.clamp(-1.0, 1.0);
        let backoff = |doublings: u32, cap: Duration| {
            let pause = interval.saturating_mul(1 << doublings.min(MAX_DOUBLINGS));
            // A cap below the interval would probe lost nodes more often than others.
            pause
                .min(cap.max(interval))
                .mul_f64(1.0 + BACKOFF_JITTER * drift)
        };
        match self.lane() {
            Lane::Answering if self.failures == 0 => stretched.mul_f64(1.0 + JITTER * drift),
            Lane::Answering => interval.mul_f64(1.0 + JITTER * drift),
            Lane::Doubtful => backoff(
                self.failures.saturating_sub(PROBES_TO_UNREACHABLE),
                DOUBTFUL_CAP,
            ),
            Lane::Offline => backoff(self.probes_offline, OFFLINE_CAP),
        }
    }
}

/// The probes of one lane.
#[derive(Debug, Default)]
struct Queue {
    /// By due time.
    due: BTreeSet<(Instant, NodeId)>,
    running: usize,
    at_once: usize,
    /// The cost of its probes so far. The lane with the least is next.
    served: u64,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.running < self.at_once
    }

    /// When its next probe is due, if another one may run.
    fn next(&self) -> Option<Instant> {
        self.due
            .first()
            .filter(|_| self.has_room())
            .map(|(at, _)| *at)
    }
}

/// The schedule of all probes.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    per_second: u32,
    rate: Rate,
    nodes: HashMap<NodeId, Entry>,
    /// The number of nodes that answer or are expected to.
    answering: usize,
    lanes: [Queue; 3],
    /// The cost of the last served lane, before that probe.
    served: u64,
    generations: u64,
}

impl Schedule {
    pub(crate) fn new(config: &ProberConfig, now: Instant) -> Self {
        let queue = |at_once: usize| Queue {
            at_once: at_once.max(1),
            ..Queue::default()
        };
        let per_second = config.per_second.max(1);
        Self {
            interval: config.interval,
            per_second,
            rate: Rate::new(
                per_second,
                config.at_once.saturating_add(config.offline_at_once),
                now,
            ),
            nodes: HashMap::new(),
            answering: 0,
            lanes: [config.at_once, config.at_once, config.offline_at_once].map(queue),
            served: 0,
            generations: 0,
        }
    }

    /// Sets the target of a node; `None` removes it. A node that is new, has another address, or is
    /// no longer offline is due at once.
    pub(crate) fn update(&mut self, node_id: NodeId, target: Option<ProbeTarget>, now: Instant) {
        let known = self.remove(&node_id);
        let Some(target) = target else { return };
        let same = |entry: &Entry| {
            (&entry.target.address, entry.target.incarnation)
                == (&target.address, target.incarnation)
        };
        let (entry, due) = match known {
            Some((entry, due)) if same(&entry) && entry.target.offline == target.offline => {
                (entry, due)
            }
            // It keeps its due time in the other lane.
            Some((mut entry, due)) if same(&entry) && target.offline => {
                entry.target = target;
                entry.probes_offline = 0;
                (entry, due)
            }
            _ => {
                self.generations += 1;
                let entry = Entry {
                    generation: self.generations,
                    target,
                    answered: false,
                    failures: 0,
                    probes_offline: 0,
                    due: None,
                };
                (entry, Some(now))
            }
        };
        self.insert(node_id, entry, due);
    }

    /// The probes to send now. They count as running until [`finished`](Self::finished).
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        while self.rate.allows_at() <= now
            && let Some(lane) = self.next_lane(now)
        {
            let queue = &mut self.lanes[lane as usize];
            let Some((_, node_id)) = queue.due.pop_first() else {
                break;
            };
            // An idle lane saves no credit.
            self.served = queue.served.max(self.served);
            queue.served = self.served.saturating_add(lane.cost());
            queue.running += 1;
            self.rate.take(now);
            let Some(entry) = self.nodes.get_mut(&node_id) else {
                continue;
            };
            entry.due = None;
            jobs.push(Job {
                address: Arc::clone(&entry.target.address),
                incarnation: entry.target.incarnation,
                generation: entry.generation,
                lane,
                began: now,
                node_id,
            });
        }
        jobs
    }

    /// The next lane: the least served one of those with a due probe that may run.
    fn next_lane(&self, now: Instant) -> Option<Lane> {
        let ready = |lane: &Lane| {
            self.lanes[*lane as usize]
                .next()
                .is_some_and(|due| due <= now)
        };
        let lanes = Lane::ALL.into_iter().filter(ready);
        lanes.min_by_key(|lane| self.lanes[*lane as usize].served.max(self.served))
    }

    /// Finishes a probe. `drift` in -1..=1 moves the next one within its jitter.
    pub(crate) fn finished(&mut self, job: &Job, found: ProbeResult, now: Instant, drift: f64) {
        let queue = &mut self.lanes[job.lane as usize];
        queue.running = queue.running.saturating_sub(1);
        let is_current = |entry: &&Entry| entry.generation == job.generation;
        if self.nodes.get(&job.node_id).filter(is_current).is_none() {
            return;
        }
        let Some((mut entry, _)) = self.remove(&job.node_id) else {
            return;
        };
        match found {
            ProbeResult::Answered => {
                entry.answered = true;
                entry.failures = 0;
            }
            ProbeResult::Failed => entry.failures = entry.failures.saturating_add(1),
            ProbeResult::NotSent => {}
        }
        if entry.target.offline && found != ProbeResult::NotSent {
            entry.probes_offline = entry.probes_offline.saturating_add(1);
        }
        let pause = entry.pause(self.interval, self.stretched(), drift);
        self.insert(
            job.node_id.clone(),
            entry,
            Some((job.began + pause).max(now)),
        );
    }

    /// The interval of answering nodes: the configured one, or a longer one that leaves the other
    /// lanes their share.
    fn stretched(&self) -> Duration {
        let answering = u32::try_from(self.answering).unwrap_or(u32::MAX);
        let for_answering = f64::from(self.per_second) * f64::from(ANSWERING_PERCENT) / 100.0;
        // The jitter makes some rounds shorter; on average it cancels out.
        self.interval.max(Duration::from_secs_f64(
            f64::from(answering) / for_answering,
        ))
    }

    /// When the next probe is due that may run.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.lanes.iter().filter_map(Queue::next).min()?;
        Some(due.max(self.rate.allows_at()))
    }

    fn insert(&mut self, node_id: NodeId, mut entry: Entry, due: Option<Instant>) {
        let lane = entry.lane() as usize;
        entry.due = due;
        if let Some(due) = due {
            self.lanes[lane].due.insert((due, node_id.clone()));
        }
        self.answering += usize::from(entry.is_expected_to_answer());
        self.nodes.insert(node_id, entry);
    }

    /// Removes a node. Returns also its due time, which is `None` while a probe runs.
    fn remove(&mut self, node_id: &NodeId) -> Option<(Entry, Option<Instant>)> {
        let mut entry = self.nodes.remove(node_id)?;
        let lane = entry.lane() as usize;
        let due = entry.due.take();
        if let Some(due) = due {
            self.lanes[lane].due.remove(&(due, node_id.clone()));
        }
        self.answering -= usize::from(entry.is_expected_to_answer());
        Some((entry, due))
    }
}

#[cfg(test)]
mod tests;
