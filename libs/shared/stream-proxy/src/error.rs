//! Why a request got no response, and why a response broke off.

use std::{io, time::Duration};

use http1_client::ResponseError;
use local_limits::is_local_limit;
use pool_registry_types::HttpUrl;
use thiserror::Error;

/// Why no response came. Nothing was sent to the client yet, so another upstream may be tried.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// No connection: the request cannot have reached the upstream.
    #[error("cannot connect to {target}")]
    Connect {
        /// The upstream.
        target: HttpUrl,
        /// The system's error.
        source: io::Error,
    },
    /// This process lacks what a connection needs (file descriptors, ports, memory). Says nothing
    /// about the upstream.
    #[error("this process cannot open a connection")]
    Local(#[source] io::Error),
    /// A timeout passed, but this process noticed it so late that it says nothing about the
    /// upstream.
    #[error(
        "this process was {} ms late, so a timeout for {target} is no evidence",
        late.as_millis()
    )]
    OwnDelay {
        /// The upstream.
        target: HttpUrl,
        /// How long after the timeout it was noticed.
        late: Duration,
    },
    /// No connection within the timeout: the request cannot have reached the upstream.
    #[error("{target} did not accept a connection within {} ms", limit.as_millis())]
    ConnectTimeout {
        /// The upstream.
        target: HttpUrl,
        /// The timeout.
        limit: Duration,
    },
    /// The upstream works, but accepted no further connection within the timeout: its queue of new
    /// connections is full. The request cannot have reached it.
    #[error("{target} has no room for a new connection after {} ms", limit.as_millis())]
    AcceptQueueFull {
        /// The upstream.
        target: HttpUrl,
        /// The timeout.
        limit: Duration,
    },
    /// The connection ended, or carried something that is not HTTP, before the first byte of the
    /// body.
    #[error("{target} broke off before it answered")]
    Reset {
        /// The upstream.
        target: HttpUrl,
        /// How.
        source: ResponseError,
    },
    /// No first byte within the timeout.
    #[error("{target} sent no byte of its answer within {} s", limit.as_secs())]
    FirstByte {
        /// The upstream.
        target: HttpUrl,
        /// The timeout.
        limit: Duration,
    },
    /// The caller's deadline passed.
    #[error("the request's deadline passed before {target} answered")]
    Deadline {
        /// The upstream.
        target: HttpUrl,
    },
}

impl ForwardError {
    pub(crate) fn connect(source: io::Error, target: HttpUrl) -> Self {
        if is_local_limit(&source) {
            Self::Local(source)
        } else {
            Self::Connect { target, source }
        }
    }

    pub(crate) fn response(source: ResponseError, target: &HttpUrl) -> Self {
        match source {
            ResponseError::Io(source) if is_local_limit(&source) => Self::Local(source),
            source => Self::Reset {
                target: target.clone(),
                source,
            },
        }
    }
}

/// Why a stream broke after it had begun.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The upstream closed or reset the connection, or sent something that is not HTTP.
    #[error("the upstream broke off in the middle of its answer")]
    Broken(#[source] ResponseError),
    /// No frame came within the timeout.
    #[error("the upstream sent nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    /// No frame came within the timeout, but this process noticed it so late that it says nothing
    /// about the upstream.
    #[error("this process was {} ms late in the middle of the answer", .0.as_millis())]
    OwnDelay(Duration),
    /// The caller's deadline passed.
    #[error("the request's deadline passed in the middle of the answer")]
    Deadline,
}

impl StreamError {
    /// Whether this process caused the failure, so that it says nothing about the upstream.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self {
            Self::OwnDelay(_) => true,
            Self::Broken(ResponseError::Io(error)) => is_local_limit(error),
            Self::Broken(_) | Self::Stalled(_) | Self::Deadline => false,
        }
    }
}
