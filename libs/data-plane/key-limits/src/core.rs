//! The decisions: whether a request of a key may go on now, and when else.
//!
//! The core is pure: `(state, event, now) → (state, effects)`. It stores no limits: they come with
//! each request, so that a change of a key holds for its next one.

// Clients choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bearer_auth::KeyLimits;

use crate::window::MinuteWindow;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The assumed duration of a request until the first one of its key has ended.
const ASSUMED_DURATION: Duration = Duration::from_secs(1);
/// The shortest and the longest wait for the end of a running request.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A moment, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since an origin of the caller's choice; never goes back.
    pub(crate) now: Duration,
    /// Since 1970, for days.
    pub(crate) utc: Duration,
}

/// What a key has left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateWindow {
    /// The limit.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When all of it is there again, if no request comes.
    pub reset: Duration,
}

/// What a key has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests in a minute; `None` without such a limit.
    pub requests: Option<RateWindow>,
    /// Tokens: of the minute or of the day, whichever has fewer left.
    pub tokens: Option<RateWindow>,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Requests at once.
    ConcurrentRequests,
    /// Requests in a minute.
    RequestsPerMinute,
    /// Tokens in a minute.
    TokensPerMinute,
    /// Tokens in a day.
    TokensPerDay,
}

impl LimitKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ConcurrentRequests,
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::TokensPerDay,
    ];

    /// Its name, as in the key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentRequests => "concurrent_requests",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::ConcurrentRequests => "requests at once",
            Self::RequestsPerMinute => "requests a minute",
            Self::TokensPerMinute => "tokens a minute",
            Self::TokensPerDay => "tokens a day (UTC)",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that goes beyond a limit of its key. Of several limits, it names the one with the
/// longest wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit of this key is reached: {} {} ({kind})", .limit, .kind.unit())]
pub struct LimitExceeded {
    /// The limit.
    pub kind: LimitKind,
    /// Its value.
    pub limit: u64,
    /// When to retry. For requests at once it is an estimate.
    pub retry_after: Duration,
    /// What the key has left.
    pub quota: Quota,
}

/// What is known of all keys with limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct LimitsCore {
    keys: HashMap<Arc<str>, Box<KeyUse>, foldhash::fast::RandomState>,
    /// Days since 1970.
    day: u64,
}

/// What a key has used.
#[derive(Debug, Clone)]
struct KeyUse {
    running: u64,
    requests: MinuteWindow,
    tokens: MinuteWindow,
    /// The tokens of the present day, and of the one before the clock changed its day.
    days: [DayTokens; 2],
    /// The recent duration of its requests.
    duration: Duration,
}

/// The tokens of a day.
#[derive(Debug, Clone, Copy, Default)]
struct DayTokens {
    /// Days since 1970.
    day: u64,
    tokens: u64,
}

impl Default for KeyUse {
    fn default() -> Self {
        Self {
            running: 0,
            requests: MinuteWindow::default(),
            tokens: MinuteWindow::default(),
            days: [DayTokens::default(); 2],
            duration: ASSUMED_DURATION,
        }
    }
}

impl LimitsCore {
    /// A request of a key wants to go on. Once admitted, it runs until [`ended`](Self::ended).
    pub(crate) fn admit(
        &mut self,
        key: &Arc<str>,
        limits: &KeyLimits,
        at: Moment,
    ) -> Result<Quota, LimitExceeded> {
        self.start_day(at);
        let used = match self.keys.get_mut(key) {
            Some(used) => used,
            None => self.keys.entry(Arc::clone(key)).or_default(),
        };
        used.advance(at);
        if let Some(exceeded) = used.exceeded(limits, at) {
            return Err(exceeded);
        }
        used.running = used.running.saturating_add(1);
        used.requests.add(1);
        Ok(used.quota(limits, at))
    }

    /// A request that was admitted gets a slot: whether its key still has tokens. While the request
    /// waited, others may have used them up.
    pub(crate) fn has_tokens(
        &mut self,
        key: &str,
        limits: &KeyLimits,
        at: Moment,
    ) -> Result<(), LimitExceeded> {
        self.start_day(at);
        let Some(used) = self.keys.get_mut(key) else {
            return Ok(());
        };
        used.advance(at);
        match used.longest(used.tokens_exceeded(limits, at), limits, at) {
            Some(exceeded) => Err(exceeded),
            None => Ok(()),
        }
    }

    /// A request that was admitted at `admitted` was refused before an engine got it: it counts for
    /// nothing.
    pub(crate) fn withdrawn(&mut self, key: &str, admitted: Duration) {
        if let Some(used) = self.keys.get_mut(key) {
            used.requests.take_back(admitted);
        }
    }

    /// A request that was admitted has used tokens.
    pub(crate) fn used_tokens(&mut self, key: &str, tokens: u64, at: Moment) {
        self.start_day(at);
        if let Some(used) = self.keys.get_mut(key) {
            used.advance(at);
            used.tokens.add(tokens);
            let today = used.today_mut();
            *today = today.saturating_add(tokens);
        }
    }

    /// A request that was admitted has ended, after `duration`.
    pub(crate) fn ended(&mut self, key: &str, duration: Duration) {
        if let Some(used) = self.keys.get_mut(key) {
            used.running = used.running.saturating_sub(1);
            // A moving mean of about eight requests.
            let mean = used.duration.saturating_mul(7).saturating_add(duration);
            used.duration = mean.checked_div(8).unwrap_or(mean);
        }
    }

    /// What a key has used today at least: as it was remembered across a restart, or counted while
    /// it had no such limit.
    pub(crate) fn restore(&mut self, key: &Arc<str>, tokens_today: u64, at: Moment) {
        self.start_day(at);
        let used = self.keys.entry(Arc::clone(key)).or_default();
        used.advance(at);
        let today = used.today_mut();
        *today = tokens_today.max(*today);
    }

    /// Forgets the keys that are not in use, when the clock shows another day: a later one or,
    /// after it was set back, an earlier one.
    fn start_day(&mut self, at: Moment) {
        let day = day_of(at.utc);
        if std::mem::replace(&mut self.day, day) == day {
            return;
        }
        self.keys.retain(|_, used| {
            used.advance(at);
            let has_tokens = used.days.iter().any(|day| day.tokens > 0);
            let has_counts = used.requests.total() > 0 || used.tokens.total() > 0;
            used.running > 0 || has_counts || has_tokens
        });
    }
}

impl KeyUse {
    /// Forgets what is over. The day before is remembered: a clock that was wrong for a moment
    /// gives nothing back, and takes nothing away, when it shows that day again.
    fn advance(&mut self, at: Moment) {
        self.requests.advance(at.now);
        self.tokens.advance(at.now);
        let day = day_of(at.utc);
        let [today, before] = &mut self.days;
        if today.day == day {
            return;
        }
        std::mem::swap(today, before);
        if today.day != day {
            *today = DayTokens { day, tokens: 0 };
        }
    }

    /// The tokens of the day of the last [`advance`](Self::advance).
    fn tokens_today(&self) -> u64 {
        self.days[0].tokens
    }

    fn today_mut(&mut self) -> &mut u64 {
        &mut self.days[0].tokens
    }

    /// The limit that another request would exceed.
    fn exceeded(&self, limits: &KeyLimits, at: Moment) -> Option<LimitExceeded> {
        use LimitKind::{ConcurrentRequests, RequestsPerMinute};
        let requests = reached(limits.requests_per_minute(), self.requests.total());
        let running = reached(limits.concurrent_requests(), self.running);
        let of_requests = [
            running.map(|limit| (ConcurrentRequests, limit, self.next_end_in(limit))),
            requests.map(|limit| {
                let wait = self.requests.below_in(limit, at.now);
                (RequestsPerMinute, limit, wait)
            }),
        ];
        let all = of_requests
            .into_iter()
            .chain(self.tokens_exceeded(limits, at));
        self.longest(all, limits, at)
    }

    /// The limits of tokens that are reached, each with the time after which it is not.
    fn tokens_exceeded(
        &self,
        limits: &KeyLimits,
        at: Moment,
    ) -> [Option<(LimitKind, u64, Duration)>; 2] {
        use LimitKind::{TokensPerDay, TokensPerMinute};
        let tokens = reached(limits.tokens_per_minute(), self.tokens.total());
        let today = reached(limits.tokens_per_day(), self.tokens_today());
        [
            tokens.map(|limit| (TokensPerMinute, limit, self.tokens.below_in(limit, at.now))),
            today.map(|limit| (TokensPerDay, limit, rest_of_day(at.utc))),
        ]
    }

    /// Of the limits that are reached, the one with the longest wait.
    fn longest(
        &self,
        exceeded: impl IntoIterator<Item = Option<(LimitKind, u64, Duration)>>,
        limits: &KeyLimits,
        at: Moment,
    ) -> Option<LimitExceeded> {
        let exceeded = exceeded.into_iter().flatten();
        let longest = exceeded.max_by_key(|(_, _, wait)| *wait);
        longest.map(|(kind, limit, retry_after)| LimitExceeded {
            kind,
            limit,
            retry_after,
            quota: self.quota(limits, at),
        })
    }

    /// When one of `running` requests ends, as far as earlier ones tell.
    fn next_end_in(&self, running: u64) -> Duration {
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let mean = self.duration.checked_div(running);
        mean.unwrap_or(self.duration)
            .clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    fn quota(&self, limits: &KeyLimits, at: Moment) -> Quota {
        let requests = limits.requests_per_minute().map(|limit| RateWindow {
            limit,
            remaining: limit.saturating_sub(self.requests.total()),
            reset: self.requests.empty_in(at.now),
        });
        let of_minute = limits.tokens_per_minute().map(|limit| RateWindow {
            limit,
            remaining: limit.saturating_sub(self.tokens.total()),
            reset: self.tokens.empty_in(at.now),
        });
        let of_day = limits.tokens_per_day().map(|limit| RateWindow {
            limit,
            remaining: limit.saturating_sub(self.tokens_today()),
            reset: rest_of_day(at.utc),
        });
        let tokens = of_minute.into_iter().chain(of_day);
        Quota {
            requests,
            tokens: tokens.min_by_key(|window| window.remaining),
        }
    }
}

/// The limit, if so much reaches it.
fn reached(limit: Option<u64>, used: u64) -> Option<u64> {
    limit.filter(|limit| used >= *limit)
}

fn day_of(utc: Duration) -> u64 {
    utc.as_secs().checked_div(DAY.as_secs()).unwrap_or_default()
}

fn rest_of_day(utc: Duration) -> Duration {
    let next = day_of(utc).saturating_add(1).saturating_mul(DAY.as_secs());
    Duration::from_secs(next).saturating_sub(utc)
}
