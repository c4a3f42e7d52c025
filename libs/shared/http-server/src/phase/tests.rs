//! Phases and deadlines of connections.

use super::*;
use crate::permits::{ConnectionPermits, PermitGuard};

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
    grace: Duration::ZERO,
    idle: Duration::from_secs(20),
    life: Duration::from_secs(60),
};

/// A state, a clock for it in seconds, and its deadline on that clock.
struct Case {
    limits: Limits,
    start: Instant,
    state: ConnectionState,
    _place: PermitGuard,
}

impl Case {
    fn new() -> Self {
        Self::with(LIMITS)
    }

    fn with(limits: Limits) -> Self {
        let start = Instant::now();
        let permit = ConnectionPermits::new(&limits).acquire().unwrap().permit;
        Self {
            limits,
            start,
            state: ConnectionState::new(start, permit.shared()),
            _place: permit,
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
    // One byte per second does not move the deadline.
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
    assert!(case.state.is_unobserved());
    case.state.on_read_pending();
    assert!(!case.state.is_unobserved());
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
    // The earlier of two deadlines counts.
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
    // A response that is not read to its end, and a request without authentication.
    assert_eq!(case.deadline(), Some((60, Overdue::Unauthenticated)));
    case.state.on_read_pending();
    case.state.on_response_end(case.at(5));
    assert_eq!(case.deadline(), Some((25, Overdue::Read(Phase::Idle))));
    let ends_soon = |at| case.state.ends_soon(&case.limits, || case.at(at));
    assert!(!ends_soon(29) && ends_soon(30));
    case.state.on_response_end(case.at(45));
    assert_eq!(case.deadline(), Some((60, Overdue::Unauthenticated)));

    assert!(case.state.permit().authenticate());
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
