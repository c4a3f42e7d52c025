//! The sender of a request.

use std::{error::Error, net::SocketAddr};

use crate::request_id::RequestId;

/// Any error, as middleware passes it on.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The sender of a request, and the request's id. It travels with the
/// [`RequestBody`](crate::RequestBody): two extensions of a request would take four allocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The peer of the connection; `None` within the process.
    pub peer: Option<PeerAddr>,
    /// The id, in every log line and on every hop.
    pub id: RequestId,
}

/// The address of the peer. An IPv4 peer of an IPv6 socket appears as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    pub(crate) fn new(mut addr: SocketAddr) -> Self {
        addr.set_ip(addr.ip().to_canonical());
        Self(addr)
    }
}
