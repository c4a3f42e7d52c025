//! How full one endpoint is: what we hold ourselves and what others hold.

use std::time::Duration;

use placement::Load;
use routing_table::Endpoint;

use crate::ejection::Health;

/// For how long load that is not ours is believed. Reports come every few seconds and load changes within
/// milliseconds: an old report must not keep an idle endpoint empty.
const FOREIGN_LOAD_TTL: Duration = Duration::from_secs(1);
/// For how long an endpoint that said "busy" is left alone, unless it reports before.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How much one service time counts against the mean so far.
const SERVICE_TIME_WEIGHT: f64 = 0.1;

/// The data path's knowledge of one life of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) incarnation: u64,
    report: u64,
    /// Requests of ours that hold a slot.
    pub(crate) own: u32,
    /// The most we held since the last report.
    own_peak: u32,
    /// Slots that others hold, believed until `foreign_until`.
    foreign: u32,
    foreign_until: Duration,
    /// Mean time a request holds a slot, in seconds; `None` before the first.
    pub(crate) service_secs: Option<f64>,
    pub(crate) health: Health,
}

impl Slot {
    pub(crate) fn new(endpoint: &Endpoint, now: Duration) -> Self {
        let mut slot = Self {
            incarnation: endpoint.incarnation,
            report: 0,
            own: 0,
            own_peak: 0,
            foreign: 0,
            foreign_until: Duration::ZERO,
            service_secs: None,
            health: Health::default(),
        };
        slot.reported(endpoint, now);
        slot
    }

    /// Takes in what the endpoint last reported, once.
    pub(crate) fn reported(&mut self, endpoint: &Endpoint, now: Duration) {
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

    /// It refused a request of ours for want of a slot.
    pub(crate) fn refused(&mut self, slots_total: u32, now: Duration) {
        self.believe(
            slots_total.saturating_sub(self.own.saturating_sub(1)),
            now,
            BUSY_PAUSE,
        );
    }

    fn believe(&mut self, foreign: u32, now: Duration, ttl: Duration) {
        self.foreign = foreign;
        self.foreign_until = if foreign == 0 { Duration::ZERO } else { now + ttl };
    }

    pub(crate) fn claim(&mut self) {
        self.own += 1;
        self.own_peak = self.own_peak.max(self.own);
        self.health.sent();
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

    pub(crate) fn foreign(&self, now: Duration) -> u32 {
        if now < self.foreign_until { self.foreign } else { 0 }
    }

    pub(crate) fn load(&self, now: Duration) -> Load {
        Load {
            used: self.own.saturating_add(self.foreign(now)),
            quarantined: !self.health.admits(now),
        }
    }

    /// When time alone will change its load; `None` when nothing is pending.
    pub(crate) fn changes_at(&self, now: Duration) -> Option<Duration> {
        let foreign = Some(self.foreign_until).filter(|until| *until > now);
        let health = self.health.quarantined_until().filter(|until| *until > now);
        foreign.into_iter().chain(health).min()
    }
}
