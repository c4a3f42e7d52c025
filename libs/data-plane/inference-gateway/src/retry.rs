//! Whether a failed request is sent again: a pure state machine without I/O, clock or randomness.
//!
//! [`RetryState::failed`] takes a failed attempt and the time, and returns a [`RetryDecision`].
//! The caller sends the request, reads the clock and pays for retries from the shared budget.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// The most executions of one request. Three replicas that all fail it point at the request.
pub(crate) const MAX_TRIES: u32 = 3;
/// The most unreachable endpoints that one request meets before it fails. A refused connection
/// costs a millisecond, an unanswered one a second.
pub(crate) const MAX_UNREACHABLE: u32 = 8;
/// How often an endpoint may refuse one request as busy, for each second of its queue timeout. A
/// refusing endpoint is paused for a quarter of a second at first, and longer each further time.
pub(crate) const REFUSALS_PER_SECOND: u64 = 4;
/// The same for short queue timeouts: a fleet that another control plane fills refuses more often
/// than a single endpoint.
pub(crate) const MIN_REFUSALS: u64 = 32;

/// A request's attempts, its time in the queue, and the limits of both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RetryState {
    deadline: Option<Instant>,
    /// The longest time in the queue, over all attempts.
    queue_timeout: Duration,
    attempts: u32,
    /// Failed attempts in which an engine may have started the request.
    executions: u32,
    unreachable: u32,
    refusals: u64,
    /// Engines that refused the request because their context is too small.
    too_small: u32,
    /// One attempt sent the request twice, the second time on a fresh connection. The budget did
    /// not pay for that, so it counts as an execution.
    was_resent: bool,
    /// Time spent waiting for a slot: in the queue, and at endpoints that turned out to be busy.
    queue_time: Duration,
    /// The latest wait for a slot.
    last_wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait {
    since: Instant,
    /// The queue time before this wait.
    queue_time: Duration,
}

/// A failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttemptFailure {
    pub(crate) kind: FailureKind,
    /// The node reports that one of its engines may have started the request.
    pub(crate) executed: bool,
    /// This attempt or an earlier one sent the request a second time on a fresh connection.
    pub(crate) resent: bool,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection: the request did not reach an engine.
    Unreachable,
    /// The endpoint had no free slot after all, or takes no new requests.
    Refused,
    /// The endpoint failed after it had the request.
    Broken,
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    /// The request ends with the attempt's error.
    GiveUp,
    /// Send it again.
    Retry {
        /// The endpoint must not be chosen again.
        excludes_endpoint: bool,
        /// An engine may have started the request. The retry needs a token of the budget, and no
        /// further attempt may send the request twice.
        was_executed: bool,
    },
}

impl RetryState {
    pub(crate) fn new(deadline: Option<Instant>, queue_timeout: Duration) -> Self {
        Self {
            deadline,
            queue_timeout,
            ..Self::default()
        }
    }

    /// When the client wants no response any more.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How many endpoints got the request.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Time spent waiting for a slot, over all attempts.
    pub(crate) fn queue_time(&self) -> Duration {
        self.queue_time
    }

    /// How much longer the request may wait for a slot.
    pub(crate) fn queue_time_left(&self) -> Duration {
        self.queue_timeout.saturating_sub(self.queue_time)
    }

    /// The request starts to wait for a slot.
    pub(crate) fn acquiring(&mut self, now: Instant) {
        self.last_wait = Some(Wait {
            since: now,
            queue_time: self.queue_time,
        });
    }

    /// The request has a slot. `now` is `None` when a slot was free at once: most requests then
    /// need no second look at the clock.
    pub(crate) fn acquired(&mut self, now: Option<Instant>) {
        if let Some(now) = now {
            self.count_wait(now);
        }
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The request got no slot.
    pub(crate) fn not_acquired(&mut self, now: Instant) {
        self.count_wait(now);
    }

    /// An attempt failed; decides whether there is another one.
    pub(crate) fn failed(&mut self, failure: AttemptFailure, now: Instant) -> RetryDecision {
        let was_resent_now = failure.resent && !self.was_resent;
        self.was_resent |= failure.resent;
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return RetryDecision::GiveUp;
        }
        let may_go_on = match failure.kind {
            // Going elsewhere is free, and the endpoint's circuit breaker prevents a return.
            FailureKind::Unreachable => {
                self.unreachable = self.unreachable.saturating_add(1);
                self.unreachable < MAX_UNREACHABLE
            }
            // The request waits again, at its old place in the queue, for what is left of its
            // queue timeout. The time at the busy endpoint counts: the request waited there in a
            // queue that this gateway does not see. The node may have other engines, so its
            // endpoint is not excluded.
            FailureKind::Refused => {
                self.count_wait(now);
                self.refusals = self.refusals.saturating_add(1);
                self.refusals < self.max_refusals() && !self.queue_time_left().is_zero()
            }
            FailureKind::Broken => true,
        };
        let was_executed =
            failure.executed || was_resent_now || failure.kind == FailureKind::Broken;
        if !may_go_on || (was_executed && !self.may_execute_again()) {
            return RetryDecision::GiveUp;
        }
        RetryDecision::Retry {
            excludes_endpoint: failure.kind == FailureKind::Broken,
            was_executed,
        }
    }

    /// An engine refused the request because its context is too small; whether a larger one may be
    /// tried. It computed nothing, so no retry is paid for.
    pub(crate) fn refused_for_context(&mut self) -> bool {
        self.too_small = self.too_small.saturating_add(1);
        self.too_small < MAX_TRIES
    }

    /// Counts one more execution; whether another one is allowed.
    fn may_execute_again(&mut self) -> bool {
        self.executions = self.executions.saturating_add(1);
        self.executions.saturating_add(self.was_resent.into()) < MAX_TRIES
    }

    fn count_wait(&mut self, now: Instant) {
        if let Some(wait) = self.last_wait {
            let waited = now.saturating_duration_since(wait.since);
            self.queue_time = wait.queue_time.saturating_add(waited);
        }
    }

    fn max_refusals(&self) -> u64 {
        let by_time = self.queue_timeout.as_secs();
        let by_time = by_time.saturating_mul(REFUSALS_PER_SECOND);
        by_time.max(MIN_REFUSALS)
    }
}
