//! When each node is probed, and what it takes to be probed then. No I/O, no clock.
//!
//! A probe of a node that is gone takes as long as a probe may take, so many of them would hold up
//! the others. Nodes are therefore probed in lanes, each with its own bound on the probes under
//! way:
//!
//! * [`Lane::Answering`]: the node answered, and at most its last probe failed. Probed every
//!   interval. Nothing but a node of this lane takes its places.
//! * [`Lane::Doubtful`]: it has not answered yet, or has failed twice in a row. A little later each
//!   time.
//! * [`Lane::Offline`]: it was silent for the timeout. Much later each time, and few at once.
//!
//! All lanes together begin no more than a bounded number of probes per second. Nodes that answer
//! are probed so much more seldom in a large fleet that they leave a part of that to the others;
//! each lane has its share when all have more to do, and what one does not need is there for the
//! rest.

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

/// The part of all probes that nodes that answer get by themselves, in percent.
const ANSWERING_PERCENT: u32 = 80;

/// Nodes that joined together are not probed together for long: each round is up to a tenth shorter
/// or longer.
const JITTER: f64 = 0.1;

/// The same of nodes that are waited for: they were lost together more often than they joined
/// together.
const BACKOFF_JITTER: f64 = 0.25;

/// The longest pause between two probes of a node that is not offline and does not answer: when it
/// does again, it should be used again soon.
const DOUBTFUL_CAP: Duration = Duration::from_secs(2);

/// The longest pause between two probes of an offline node. One that comes back registers or
/// reports, and is probed at once then; so this only has to find one that is held up in that.
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
    /// In the order in which they are served when it is the turn of several.
    const ALL: [Self; 3] = [Self::Answering, Self::Doubtful, Self::Offline];

    /// What one of its probes costs. When all lanes have more to do than there are probes, each
    /// gets a part in inverse proportion: 82, 14 and 4 in a hundred.
    fn cost(self) -> u64 {
        match self {
            Self::Answering => 1,
            Self::Doubtful => 6,
            Self::Offline => 20,
        }
    }
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
    pub(crate) address: Arc<HttpUrl>,
    pub(crate) incarnation: Option<u64>,
    pub(crate) lane: Lane,
    /// Which entry it is for: a node may leave and join again meanwhile.
    generation: u64,
    began: Instant,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    target: ProbeTarget,
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
        if self.target.offline {
            Lane::Offline
        } else if self.answered && self.failures < PROBES_TO_UNREACHABLE {
            Lane::Answering
        } else {
            Lane::Doubtful
        }
    }

    /// Nodes that are known from before are probed once, one after the other, before those that
    /// have answered are probed again: these are counted together.
    fn is_expected_to_answer(&self) -> bool {
        match self.lane() {
            Lane::Answering => true,
            Lane::Doubtful => self.failures == 0,
            Lane::Offline => false,
        }
    }

    /// From the beginning of one probe to the next; `drift` in -1..=1 moves it within its jitter.
    /// `stretched` is the interval of nodes that answer in a fleet of this size. One that has
    /// just failed is probed again without that: the second failure is what counts.
    fn pause(&self, interval: Duration, stretched: Duration, drift: f64) -> Duration {
        let drift = drift.clamp(-1.0, 1.0);
        let backoff = |doublings: u32, cap: Duration| {
            let pause = interval.saturating_mul(1 << doublings.min(MAX_DOUBLINGS));
            // A cap below the interval would probe the lost more often than the others.
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
    /// The longest overdue first.
    due: BTreeSet<(Instant, NodeId)>,
    running: usize,
    at_once: usize,
    /// What its probes have cost: the lane that has had least is next.
    served: u64,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.running < self.at_once
    }

    /// When its next probe is due, if there is room for it.
    fn next(&self) -> Option<Instant> {
        self.due
            .first()
            .filter(|_| self.has_room())
            .map(|(at, _)| *at)
    }
}

/// When each node is probed next.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    per_second: u32,
    rate: Rate,
    nodes: HashMap<NodeId, Entry>,
    /// How many nodes answer, or have not been asked yet and are expected to.
    answering: usize,
    lanes: [Queue; 3],
    /// What the lane served last had had before.
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

    /// Takes in how a node is to be probed from now on; `None` when it is gone. A new one, one that
    /// is new at its address and one that is offline no longer are due at once.
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
            // It waits its turn in the other lane.
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

    /// The probes to be made now; they count as running until [`finished`](Self::finished).
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        while self.rate.allows_at() <= now
            && let Some(lane) = self.next_lane(now)
        {
            let queue = &mut self.lanes[lane as usize];
            let Some((_, node_id)) = queue.due.pop_first() else {
                break;
            };
            // A lane that had nothing to do does not save that up.
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

    /// Of the lanes with a probe that is due and room for it, the one that has had least.
    fn next_lane(&self, now: Instant) -> Option<Lane> {
        let ready = |lane: &Lane| {
            self.lanes[*lane as usize]
                .next()
                .is_some_and(|due| due <= now)
        };
        let lanes = Lane::ALL.into_iter().filter(ready);
        lanes.min_by_key(|lane| self.lanes[*lane as usize].served.max(self.served))
    }

    /// A probe has ended; `drift` in -1..=1 moves the next one within its jitter.
    pub(crate) fn finished(&mut self, job: &Job, found: Found, now: Instant, drift: f64) {
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
            Found::Answered => {
                entry.answered = true;
                entry.failures = 0;
            }
            Found::Failed => entry.failures = entry.failures.saturating_add(1),
            Found::NotAsked => {}
        }
        if entry.target.offline && found != Found::NotAsked {
            entry.probes_offline = entry.probes_offline.saturating_add(1);
        }
        let pause = entry.pause(self.interval, self.stretched(), drift);
        self.insert(
            job.node_id.clone(),
            entry,
            Some((job.began + pause).max(now)),
        );
    }

    /// The interval of nodes that answer: as configured, or so long that they leave the others
    /// their part.
    fn stretched(&self) -> Duration {
        let answering = u32::try_from(self.answering).unwrap_or(u32::MAX);
        let for_them = f64::from(self.per_second) * f64::from(ANSWERING_PERCENT) / 100.0;
        // The jitter makes some rounds shorter; on average it cancels out.
        self.interval
            .max(Duration::from_secs_f64(f64::from(answering) / for_them))
    }

    /// When the next probe is due for which there is room.
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

    /// Takes the node out; returns also when it was due, `None` while it is probed.
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
