//! Every number a client can run into, with the reason for it.

use std::time::Duration;

/// The most headers of a request; more are answered 431. It is hyper's own default, which costs no
/// allocation.
pub const MAX_HEADERS: usize = 100;

/// What a client may do, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; one more is answered 503. Each costs a file descriptor and, while it
    /// is busy, some ten KiB.
    pub max_connections: usize,
    /// What holds for connections on which nobody has been authenticated, beside the others;
    /// `None` where every connection counts as authenticated. It is for a server behind
    /// [`Authenticated`](crate::Authenticated).
    pub unauthenticated: Option<UnauthenticatedLimits>,
    /// From the connection being accepted to its first byte. A client that connects has something
    /// to say.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its header. A header fits a packet or two.
    pub header: Duration,
    /// From the end of a response to the first byte of the next request. Longer than the 60 s
    /// after which common clients and balancers close, so that they close first and no request
    /// meets a closing server.
    pub idle: Duration,
    /// The longest wait for the next piece of a request body, counted only while somebody waits
    /// for it.
    pub body_progress: Duration,
    /// The least a body must come with, in bytes a second, when it takes longer in all than
    /// [`body_progress`](Self::body_progress): who waits for a whole body waits for that and for
    /// its size at this rate. A byte now and then is progress, but no reason to hold a
    /// connection for ever.
    pub body_bytes_per_sec: u32,
    /// The longest time during which not one byte of a response can be sent. Holding a slot for a
    /// reader that is gone costs more than cutting a reader that slept for half a minute.
    pub write_progress: Duration,
    /// Request line and headers together; more are answered 431. It is the size of the read buffer
    /// too.
    pub max_header_bytes: usize,
    /// A request body; more is answered 413. Routes may allow less.
    pub max_body_bytes: u64,
}

/// What a connection may do until somebody on it has been authenticated. It cannot be refused at
/// the beginning, for a token comes with the first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnauthenticatedLimits {
    /// Connections at a time, beside [`Limits::max_connections`]. For one more, the oldest of them
    /// is closed.
    pub max_connections: usize,
    /// Instead of [`Limits::idle`]: what is open to everybody is asked for seldom.
    pub idle: Duration,
    /// From the connection being accepted to its end, whatever it does. In the second half each
    /// answer announces the end, so that no request meets it: what needs no authentication is
    /// answered at once.
    pub life: Duration,
}

impl UnauthenticatedLimits {
    /// What holds where nothing else is set.
    ///
    /// 1024 connections, a quarter of the others; 10 s idle, which is enough for a page and its
    /// files; 60 s in all.
    pub const DEFAULT: Self = Self {
        max_connections: 1024,
        idle: Duration::from_secs(10),
        life: Duration::from_secs(60),
    };
}

impl Default for UnauthenticatedLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Of the descriptors that connections may have, one in so many is for those that are not
/// authenticated.
const UNAUTHENTICATED_PART: usize = 5;

impl Limits {
    /// hyper's smallest buffer; a smaller [`max_header_bytes`](Self::max_header_bytes) still bounds
    /// the header.
    pub(crate) const MIN_BUFFER_BYTES: usize = 8192;

    /// The same with no more connections than half of `descriptors`, the files the process may
    /// open: the other half is for what is done on behalf of the connections, above all the
    /// connections to engines.
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
    /// What holds where nothing else is set.
    ///
    /// 4096 connections; 10 s for the first byte, the header and each piece of a body, which must
    /// come with 1 KiB a second on the whole; 75 s idle; 30 s for a stuck write; 64 KiB of
    /// header; 32 MiB of body, which is room for a prompt with a few images.
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
