//! The slots of one endpoint: those of this process's requests, and those that others use.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use placement::Load;
use routing_table::{Endpoint, EndpointReport};

use crate::circuit_breaker::CircuitBreaker;

/// How long reported load of others is trusted. Reports come every few seconds and load changes
/// within milliseconds, so an old report must not keep an idle endpoint empty.
const OTHERS_TTL: Duration = Duration::from_secs(1);
/// How long an ended request may still be counted in a response's slot figures: the longest time
/// that a response is on its way. Otherwise own requests that end together would be mistaken for
/// those of others.
const RESPONSE_DELAY: Duration = Duration::from_millis(100);
/// How long a busy endpoint counts as full, unless it reports before. It doubles with each refusal
/// until the endpoint accepts a request.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How often [`BUSY_PAUSE`] doubles: up to 2 s, so that a free slot is found soon.
const BUSY_DOUBLINGS: u32 = 3;
/// The longest pause that an engine may ask for: as long as the longest backoff of a breaker.
const LONGEST_ENGINE_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause of a whole pool. One of its engines may have asked for it, and others may have
/// free slots.
const LONGEST_POOL_PAUSE: Duration = Duration::from_secs(2);
/// The weight of a new service time in the moving average.
const SERVICE_TIME_WEIGHT: f64 = 0.1;

/// A time in which an endpoint counts as full, after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BusyPeriod {
    /// Ends at the endpoint's next report.
    full_for: Duration,
    /// The pause that it asked for. Reports do not end it.
    pause: Option<Duration>,
}

impl BusyPeriod {
    /// The same for a whole pool, whose pause is shorter.
    pub(crate) fn of_pool(self) -> Self {
        Self {
            pause: self.pause.map(|pause| pause.min(LONGEST_POOL_PAUSE)),
            ..self
        }
    }
}

/// The slots of one incarnation of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slots {
    incarnation: u64,
    generation: u64,
    /// The number of the last report.
    report_number: u64,
    /// The endpoint is one engine, and not a whole pool.
    is_replica: bool,
    /// The slots that requests of this process hold.
    pub(crate) in_flight: u32,
    /// The largest `in_flight` since the last report.
    peak_since_report: u32,
    /// The largest recent `in_flight`, valid until `recent_until`.
    recent_peak: u32,
    recent_until: Duration,
    /// The slots that others use, trusted until `others_until`.
    others: u32,
    others_until: Duration,
    /// The endpoint asked for a pause until then; its reports do not change that.
    paused_until: Duration,
    /// The number of refusals since it last accepted a request.
    refusals: u32,
    total: u32,
    /// The mean time that a request holds a slot, in seconds; `None` before the first one.
    pub(crate) service_secs: Option<f64>,
    pub(crate) breaker: CircuitBreaker,
}

impl Slots {
    pub(crate) fn new(endpoint: &Endpoint, report: &EndpointReport, now: Duration) -> Self {
        let mut slots = Self {
            incarnation: endpoint.incarnation(),
            generation: endpoint.generation(),
            // Differs from the first report's number, which is applied below.
            report_number: !report.number,
            is_replica: endpoint.key().replica.is_some(),
            in_flight: 0,
            peak_since_report: 0,
            recent_peak: 0,
            recent_until: Duration::ZERO,
            others: 0,
            others_until: Duration::ZERO,
            paused_until: Duration::ZERO,
            refusals: 0,
            total: report.slots_total,
            service_secs: None,
            breaker: CircuitBreaker::default(),
        };
        slots.apply_report(report, now);
        slots
    }

    /// Whether requests to this `endpoint` are counted here: the incarnations are equal.
    pub(crate) fn is_incarnation_of(&self, endpoint: &Endpoint) -> bool {
        self.incarnation == endpoint.incarnation()
    }

    /// Whether the results of requests to this `endpoint` are evidence about the present engine:
    /// the generations are equal, too.
    pub(crate) fn is_generation_of(&self, endpoint: &Endpoint) -> bool {
        self.is_incarnation_of(endpoint) && self.generation == endpoint.generation()
    }

    /// Applies a change of the endpoint in the routing table.
    ///
    /// A new incarnation of a node has none of the old one's connections and starts with a closed
    /// breaker. A new generation of an engine starts with a closed breaker, too, but the node still
    /// counts the requests that it got before.
    pub(crate) fn update(&mut self, endpoint: &Endpoint, report: &EndpointReport, now: Duration) {
        if !self.is_incarnation_of(endpoint) {
            *self = Self::new(endpoint, report, now);
            return;
        }
        if self.generation != endpoint.generation() {
            self.generation = endpoint.generation();
            self.breaker = CircuitBreaker::default();
            self.paused_until = Duration::ZERO;
            self.refusals = 0;
        }
        self.apply_report(report, now);
    }

    /// Applies the endpoint's last report, once.
    fn apply_report(&mut self, report: &EndpointReport, now: Duration) {
        self.total = report.slots_total;
        if self.report_number == report.number {
            return;
        }
        self.report_number = report.number;
        // An endpoint that accepts no requests reports no free slots, whatever runs there.
        let used = if report.state.is_routable() {
            report.slots_total.saturating_sub(report.slots_free)
        } else {
            0
        };
        // The report may count own requests that have ended since, so compare with the peak.
        let own = self.peak_since_report.max(self.in_flight);
        self.set_others(used.saturating_sub(own), now, OTHERS_TTL);
        self.peak_since_report = self.in_flight;
    }

    /// Applies the slot figures of a response to an own request, which is counted in `in_flight`.
    pub(crate) fn apply_response(&mut self, free: u32, total: u32, now: Duration) {
        let own = if now < self.recent_until {
            self.in_flight.max(self.recent_peak)
        } else {
            self.in_flight
        };
        let used = total.saturating_sub(free);
        self.set_others(used.saturating_sub(own), now, OTHERS_TTL);
    }

    /// The endpoint refused a request because it has no free slot. The request is already
    /// released. `pause` is the pause that it asked for.
    pub(crate) fn refused(&mut self, pause: Option<Duration>) -> BusyPeriod {
        let doubled = 1 << self.refusals.min(BUSY_DOUBLINGS);
        self.refusals = self.refusals.saturating_add(1);
        let longest = if self.is_replica {
            LONGEST_ENGINE_PAUSE
        } else {
            LONGEST_POOL_PAUSE
        };
        BusyPeriod {
            full_for: BUSY_PAUSE.saturating_mul(doubled),
            pause: pause.map(|pause| pause.min(longest)),
        }
    }

    /// The endpoint counts as full for a time.
    pub(crate) fn set_busy(&mut self, period: BusyPeriod, now: Duration) {
        let others = self.total.saturating_sub(self.in_flight);
        self.set_others(others, now, period.full_for);
        if let Some(pause) = period.pause {
            self.paused_until = self.paused_until.max(now.saturating_add(pause));
        }
    }

    /// The endpoint accepted a request.
    pub(crate) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// The rest of the pause that it asked for.
    pub(crate) fn pause_left(&self, now: Duration) -> Duration {
        self.paused_until.saturating_sub(now)
    }

    fn set_others(&mut self, others: u32, now: Duration, ttl: Duration) {
        self.others = others;
        self.others_until = if others == 0 {
            Duration::ZERO
        } else {
            now.saturating_add(ttl)
        };
    }

    /// An own request takes a slot. Returns its probe number if it is a probe of the breaker.
    pub(crate) fn claim(&mut self, now: Duration) -> Option<u64> {
        self.in_flight = self.in_flight.saturating_add(1);
        self.peak_since_report = self.peak_since_report.max(self.in_flight);
        self.breaker.request_sent(now)
    }

    /// An own request gives its slot back. `held` is how long it held the slot, if the request was
    /// served.
    pub(crate) fn release(&mut self, held: Option<Duration>, now: Duration) {
        if now >= self.recent_until {
            self.recent_peak = self.in_flight;
            self.recent_until = now.saturating_add(RESPONSE_DELAY);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(held) = held {
            let held = held.as_secs_f64();
            self.service_secs = Some(
                self.service_secs
                    .map_or(held, |mean| mean + SERVICE_TIME_WEIGHT * (held - mean)),
            );
        }
    }

    /// The slots that others use, as far as is known. During a pause these are all slots that no
    /// own request holds.
    pub(crate) fn used_by_others(&self, now: Duration) -> u32 {
        if now < self.paused_until {
            self.total.saturating_sub(self.in_flight)
        } else if now < self.others_until {
            self.others
        } else {
            0
        }
    }

    /// The free slots, as far as is known.
    pub(crate) fn free(&self, now: Duration) -> u32 {
        self.total.saturating_sub(self.load(now).used)
    }

    /// The load of the endpoint, without its conversations.
    pub(crate) fn load(&self, now: Duration) -> Load {
        Load {
            used: self.in_flight.saturating_add(self.used_by_others(now)),
            breaker_open: !self.breaker.admits(now),
            conversations: 0,
        }
    }

    /// When time alone changes the load next; `None` if it does not.
    pub(crate) fn changes_at(&self, now: Duration) -> Option<Duration> {
        [
            Some(self.others_until),
            Some(self.paused_until),
            self.breaker.admits_from(),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > now)
        .min()
    }
}
