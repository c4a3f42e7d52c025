//! What a connection is waiting for, and until when: the rule, without any I/O.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::Limits;

/// What a connection is doing, as far as reading from it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted; the client has not said anything.
    FirstByte,
    /// The header of a request has begun.
    Header,
    /// A request is being served: its body has its own deadline, its answer may take as long as it takes.
    Request,
    /// The last response is done; the next request may come.
    Idle,
}

impl Phase {
    /// How long a connection may stay in this phase.
    pub(crate) fn allowance(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::FirstByte => Some(limits.first_byte),
            Self::Header => Some(limits.header),
            Self::Request => None,
            Self::Idle => Some(limits.idle),
        }
    }

    /// The phase after some bytes were read.
    fn after_bytes(self) -> Self {
        match self {
            Self::FirstByte | Self::Idle => Self::Header,
            Self::Header | Self::Request => self,
        }
    }

    fn code(self) -> u64 {
        match self {
            Self::FirstByte => 0,
            Self::Header => 1,
            Self::Request => 2,
            Self::Idle => 3,
        }
    }

    fn from_code(code: u64) -> Self {
        match code {
            0 => Self::FirstByte,
            1 => Self::Header,
            2 => Self::Request,
            _ => Self::Idle,
        }
    }
}

/// The low bits of the packed word hold the phase, the others the microseconds since the clock's base.
const PHASE_BITS: u32 = 2;

/// A connection's phase and since when, shared by its socket, its requests and its responses.
///
/// One atomic word: all parts live in the connection's task, except for request bodies that a handler moved
/// elsewhere, so nobody ever waits for it.
#[derive(Debug)]
pub(crate) struct PhaseClock {
    base: Instant,
    packed: AtomicU64,
}

impl PhaseClock {
    /// A connection accepted at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            base: now,
            packed: AtomicU64::new(Phase::FirstByte.code()),
        }
    }

    fn set(&self, phase: Phase, now: Instant) {
        let micros = now.saturating_duration_since(self.base).as_micros();
        // 62 bits of microseconds are 146 000 years.
        let micros = u64::try_from(micros).unwrap_or(u64::MAX >> PHASE_BITS);
        self.packed
            .store((micros << PHASE_BITS) | phase.code(), Ordering::Relaxed);
    }

    /// The phase and when it began, to the microsecond.
    fn get(&self) -> (Phase, Instant) {
        let packed = self.packed.load(Ordering::Relaxed);
        let phase = Phase::from_code(packed & ((1 << PHASE_BITS) - 1));
        (phase, self.base + Duration::from_micros(packed >> PHASE_BITS))
    }

    pub(crate) fn phase(&self) -> Phase {
        self.get().0
    }

    /// Some bytes were read. `now` is asked for only when the phase changes.
    pub(crate) fn on_bytes(&self, now: impl FnOnce() -> Instant) {
        let phase = self.phase();
        let next = phase.after_bytes();
        if next != phase {
            self.set(next, now());
        }
    }

    /// A whole header was read.
    pub(crate) fn on_request(&self, now: Instant) {
        self.set(Phase::Request, now);
    }

    /// A response was handed over to the last byte, or given up.
    pub(crate) fn on_response_end(&self, now: Instant) {
        self.set(Phase::Idle, now);
    }

    /// When the connection is to be closed unless it makes progress.
    pub(crate) fn read_deadline(&self, limits: &Limits) -> Option<Instant> {
        let (phase, since) = self.get();
        phase.allowance(limits).map(|allowance| since + allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            first_byte: Duration::from_secs(3),
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            ..Limits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_life_of_a_connection() {
        let base = Instant::now();
        let at = |seconds| base + Duration::from_secs(seconds);
        let clock = PhaseClock::new(base);
        let limits = limits();
        assert_eq!(clock.read_deadline(&limits), Some(at(3)));

        clock.on_bytes(|| at(2));
        assert_eq!(
            (clock.phase(), clock.read_deadline(&limits)),
            (Phase::Header, Some(at(12)))
        );
        // One byte a second does not move the deadline.
        clock.on_bytes(|| at(11));
        assert_eq!(clock.read_deadline(&limits), Some(at(12)));

        clock.on_request(at(11));
        assert_eq!(
            (clock.phase(), clock.read_deadline(&limits)),
            (Phase::Request, None)
        );
        // A pipelined request or the body: still no deadline on the socket.
        clock.on_bytes(|| at(500));
        assert_eq!(clock.read_deadline(&limits), None);

        clock.on_response_end(at(600));
        assert_eq!(
            (clock.phase(), clock.read_deadline(&limits)),
            (Phase::Idle, Some(at(675)))
        );
        clock.on_bytes(|| at(674));
        assert_eq!(
            (clock.phase(), clock.read_deadline(&limits)),
            (Phase::Header, Some(at(684)))
        );
    }

    #[test]
    fn phases_survive_packing() {
        for phase in [Phase::FirstByte, Phase::Header, Phase::Request, Phase::Idle] {
            assert_eq!(Phase::from_code(phase.code()), phase);
        }
    }
}
