//! A waiting request.

use std::sync::Arc;

use routing_table::Endpoint;

use crate::request::RoutingPreference;

/// The key of a flow; `None` for requests without one.
pub(crate) type FlowKey = Option<Arc<str>>;

/// A waiting request. `W` wakes it.
#[derive(Debug)]
pub(crate) struct QueuedRequest<W> {
    pub(crate) waker: W,
    pub(crate) preference: Arc<RoutingPreference>,
    pub(crate) tried: Vec<Arc<Endpoint>>,
    pub(crate) flow: FlowKey,
}

impl<W> QueuedRequest<W> {
    /// Whether every endpoint of the model may serve it. If no endpoint can serve such a request,
    /// none can serve any other request for the model.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.tried.is_empty()
            && self.preference.pin.is_none()
            && self.preference.context.at_least.is_none()
    }
}
