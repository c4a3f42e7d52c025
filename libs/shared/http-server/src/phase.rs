//! What a connection is waiting for, and until when: the rule, without any I/O.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{Limits, UnauthenticatedLimits, places::Place};

/// How long to go on reading what a client sends after our last word. Closing a socket with unread
/// bytes resets the connection, and the reset overtakes the answer that explains it.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection is doing, as far as reading from it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted; the client has not said anything.
    FirstByte,
    /// The header of a request has begun.
    Header,
    /// A request is being served: its body has its own deadline, its answer may take as long as it
    /// takes.
    Request,
    /// The last response is done; the next request may come.
    Idle,
    /// Our side is closed.
    Closing,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::FirstByte,
        Self::Header,
        Self::Request,
        Self::Idle,
        Self::Closing,
    ];

    /// How long a connection may stay in this phase.
    fn allowance(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::FirstByte => Some(limits.first_byte),
            Self::Header => Some(limits.header),
            Self::Request => None,
            Self::Idle => Some(limits.idle),
            Self::Closing => Some(LINGER),
        }
    }

    /// The phase after some bytes were read.
    fn after_bytes(self) -> Self {
        match self {
            Self::FirstByte | Self::Idle => Self::Header,
            Self::Header | Self::Request | Self::Closing => self,
        }
    }

    fn from_code(code: u64) -> Self {
        let found = Self::ALL.into_iter().find(|&phase| phase as u64 == code);
        found.unwrap_or(Self::Closing)
    }
}

/// The low bits of the packed word hold the phase, the others the microseconds since the
/// connection's start.
const PHASE_BITS: u32 = 3;

/// Stands for "no write is stuck".
const NOT_STUCK: u64 = u64::MAX;

/// What the parts of one connection share: its phase, since when, and whether it can write.
///
/// Single atomic words, so that nobody ever waits: all parts live in the connection's task, except
/// for request bodies that a handler moved elsewhere.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    start: Instant,
    place: Arc<Place>,
    /// The phase and since when.
    packed: AtomicU64,
    /// Since when the socket has taken nothing, in microseconds since the start.
    write_stuck: AtomicU64,
    /// A request body was dropped before its end, so the client may still be sending.
    body_left_unread: AtomicBool,
    /// The current request was read to its end.
    request_read: AtomicBool,
    /// The last read found nothing: whoever asked is woken when there is something.
    read_pending: AtomicBool,
    /// The client closed its side while a request was being served.
    client_gone: AtomicBool,
}

impl ConnectionState {
    /// A connection accepted at `now`.
    pub(crate) fn new(now: Instant, place: Arc<Place>) -> Self {
        Self {
            start: now,
            place,
            packed: AtomicU64::new(Phase::FirstByte as u64),
            write_stuck: AtomicU64::new(NOT_STUCK),
            body_left_unread: AtomicBool::new(false),
            request_read: AtomicBool::new(false),
            read_pending: AtomicBool::new(false),
            client_gone: AtomicBool::new(false),
        }
    }

    /// 61 bits of microseconds are 73 000 years.
    fn micros(&self, now: Instant) -> u64 {
        let micros = now.saturating_duration_since(self.start).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX >> PHASE_BITS)
    }

    fn set(&self, phase: Phase, now: Instant) {
        let packed = (self.micros(now) << PHASE_BITS) | phase as u64;
        self.packed.store(packed, Ordering::Relaxed);
    }

    fn get(&self) -> (Phase, Instant) {
        let packed = self.packed.load(Ordering::Relaxed);
        let phase = Phase::from_code(packed & ((1 << PHASE_BITS) - 1));
        (
            phase,
            self.start + Duration::from_micros(packed >> PHASE_BITS),
        )
    }

    /// What the connection is doing.
    pub(crate) fn phase(&self) -> Phase {
        self.get().0
    }

    /// Some bytes were read. `now` is asked for only when the phase changes.
    pub(crate) fn on_bytes(&self, now: impl FnOnce() -> Instant) {
        self.read_pending.store(false, Ordering::Relaxed);
        let phase = self.phase();
        let next = phase.after_bytes();
        if next != phase {
            self.set(next, now());
        }
    }

    /// There was nothing to read.
    pub(crate) fn on_read_pending(&self) {
        self.read_pending.store(true, Ordering::Relaxed);
    }

    /// A whole header was read. When that was matters to nobody: what follows has no deadline on
    /// the socket.
    pub(crate) fn on_request(&self) {
        self.request_read.store(false, Ordering::Relaxed);
        let since = self.packed.load(Ordering::Relaxed) & !((1 << PHASE_BITS) - 1);
        self.packed
            .store(since | Phase::Request as u64, Ordering::Relaxed);
    }

    /// The current request was read to its end.
    pub(crate) fn on_request_read(&self) {
        self.request_read.store(true, Ordering::Relaxed);
    }

    /// A response was handed over to the last byte, or given up.
    pub(crate) fn on_response_end(&self, now: Instant) {
        // hyper looks for the end of the connection while a request is served, unless it holds
        // something of the next one already.
        let next_began = !self.read_pending.load(Ordering::Relaxed);
        self.set(
            if next_began {
                Phase::Header
            } else {
                Phase::Idle
            },
            now,
        );
    }

    /// Whether a request is being served, nothing of it is left to be read, and so nobody would see
    /// the client leave.
    pub(crate) fn nobody_reads(&self) -> bool {
        self.phase() == Phase::Request
            && (self.body_left_unread()
                || self.request_read.load(Ordering::Relaxed)
                    && !self.read_pending.load(Ordering::Relaxed))
    }

    /// The client closed its side while a request was being served.
    pub(crate) fn on_client_gone(&self) {
        self.client_gone.store(true, Ordering::Relaxed);
    }

    /// Whether the client closed its side while a request was being served.
    pub(crate) fn client_gone(&self) -> bool {
        self.client_gone.load(Ordering::Relaxed)
    }

    /// Our side is being closed.
    pub(crate) fn on_close(&self, now: Instant) {
        self.set(Phase::Closing, now);
    }

    /// The socket took nothing. `now` is asked for only at the first time in a row.
    pub(crate) fn on_write_stuck(&self, now: impl FnOnce() -> Instant) {
        if self.write_stuck.load(Ordering::Relaxed) == NOT_STUCK {
            self.write_stuck
                .store(self.micros(now()), Ordering::Relaxed);
        }
    }

    /// The socket took something. `now` is asked for only when it had not done so before.
    pub(crate) fn on_written(&self, now: impl FnOnce() -> Instant) {
        if self.write_stuck.load(Ordering::Relaxed) != NOT_STUCK {
            self.write_stuck.store(NOT_STUCK, Ordering::Relaxed);
            // hyper is done with a response's body before the socket has taken the end of it.
            let phase = self.phase();
            if matches!(phase, Phase::Idle | Phase::Header) {
                self.set(phase, now());
            }
        }
    }

    /// Nobody reads the rest of the current request's body.
    pub(crate) fn on_body_abandoned(&self) {
        self.body_left_unread.store(true, Ordering::Relaxed);
    }

    /// Whether a request's body was not read to its end: then the connection cannot be used again.
    pub(crate) fn body_left_unread(&self) -> bool {
        self.body_left_unread.load(Ordering::Relaxed)
    }

    /// Whether bytes of a request may still be on their way: the rest of a body, or of a header
    /// that was refused.
    pub(crate) fn client_may_be_sending(&self) -> bool {
        self.body_left_unread() || self.phase() == Phase::Header
    }

    /// Where it counts.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The limits of a connection on which nobody has been authenticated, if it is one.
    fn unauthenticated<'l>(&self, limits: &'l Limits) -> Option<&'l UnauthenticatedLimits> {
        let share = limits.unauthenticated.as_ref();
        share.filter(|_| self.place.is_unauthenticated())
    }

    /// Whether the answer that is given at `now` is to be the last one. Asked only where somebody
    /// may be unauthenticated.
    pub(crate) fn ends_soon(&self, limits: &Limits, now: impl FnOnce() -> Instant) -> bool {
        self.unauthenticated(limits)
            .is_some_and(|share| now() >= self.start + share.life / 2)
    }

    /// When the connection is to be dropped unless it makes progress, and why.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let of_phase = self.deadline_of_phase(limits);
        let Some(share) = self.unauthenticated(limits) else {
            return of_phase;
        };
        let idle = match self.get() {
            (Phase::Idle, since) => Some((since + share.idle, Overdue::Read(Phase::Idle))),
            _ => None,
        };
        let life = (self.start + share.life, Overdue::Unauthenticated);
        let all = [of_phase, idle, Some(life)];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn deadline_of_phase(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let (phase, since) = self.get();
        let read = phase
            .allowance(limits)
            .map(|allowance| (since + allowance, Overdue::Read(phase)));
        let write = match self.write_stuck.load(Ordering::Relaxed) {
            NOT_STUCK => None,
            since => {
                let since = self.start + Duration::from_micros(since);
                Some((since + limits.write_progress, Overdue::Write))
            }
        };
        match (read, write) {
            // The time of the next request begins when the last byte of this answer is on its way.
            (Some(_), Some(write)) if matches!(phase, Phase::Idle | Phase::Header) => Some(write),
            (Some(read), Some(write)) => Some(if write.0 < read.0 { write } else { read }),
            (read, write) => read.or(write),
        }
    }
}

/// What did not happen in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The client sent nothing, in this phase.
    Read(Phase),
    /// The client read nothing.
    Write,
    /// Nobody was authenticated.
    Unauthenticated,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::{OwnPlace, Places};

    const LIMITS: Limits = Limits {
        max_connections: 1,
        unauthenticated: None,
        first_byte: Duration::from_secs(3),
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body_progress: Duration::from_secs(1),
        body_bytes_per_sec: 1,
        write_progress: Duration::from_secs(30),
        max_header_bytes: 1,
        max_body_bytes: 1,
    };

    const SHARE: UnauthenticatedLimits = UnauthenticatedLimits {
        max_connections: 1,
        idle: Duration::from_secs(20),
        life: Duration::from_secs(60),
    };

    /// A state, a clock for it in seconds, and its deadline on that clock.
    struct Case {
        limits: Limits,
        start: Instant,
        state: ConnectionState,
        _place: OwnPlace,
    }

    impl Case {
        fn new() -> Self {
            Self::with(LIMITS)
        }

        fn with(limits: Limits) -> Self {
            let start = Instant::now();
            let place = Places::new(&limits).enter().unwrap().place;
            Self {
                limits,
                start,
                state: ConnectionState::new(start, place.shared()),
                _place: place,
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn deadline(&self) -> Option<(u64, Overdue)> {
            let deadline = self.state.deadline(&self.limits);
            deadline.map(|(at, why)| ((at - self.start).as_secs(), why))
        }
    }

    #[test]
    fn the_life_of_a_connection() {
        let case = Case::new();
        assert_eq!(case.deadline(), Some((3, Overdue::Read(Phase::FirstByte))));

        case.state.on_bytes(|| case.at(2));
        assert_eq!(case.deadline(), Some((12, Overdue::Read(Phase::Header))));
        // One byte a second does not move the deadline.
        case.state.on_bytes(|| case.at(11));
        assert_eq!(case.deadline(), Some((12, Overdue::Read(Phase::Header))));

        case.state.on_request();
        assert_eq!(
            (case.state.phase(), case.deadline()),
            (Phase::Request, None)
        );
        // A pipelined request or the body: still no deadline on the socket.
        case.state.on_bytes(|| case.at(500));
        assert_eq!(case.deadline(), None);

        case.state.on_request_read();
        assert!(case.state.nobody_reads());
        case.state.on_read_pending();
        assert!(!case.state.nobody_reads());
        case.state.on_response_end(case.at(600));
        assert_eq!(case.deadline(), Some((675, Overdue::Read(Phase::Idle))));
        case.state.on_bytes(|| case.at(674));
        assert_eq!(case.deadline(), Some((684, Overdue::Read(Phase::Header))));
        assert!(case.state.client_may_be_sending());

        case.state.on_close(case.at(680));
        case.state.on_bytes(|| case.at(681));
        assert_eq!(case.deadline(), Some((682, Overdue::Read(Phase::Closing))));
    }

    #[test]
    fn a_stuck_write_counts_from_its_beginning_until_progress() {
        let case = Case::new();
        case.state.on_request();
        case.state.on_write_stuck(|| case.at(5));
        case.state.on_write_stuck(|| case.at(20));
        assert_eq!(case.deadline(), Some((35, Overdue::Write)));
        case.state.on_written(|| case.at(30));
        assert_eq!(case.deadline(), None);
        case.state.on_write_stuck(|| case.at(40));
        assert_eq!(case.deadline(), Some((70, Overdue::Write)));
        // The sooner of two deadlines counts.
        case.state.on_close(case.at(42));
        assert_eq!(case.deadline(), Some((44, Overdue::Read(Phase::Closing))));
    }

    #[test]
    fn idle_time_begins_when_the_last_byte_is_on_its_way() {
        let case = Case::new();
        case.state.on_request();
        case.state.on_write_stuck(|| case.at(1));
        case.state.on_read_pending();
        case.state.on_response_end(case.at(2));
        assert_eq!(case.deadline(), Some((31, Overdue::Write)));
        case.state.on_written(|| case.at(20));
        case.state.on_write_stuck(|| case.at(20));
        assert_eq!(case.deadline(), Some((50, Overdue::Write)));
        case.state.on_written(|| case.at(40));
        assert_eq!(case.deadline(), Some((115, Overdue::Read(Phase::Idle))));
        case.state.on_written(|| case.at(41));
        assert_eq!(case.deadline(), Some((115, Overdue::Read(Phase::Idle))));
    }

    #[test]
    fn the_beginning_of_the_next_request_has_the_time_of_a_header() {
        let case = Case::new();
        case.state.on_request();
        case.state.on_request_read();
        case.state.on_bytes(|| case.at(1));
        case.state.on_write_stuck(|| case.at(1));
        case.state.on_response_end(case.at(2));
        assert_eq!(case.deadline(), Some((31, Overdue::Write)));
        case.state.on_written(|| case.at(20));
        assert_eq!(case.deadline(), Some((30, Overdue::Read(Phase::Header))));
    }

    // spec: DOOR-19
    #[test]
    fn an_unauthenticated_connection_has_a_shorter_life() {
        let case = Case::with(Limits {
            unauthenticated: Some(SHARE),
            ..LIMITS
        });
        assert_eq!(case.deadline(), Some((3, Overdue::Read(Phase::FirstByte))));
        case.state.on_request();
        // An answer that is not read to its end, and a request that is not authenticated.
        assert_eq!(case.deadline(), Some((60, Overdue::Unauthenticated)));
        case.state.on_read_pending();
        case.state.on_response_end(case.at(5));
        assert_eq!(case.deadline(), Some((25, Overdue::Read(Phase::Idle))));
        let ends_soon = |at| case.state.ends_soon(&case.limits, || case.at(at));
        assert!(!ends_soon(29) && ends_soon(30));
        case.state.on_response_end(case.at(45));
        assert_eq!(case.deadline(), Some((60, Overdue::Unauthenticated)));

        assert!(case.state.place().authenticate());
        assert_eq!(case.deadline(), Some((120, Overdue::Read(Phase::Idle))));
        assert!(!ends_soon(59));
        case.state.on_request();
        assert_eq!(case.deadline(), None);
    }

    #[test]
    fn phases_survive_packing() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_code(phase as u64), phase);
            assert!((phase as u64) < 1 << PHASE_BITS);
        }
    }
}
