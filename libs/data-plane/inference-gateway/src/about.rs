//! Whom a line of the log is about.
//!
//! The spans of a request are off by default, because they would cost more than all that is noted
//! of it (see [`telemetry::REQUEST`]). So each line says itself to which request it belongs; such
//! lines are rare.

use http_server::RequestId;
use pool_registry_types::ReplicaId;
use routing_table::EndpointKey;

/// A request, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About<'a> {
    pub(crate) request_id: Option<&'a RequestId>,
    pub(crate) model: Option<&'a str>,
    /// Where it is, or was last.
    pub(crate) place: Option<&'a EndpointKey>,
}

impl<'a> About<'a> {
    pub(crate) fn request_id(self) -> Option<&'a str> {
        self.request_id.map(RequestId::as_str)
    }

    pub(crate) fn node(self) -> Option<&'a str> {
        self.place.map(|place| place.node.as_str())
    }

    pub(crate) fn pool(self) -> Option<&'a str> {
        self.place.map(|place| place.pool.as_str())
    }

    pub(crate) fn replica(self) -> Option<&'a str> {
        self.place?.replica.as_ref().map(ReplicaId::as_str)
    }
}

/// Logs a line at `$level`, with what it is [`About`] before the rest.
macro_rules! tell {
    ($level:ident, $about:expr, $($rest:tt)+) => {{
        let about: $crate::about::About<'_> = $about;
        tracing::$level!(
            request_id = about.request_id(),
            model = about.model,
            node = about.node(),
            pool = about.pool(),
            replica = about.replica(),
            $($rest)+
        );
    }};
}

pub(crate) use tell;
