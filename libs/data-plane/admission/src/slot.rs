//! How full one endpoint is: what we hold ourselves and what others hold.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use placement::Load;
use pool_registry_types::HttpUrl;
use routing_table::{Endpoint, Hop};

use crate::ejection::Health;

/// For how long load that is not ours is believed. Reports come every few seconds and load changes within
/// milliseconds: an old report must not keep an idle endpoint empty.
const FOREIGN_LOAD_TTL: Duration = Duration::from_secs(1);
/// The pause of an endpoint that said "busy", unless it reports before. It doubles each time that the endpoint says so
/// again before it has taken a request.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How often the pause doubles: to 2 s, so that a slot is found soon after it is free.
const BUSY_DOUBLINGS: u32 = 3;
/// The longest pause that an engine may ask for: as long as the longest quarantine.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause of a node. One of its engines asked for it, and others of the pool may be free.
const LONGEST_NODE_PAUSE: Duration = Duration::from_secs(2);
/// How much one service time counts against the mean so far.
const SERVICE_TIME_WEIGHT: f64 = 0.1;

/// The data path's knowledge of one life of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    /// The lives whose requests count here: the present one, and earlier ones of the same engine.
    lives: Vec<u64>,
    /// Where a direct endpoint's engine listens: the engine itself, whatever its handoff file goes through.
    engine: Option<HttpUrl>,
    report: u64,
    /// Requests of ours that hold a slot.
    pub(crate) own: u32,
    /// The most we held since the last report.
    own_peak: u32,
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
    pub(crate) fn new(endpoint: &Endpoint, now: Duration) -> Self {
        let mut slot = Self {
            lives: vec![endpoint.incarnation],
            engine: (endpoint.hop == Hop::Engine).then(|| endpoint.target.clone()),
            report: 0,
            own: 0,
            own_peak: 0,
            foreign: 0,
            foreign_until: Duration::ZERO,
            paused_until: Duration::ZERO,
            refusals: 0,
            total: endpoint.slots_total,
            service_secs: None,
            health: Health::default(),
        };
        slot.reported(endpoint, now);
        slot
    }

    /// Whether requests sent to that life of the endpoint are counted here.
    pub(crate) fn counts(&self, incarnation: u64) -> bool {
        self.lives.contains(&incarnation)
    }

    /// What becomes of the slot when `endpoint` is what the table says now.
    ///
    /// A new life of a node has none of the old one's connections and deserves none of its mistrust. An engine whose
    /// handoff was written anew is still the same process, and still busy with what it was sent before.
    pub(crate) fn carry_over(mut self, endpoint: &Endpoint, now: Duration) -> Self {
        if self.lives.last() == Some(&endpoint.incarnation) {
            self.reported(endpoint, now);
            return self;
        }
        let mut fresh = Self::new(endpoint, now);
        if self.own > 0 && fresh.engine.is_some() && fresh.engine == self.engine {
            fresh.own = self.own;
            fresh.own_peak = self.own;
            fresh.lives = self.lives;
            fresh.lives.push(endpoint.incarnation);
        }
        fresh
    }

    /// Takes in what the endpoint last reported, once.
    pub(crate) fn reported(&mut self, endpoint: &Endpoint, now: Duration) {
        self.total = endpoint.slots_total;
        if self.report == endpoint.report {
            return;
        }
        self.report = endpoint.report;
        let busy = endpoint.slots_total.saturating_sub(endpoint.slots_free);
        // The report may still count requests of ours that have ended meanwhile: compare with the most we held.
        self.believe(
            busy.saturating_sub(self.own_peak.max(self.own)),
            now,
            FOREIGN_LOAD_TTL,
        );
        self.own_peak = self.own;
    }

    /// Takes in the load an endpoint told with an answer to one of our requests, which is counted in `own`.
    pub(crate) fn observed(&mut self, free: u32, total: u32, now: Duration) {
        self.believe(
            total.saturating_sub(free).saturating_sub(self.own),
            now,
            FOREIGN_LOAD_TTL,
        );
    }

    /// It refused a request of ours, which is released already, for want of a slot. `pause`: it said for how long.
    pub(crate) fn refused(&mut self, endpoint: &Endpoint, pause: Option<Duration>, now: Duration) {
        let ttl = BUSY_PAUSE.saturating_mul(1 << self.refusals.min(BUSY_DOUBLINGS));
        self.refusals = self.refusals.saturating_add(1);
        self.believe(endpoint.slots_total.saturating_sub(self.own), now, ttl);
        let longest = match endpoint.hop {
            Hop::Engine => LONGEST_ASKED_PAUSE,
            Hop::Node => LONGEST_NODE_PAUSE,
        };
        if let Some(pause) = pause {
            self.paused_until = self.paused_until.max(now.saturating_add(pause.min(longest)));
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

    /// A request of ours goes there; true when it is the probe after a quarantine.
    pub(crate) fn claim(&mut self, now: Duration) -> Option<u64> {
        self.own = self.own.saturating_add(1);
        self.own_peak = self.own_peak.max(self.own);
        self.health.sent(now)
    }

    /// A request of ours ended after `held`.
    pub(crate) fn release(&mut self, held: Option<Duration>) {
        self.own = self.own.saturating_sub(1);
        if let Some(held) = held {
            let held = held.as_secs_f64();
            self.service_secs = Some(
                self.service_secs
                    .map_or(held, |mean| mean + SERVICE_TIME_WEIGHT * (held - mean)),
            );
        }
    }

    /// Slots that are not ours to use, as far as is known. In a pause that is every one that we do not hold.
    pub(crate) fn foreign(&self, now: Duration) -> u32 {
        if now < self.paused_until {
            self.total.saturating_sub(self.own)
        } else if now < self.foreign_until {
            self.foreign
        } else {
            0
        }
    }

    pub(crate) fn load(&self, now: Duration) -> Load {
        Load {
            used: self.own.saturating_add(self.foreign(now)),
            quarantined: !self.health.admits(now),
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
