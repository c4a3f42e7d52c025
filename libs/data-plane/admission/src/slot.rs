//! How full one endpoint is: what we hold ourselves and what others hold.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use placement::Load;
use routing_table::{Endpoint, Report};

use crate::ejection::Health;

/// For how long load that is not ours is believed. Reports come every few seconds and load changes
/// within milliseconds: an old report must not keep an idle endpoint empty.
const FOREIGN_LOAD_TTL: Duration = Duration::from_secs(1);
/// For how long a request of ours that has ended may still be counted in what an answer tells of
/// its endpoint: an answer is that long on its way, at the most. Otherwise our own requests that
/// end together would be taken for those of others.
const ANSWER_DELAY: Duration = Duration::from_millis(100);
/// The pause of an endpoint that said "busy", unless it reports before. It doubles each time that
/// the endpoint says so again before it has taken a request.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How often the pause doubles: to 2 s, so that a slot is found soon after it is free.
const BUSY_DOUBLINGS: u32 = 3;
/// The longest pause that an engine may ask for: as long as the longest quarantine.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause of a whole pool. One of its engines asked for it, and others may be free.
const LONGEST_POOL_PAUSE: Duration = Duration::from_secs(2);
/// How much one service time counts against the mean so far.
const SERVICE_TIME_WEIGHT: f64 = 0.1;

/// The data path's knowledge of one incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    incarnation: u64,
    generation: u64,
    /// The number of the last report.
    report: u64,
    /// It is one engine, and not a pool of them.
    is_replica: bool,
    /// Requests of ours that hold a slot.
    pub(crate) own: u32,
    /// The most we held since the last report.
    own_peak: u32,
    /// The most we held lately, until `lately`.
    own_before: u32,
    lately: Duration,
    /// Slots that others hold, believed until `foreign_until`.
    foreign: u32,
    foreign_until: Duration,
    /// It asked to be left alone until then; its reports do not change that.
    paused_until: Duration,
    /// How often in a row it has said that it is busy.
    refusals: u32,
    total: u32,
    /// Mean time a request holds a slot, in seconds; `None` before the first.
    pub(crate) service_secs: Option<f64>,
    pub(crate) health: Health,
}

impl Slot {
    pub(crate) fn new(endpoint: &Endpoint, report: &Report, now: Duration) -> Self {
        let mut slot = Self {
            incarnation: endpoint.incarnation(),
            generation: endpoint.generation(),
            // Another one than the first, which is taken in below.
            report: !report.number,
            is_replica: endpoint.key().replica.is_some(),
            own: 0,
            own_peak: 0,
            own_before: 0,
            lately: Duration::ZERO,
            foreign: 0,
            foreign_until: Duration::ZERO,
            paused_until: Duration::ZERO,
            refusals: 0,
            total: report.slots_total,
            service_secs: None,
            health: Health::default(),
        };
        slot.reported(report, now);
        slot
    }

    /// Whether requests sent to that incarnation of the endpoint are counted here.
    pub(crate) fn counts(&self, endpoint: &Endpoint) -> bool {
        self.incarnation == endpoint.incarnation()
    }

    /// Whether what such a request shows is about the engine that runs now.
    pub(crate) fn is_judged_by(&self, endpoint: &Endpoint) -> bool {
        self.counts(endpoint) && self.generation == endpoint.generation()
    }

    /// What becomes of the slot when `endpoint` is what the table says now.
    ///
    /// A new incarnation of a node has none of the old one's connections and starts with a closed
    /// breaker. A new generation of an engine does, too, but the node still looks after the
    /// requests that it was sent before.
    pub(crate) fn carry_over(&mut self, endpoint: &Endpoint, report: &Report, now: Duration) {
        if !self.counts(endpoint) {
            *self = Self::new(endpoint, report, now);
            return;
        }
        if self.generation != endpoint.generation() {
            self.generation = endpoint.generation();
            self.health = Health::default();
            self.paused_until = Duration::ZERO;
            self.refusals = 0;
        }
        self.reported(report, now);
    }

    /// Takes in what the endpoint last reported, once.
    fn reported(&mut self, report: &Report, now: Duration) {
        self.total = report.slots_total;
        if self.report == report.number {
            return;
        }
        self.report = report.number;
        // What takes no new requests reports no free slot, and that says nothing of the requests
        // that run there.
        let busy = if report.state.is_routable() {
            report.slots_total.saturating_sub(report.slots_free)
        } else {
            0
        };
        // The report may still count requests of ours that have ended meanwhile: compare with the
        // most we held.
        self.believe(
            busy.saturating_sub(self.own_peak.max(self.own)),
            now,
            FOREIGN_LOAD_TTL,
        );
        self.own_peak = self.own;
    }

    /// Takes in the load an endpoint told with an answer to one of our requests, which is counted
    /// in `own`.
    pub(crate) fn observed(&mut self, free: u32, total: u32, now: Duration) {
        let ours = if now < self.lately {
            self.own.max(self.own_before)
        } else {
            self.own
        };
        let busy = total.saturating_sub(free);
        self.believe(busy.saturating_sub(ours), now, FOREIGN_LOAD_TTL);
    }

    /// It refused a request of ours, which is released already, for want of a slot. `pause`: it
    /// said for how long.
    pub(crate) fn refused(&mut self, pause: Option<Duration>, now: Duration) {
        let ttl = BUSY_PAUSE.saturating_mul(1 << self.refusals.min(BUSY_DOUBLINGS));
        self.refusals = self.refusals.saturating_add(1);
        self.believe(self.total.saturating_sub(self.own), now, ttl);
        let longest = if self.is_replica {
            LONGEST_ASKED_PAUSE
        } else {
            LONGEST_POOL_PAUSE
        };
        if let Some(pause) = pause {
            self.paused_until = self
                .paused_until
                .max(now.saturating_add(pause.min(longest)));
        }
    }

    /// It has taken a request.
    pub(crate) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// How much longer it is to be left alone.
    pub(crate) fn paused_for(&self, now: Duration) -> Duration {
        self.paused_until.saturating_sub(now)
    }

    fn believe(&mut self, foreign: u32, now: Duration, ttl: Duration) {
        self.foreign = foreign;
        self.foreign_until = if foreign == 0 {
            Duration::ZERO
        } else {
            now.saturating_add(ttl)
        };
    }

    /// A request of ours goes there; its number among the probes when it is the probe after a
    /// quarantine.
    pub(crate) fn claim(&mut self, now: Duration) -> Option<u64> {
        self.own = self.own.saturating_add(1);
        self.own_peak = self.own_peak.max(self.own);
        self.health.sent(now)
    }

    /// A request of ours ended after `held`.
    pub(crate) fn release(&mut self, held: Option<Duration>, now: Duration) {
        if now >= self.lately {
            self.own_before = self.own;
            self.lately = now.saturating_add(ANSWER_DELAY);
        }
        self.own = self.own.saturating_sub(1);
        if let Some(held) = held {
            let held = held.as_secs_f64();
            self.service_secs = Some(
                self.service_secs
                    .map_or(held, |mean| mean + SERVICE_TIME_WEIGHT * (held - mean)),
            );
        }
    }

    /// Slots that are not ours to use, as far as is known. In a pause that is every one that we do
    /// not hold.
    pub(crate) fn foreign(&self, now: Duration) -> u32 {
        if now < self.paused_until {
            self.total.saturating_sub(self.own)
        } else if now < self.foreign_until {
            self.foreign
        } else {
            0
        }
    }

    /// Its load, but for the conversations that it holds.
    pub(crate) fn load(&self, now: Duration) -> Load {
        Load {
            used: self.own.saturating_add(self.foreign(now)),
            quarantined: !self.health.admits(now),
            conversations: 0,
        }
    }

    /// When time alone will change its load; `None` when nothing is pending.
    pub(crate) fn changes_at(&self, now: Duration) -> Option<Duration> {
        [
            Some(self.foreign_until),
            Some(self.paused_until),
            self.health.admits_from(),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > now)
        .min()
    }
}
