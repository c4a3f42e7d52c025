//! Every limit that a client can meet, with its reason.

use std::time::Duration;

/// The most headers of a request; more get 431. It is hyper's own default, which costs no
/// allocation.
pub const MAX_HEADERS: usize = 100;

/// What a client may do, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections; one more gets 503. Each costs a file descriptor and, while it is
    /// busy, some ten KiB.
    pub max_connections: usize,
    /// Limits of connections that are not authenticated, which count separately; `None` if every
    /// connection counts as authenticated. For servers behind
    /// [`Authenticated`](crate::Authenticated).
    pub unauthenticated: Option<UnauthenticatedLimits>,
    /// From accepting a connection to its first byte.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its header. A header fits a packet or two.
    pub header: Duration,
    /// From the end of a response to the first byte of the next request. Common clients and
    /// balancers close after 60 s; this is longer, so that they close first and no request meets a
    /// closing server.
    pub idle: Duration,
    /// The longest wait for the next piece of a request body. Counts only while the service reads.
    pub body_progress: Duration,
    /// The lowest rate of a body in bytes per second, for a body that takes longer than
    /// [`body_progress`](Self::body_progress) in total. A byte now and then is progress, but must
    /// not hold a connection for ever.
    pub body_bytes_per_sec: u32,
    /// The longest time in which no byte of a response can be sent. Holding a slot for a reader
    /// that has left costs more than disconnecting a reader that slept for half a minute.
    pub write_progress: Duration,
    /// Request line and headers together; more get 431. It is also the size of the read buffer.
    pub max_header_bytes: usize,
    /// A request body; more get 413. Routes may allow less.
    pub max_body_bytes: u64,
}

/// Limits of a connection that is not authenticated. It cannot be refused when it is accepted,
/// because the token arrives with the first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnauthenticatedLimits {
    /// Concurrent connections, besides [`Limits::max_connections`]. One more displaces the oldest
    /// after its [`grace`](Self::grace).
    pub max_connections: usize,
    /// How long a connection is not displaced. Its first request can arrive in this time: it
    /// takes a round trip or two, and this process may be behind. Meanwhile further clients wait
    /// in the kernel's queue.
    pub grace: Duration,
    /// Replaces [`Limits::idle`]: open routes are requested rarely.
    pub idle: Duration,
    /// The whole life of a connection. In its second half each response announces the end, so that
    /// no request is lost: routes without authentication respond at once.
    pub life: Duration,
}

impl UnauthenticatedLimits {
    /// The defaults.
    ///
    /// 1024 connections, a quarter of the others; 1 s of grace; 10 s idle, which is enough for a
    /// page and its files; 60 s in total.
    pub const DEFAULT: Self = Self {
        max_connections: 1024,
        grace: Duration::from_secs(1),
        idle: Duration::from_secs(10),
        life: Duration::from_secs(60),
    };
}

impl Default for UnauthenticatedLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One in this many descriptors for connections is reserved for those that are not authenticated.
const UNAUTHENTICATED_PART: usize = 5;

impl Limits {
    /// hyper's smallest buffer. A smaller [`max_header_bytes`](Self::max_header_bytes) still limits
    /// the header.
    pub(crate) const MIN_BUFFER_BYTES: usize = 8192;

    /// Limits the connections to half of `descriptors`, the files that the process may open. The
    /// other half is for what the connections need, above all connections to engines.
    #[must_use]
    pub fn within_descriptors(mut self, descriptors: u64) -> Self {
        let half = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        let mut left = half;
        if let Some(share) = &mut self.unauthenticated {
            share.max_connections = share
                .max_connections
                .min((half / UNAUTHENTICATED_PART).max(1));
            left = half.saturating_sub(share.max_connections);
        }
        self.max_connections = self.max_connections.min(left.max(1));
        self
    }
}

impl Limits {
    /// The defaults.
    ///
    /// 4096 connections; 10 s for the first byte, the header and each piece of a body, which needs
    /// 1 KiB a second on average; 75 s idle; 30 s for a stuck write; 64 KiB of header; 32 MiB of
    /// body, enough for a prompt with a few images.
    pub const DEFAULT: Self = Self {
        max_connections: 4096,
        unauthenticated: None,
        first_byte: Duration::from_secs(10),
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body_progress: Duration::from_secs(10),
        body_bytes_per_sec: 1024,
        write_progress: Duration::from_secs(30),
        max_header_bytes: 64 * 1024,
        max_body_bytes: 32 * 1024 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DOOR-12
    #[test]
    fn half_of_the_descriptors_are_for_connections() {
        let connections = |descriptors| {
            Limits::default()
                .within_descriptors(descriptors)
                .max_connections
        };
        assert_eq!(connections(1024), 512);
        assert_eq!(connections(0), 1);
        assert_eq!(connections(u64::MAX), Limits::default().max_connections);
        let both = |descriptors| {
            let limits = Limits {
                unauthenticated: Some(UnauthenticatedLimits::default()),
                ..Limits::default()
            };
            let limits = limits.within_descriptors(descriptors);
            (
                limits.max_connections,
                limits.unauthenticated.unwrap().max_connections,
            )
        };
        assert_eq!(both(1024), (410, 102));
        assert_eq!(both(0), (1, 1));
        assert_eq!(both(u64::MAX), (4096, 1024));
    }
}
