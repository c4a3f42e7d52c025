//! What a connection waits for, and its deadline: pure, without I/O.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bearer_auth::CertificateHolder;
use tls_config::PeerCertificate;
use tokio::time::Instant;

use crate::{Limits, UnauthenticatedLimits, permits::ConnectionPermit, tls_peer::TlsPeer};

/// How long to read what a client sends after the last response. Closing a socket with unread bytes
/// resets the connection, and the reset overtakes the response that explains it.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection reads at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted; the client has sent nothing.
    FirstByte,
    /// The header of a request has begun.
    Header,
    /// A request is being served: its body has a deadline of its own, its response has none.
    Request,
    /// The last response is complete; the next request may come.
    Idle,
    /// The same on HTTP/2, where bytes alone are no request: many frames are about the connection.
    NoStream,
    /// The sending side of the server is closed.
    Closing,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::FirstByte,
        Self::Header,
        Self::Request,
        Self::Idle,
        Self::NoStream,
        Self::Closing,
    ];

    /// How long a connection may stay in this phase.
    fn allowance(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::FirstByte => Some(limits.first_byte),
            Self::Header => Some(limits.header),
            Self::Request => None,
            Self::Idle | Self::NoStream => Some(limits.idle),
            Self::Closing => Some(LINGER),
        }
    }

    /// The phase after some bytes were read.
    fn after_bytes(self) -> Self {
        match self {
            Self::FirstByte | Self::Idle => Self::Header,
            Self::Header | Self::Request | Self::NoStream | Self::Closing => self,
        }
    }

    fn from_code(code: u64) -> Self {
        let found = Self::ALL.into_iter().find(|&phase| phase as u64 == code);
        found.unwrap_or(Self::Closing)
    }
}

/// The low bits of the packed word are the phase, the others the microseconds since the start of
/// the connection.
const PHASE_BITS: u32 = 3;

/// Means that no write is stuck.
const NOT_STUCK: u64 = u64::MAX;

/// The shared state of a connection's parts: its phase, since when, and whether it can write.
///
/// Single atomic words, without a lock: all parts live in the task of the connection, except
/// request bodies that a handler moved elsewhere.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    start: Instant,
    permit: Arc<ConnectionPermit>,
    /// The phase, and when it began.
    packed: AtomicU64,
    /// When the socket stopped taking bytes, in microseconds since the start.
    write_stuck: AtomicU64,
    /// A request body was dropped before its end, so the client may still be sending.
    body_left_unread: AtomicBool,
    /// The current request was read to its end.
    request_read: AtomicBool,
    /// How many requests began; wraps around.
    requests: AtomicU32,
    /// The last read found nothing: its task is woken when bytes arrive.
    read_pending: AtomicBool,
    /// An [`Interruption`], as a number.
    interruption: AtomicU8,
    /// Set after a TLS handshake: the certificate that the client presented, if it did.
    tls: OnceLock<Option<Arc<TlsPeer>>>,
}

/// Why a connection cannot go on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The client closed its sending side while a request was being served.
    ClientGone,
    /// The first byte is that of a TLS handshake.
    TlsBegins,
}

impl ConnectionState {
    /// A connection accepted at `now`.
    pub(crate) fn new(now: Instant, permit: Arc<ConnectionPermit>) -> Self {
        Self {
            start: now,
            permit,
            packed: AtomicU64::new(Phase::FirstByte as u64),
            write_stuck: AtomicU64::new(NOT_STUCK),
            body_left_unread: AtomicBool::new(false),
            request_read: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            read_pending: AtomicBool::new(false),
            interruption: AtomicU8::new(0),
            tls: OnceLock::new(),
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

    /// The current phase.
    pub(crate) fn phase(&self) -> Phase {
        self.get().0
    }

    /// Some bytes were read. `now` is called only when the phase changes.
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

    /// A complete header was read. The time does not matter, because the socket has no deadline
    /// now.
    pub(crate) fn on_request(&self) {
        self.request_read.store(false, Ordering::Relaxed);
        let requests = self.requests().wrapping_add(1);
        self.requests.store(requests, Ordering::Relaxed);
        let since = self.packed.load(Ordering::Relaxed) & !((1 << PHASE_BITS) - 1);
        self.packed
            .store(since | Phase::Request as u64, Ordering::Relaxed);
    }

    /// How many requests began. Only whether it changes has a meaning.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The current request was read to its end.
    pub(crate) fn on_request_read(&self) {
        self.request_read.store(true, Ordering::Relaxed);
    }

    /// A response was completely handed over, or abandoned.
    pub(crate) fn on_response_end(&self, now: Instant) {
        // hyper detects the end of the connection while a request is served, unless it holds bytes
        // of the next one already.
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

    /// Whether a request is being served and all of it is read, so that no read would notice a
    /// leaving client.
    pub(crate) fn is_unobserved(&self) -> bool {
        self.phase() == Phase::Request
            && (self.body_left_unread()
                || self.request_read.load(Ordering::Relaxed)
                    && !self.read_pending.load(Ordering::Relaxed))
    }

    /// The connection cannot go on as it is.
    pub(crate) fn interrupt(&self, why: Interruption) {
        self.interruption.store(why as u8 + 1, Ordering::Relaxed);
    }

    /// Why the connection cannot go on as it is, if it cannot.
    pub(crate) fn interruption(&self) -> Option<Interruption> {
        match self.interruption.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Interruption::ClientGone),
            _ => Some(Interruption::TlsBegins),
        }
    }

    /// A TLS handshake goes on where HTTP was interrupted.
    pub(crate) fn on_handshake(&self) {
        self.interruption.store(0, Ordering::Relaxed);
    }

    /// The TLS handshake is complete: the connection begins anew.
    pub(crate) fn on_tls(&self, certificate: Option<PeerCertificate>, now: Instant) {
        // A connection has one handshake.
        let peer = certificate.map(|certificate| Arc::new(TlsPeer::new(certificate)));
        let _ = self.tls.set(peer);
        self.set(Phase::FirstByte, now);
    }

    /// Whether the connection has TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.get().is_some()
    }

    /// The certificate that the client presented, after its verification.
    pub(crate) fn peer_certificate(&self) -> Option<&PeerCertificate> {
        Some(&self.tls.get()?.as_deref()?.certificate)
    }

    /// Whom that certificate names, if it names one of us.
    pub(crate) fn certificate_holder(&self) -> Option<&Arc<CertificateHolder>> {
        self.tls.get()?.as_deref()?.holder.as_ref()
    }

    /// The state of one stream of HTTP/2 on this connection.
    pub(crate) fn of_stream(&self) -> Self {
        let state = Self {
            start: self.start,
            tls: self.tls.clone(),
            ..Self::new(self.start, Arc::clone(&self.permit))
        };
        state.on_request();
        state
    }

    /// HTTP/2: the connection has no stream any more.
    pub(crate) fn on_idle(&self, now: Instant) {
        self.set(Phase::NoStream, now);
    }

    /// The server closes its sending side.
    pub(crate) fn on_close(&self, now: Instant) {
        self.set(Phase::Closing, now);
    }

    /// The socket took nothing. `now` is called only the first time in a row.
    pub(crate) fn on_write_stuck(&self, now: impl FnOnce() -> Instant) {
        if self.write_stuck.load(Ordering::Relaxed) == NOT_STUCK {
            self.write_stuck
                .store(self.micros(now()), Ordering::Relaxed);
        }
    }

    /// The socket took bytes. `now` is called only if it had not done so before.
    pub(crate) fn on_written(&self, now: impl FnOnce() -> Instant) {
        if self.write_stuck.load(Ordering::Relaxed) != NOT_STUCK {
            self.write_stuck.store(NOT_STUCK, Ordering::Relaxed);
            // hyper finishes a response's body before the socket has taken the end of it.
            let phase = self.phase();
            if matches!(phase, Phase::Idle | Phase::Header | Phase::NoStream) {
                self.set(phase, now());
            }
        }
    }

    /// The rest of the current request's body is not read.
    pub(crate) fn on_body_abandoned(&self) {
        self.body_left_unread.store(true, Ordering::Relaxed);
    }

    /// Whether a request's body was not read to its end; then the connection cannot be reused.
    pub(crate) fn body_left_unread(&self) -> bool {
        self.body_left_unread.load(Ordering::Relaxed)
    }

    /// Whether bytes of a request may still arrive: the rest of a body, or of a header that was
    /// refused.
    pub(crate) fn client_may_be_sending(&self) -> bool {
        self.body_left_unread()
            || matches!(
                self.phase(),
                // On HTTP/2 a client sends frames at any time.
                Phase::Header | Phase::NoStream | Phase::Closing
            )
    }

    /// The permit of the connection.
    pub(crate) fn permit(&self) -> &ConnectionPermit {
        &self.permit
    }

    /// The limits of a connection that is not authenticated, if it is one.
    fn unauthenticated<'l>(&self, limits: &'l Limits) -> Option<&'l UnauthenticatedLimits> {
        let share = limits.unauthenticated.as_ref();
        share.filter(|_| self.permit.is_unauthenticated())
    }

    /// Whether the response given at `now` must be the last one. Called only where connections may
    /// be unauthenticated.
    pub(crate) fn ends_soon(&self, limits: &Limits, now: impl FnOnce() -> Instant) -> bool {
        self.unauthenticated(limits)
            .is_some_and(|share| now() >= self.start + share.life / 2)
    }

    /// When the connection is dropped unless it makes progress, and why.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        let of_phase = self.deadline_of_phase(limits);
        let Some(share) = self.unauthenticated(limits) else {
            return of_phase;
        };
        let idle = match self.get() {
            (phase @ (Phase::Idle | Phase::NoStream), since) => {
                Some((since + share.idle, Overdue::Read(phase)))
            }
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
            // The time of the next request begins when the last byte of this response is sent.
            (Some(_), Some(write))
                if matches!(phase, Phase::Idle | Phase::Header | Phase::NoStream) =>
            {
                Some(write)
            }
            (Some(read), Some(write)) => Some(if write.0 < read.0 { write } else { read }),
            (read, write) => read.or(write),
        }
    }
}

/// The timeout that expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The client sent nothing in this phase.
    Read(Phase),
    /// The client read nothing.
    Write,
    /// The connection was not authenticated in time.
    Unauthenticated,
}

#[cfg(test)]
mod tests;
