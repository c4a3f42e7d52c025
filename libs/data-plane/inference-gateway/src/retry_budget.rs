//! How many retries the whole gateway may spend, so that a failing fleet does not get twice the
//! load.

use std::time::Duration;

/// Retries that each request earns for all: at most 20 % more load, however much fails.
const EARNED_PER_REQUEST: f64 = 0.2;
/// Retries per second that are always available, so that a quiet gateway can save its few requests.
const EARNED_PER_SECOND: f64 = 10.0;
/// The most that can be saved up: what the sudden failure of one node needs.
const CAPACITY: f64 = 100.0;

/// A token bucket of retries. Times are since an origin of the caller's choice.
#[derive(Debug, Clone)]
pub(crate) struct RetryBudget {
    balance: f64,
    updated: Duration,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self {
            balance: CAPACITY,
            updated: Duration::ZERO,
        }
    }

    /// A request arrived.
    pub(crate) fn earn(&mut self) {
        self.balance = (self.balance + EARNED_PER_REQUEST).min(CAPACITY);
    }

    /// Takes one retry from the budget; false when there is none left.
    pub(crate) fn spend(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.updated).as_secs_f64();
        self.updated = now;
        self.balance = (self.balance + passed * EARNED_PER_SECOND).min(CAPACITY);
        if self.balance < 1.0 {
            return false;
        }
        self.balance -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-5
    #[test]
    fn retries_are_limited_to_a_fifth_of_the_requests() {
        let mut budget = RetryBudget::new();
        let mut retries = 0;
        // 10 000 requests within 10 s all fail and ask for a retry.
        for request in 0..10_000_u64 {
            budget.earn();
            if budget.spend(Duration::from_millis(request)) {
                retries += 1;
            }
        }
        let allowed = 10_000.0 * EARNED_PER_REQUEST + 10.0 * EARNED_PER_SECOND + CAPACITY;
        assert!(f64::from(retries) <= allowed, "{retries}");
        assert!(f64::from(retries) > 0.9 * allowed, "{retries}");
    }

    // spec: PATH-5
    #[test]
    fn a_quiet_gateway_can_always_retry() {
        let mut budget = RetryBudget::new();
        for second in 0..100 {
            for _ in 0..10 {
                assert!(budget.spend(Duration::from_secs(second)));
            }
        }
    }
}
