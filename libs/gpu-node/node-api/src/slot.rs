//! A claimed slot, and what becomes of it when its request is abandoned.

use engine_probe::{AbandonedRequests, TrackedRequest};
use pool_registry::SlotLease;
use stream_proxy::BodyGuard;
use tracing::Span;

/// A claimed slot. Dropped before its request is [done](Slot::done), it is kept until the engine
/// has stopped, where the engine tells.
#[derive(Debug)]
pub(crate) struct Slot {
    lease: SlotLease,
    /// `None` when abandoned requests are not tracked.
    visit: Option<TrackedRequest>,
    /// Around the engine's answer, from its first byte to its end; off by default.
    stream: Span,
}

impl Slot {
    pub(crate) fn new(lease: SlotLease, abandoned_requests: Option<&AbandonedRequests>) -> Self {
        Self {
            visit: abandoned_requests
                .map(|abandoned_requests| abandoned_requests.track(lease.engine(), lease.url())),
            lease,
            stream: Span::none(),
        }
    }

    pub(crate) fn lease(&self) -> &SlotLease {
        &self.lease
    }

    /// The engine's answer has begun.
    pub(crate) fn answered(&mut self) {
        self.stream = tracing::debug_span!(target: telemetry::REQUEST, "stream");
        if let Some(visit) = &self.visit {
            visit.answered();
        }
    }

    /// The engine has nothing to do with the request any more: it is answered, or never came there.
    pub(crate) fn done(mut self) {
        self.visit = None;
    }
}

impl BodyGuard for Slot {
    fn done(self: Box<Self>) {
        Slot::done(*self);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(visit) = self.visit.take().filter(TrackedRequest::is_tracked) {
            visit.abandon(Box::new(self.lease.abandon()));
        }
    }
}
