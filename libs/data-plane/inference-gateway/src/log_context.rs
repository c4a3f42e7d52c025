//! Which request a log line is about.
//!
//! Request spans are off by default, because they cost more than everything else that is recorded
//! about a request (see [`telemetry::REQUEST`]). So each line names its request itself. Such lines
//! are rare.

use http_server::RequestId;
use pool_registry_types::ReplicaId;
use routing_table::EndpointKey;

/// What identifies a request in the log, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogContext<'a> {
    pub(crate) request_id: Option<&'a RequestId>,
    pub(crate) model: Option<&'a str>,
    /// The current endpoint, or the last one.
    pub(crate) endpoint: Option<&'a EndpointKey>,
}

impl<'a> LogContext<'a> {
    pub(crate) fn request_id(self) -> Option<&'a str> {
        self.request_id.map(RequestId::as_str)
    }

    pub(crate) fn node(self) -> Option<&'a str> {
        self.endpoint.map(|endpoint| endpoint.node.as_str())
    }

    pub(crate) fn pool(self) -> Option<&'a str> {
        self.endpoint.map(|endpoint| endpoint.pool.as_str())
    }

    pub(crate) fn replica(self) -> Option<&'a str> {
        self.endpoint?.replica.as_ref().map(ReplicaId::as_str)
    }
}

/// Logs a line at `$level` with the fields of a [`LogContext`] before the rest.
macro_rules! log_request {
    ($level:ident, $context:expr, $($rest:tt)+) => {{
        let context: $crate::log_context::LogContext<'_> = $context;
        tracing::$level!(
            request_id = context.request_id(),
            model = context.model,
            node = context.node(),
            pool = context.pool(),
            replica = context.replica(),
            $($rest)+
        );
    }};
}

pub(crate) use log_request;
