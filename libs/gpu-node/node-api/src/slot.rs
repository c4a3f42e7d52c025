//! A claimed slot, and how it is returned when its request is abandoned.

use engine_probe::{AbandonedRequests, TrackedRequest};
use pool_registry::SlotLease;
use request_forwarding::stream_span;
use stream_proxy::BodyGuard;
use tracing::Span;

/// A claimed slot. When it is dropped before its request is [done](ClaimedSlot::done), the slot is
/// kept until the engine has stopped, where the engine reports that.
#[derive(Debug)]
pub(crate) struct ClaimedSlot {
    lease: SlotLease,
    /// `None` when abandoned requests are not tracked.
    tracked: Option<TrackedRequest>,
    /// Covers the engine's response from its first byte to its end; disabled by default.
    stream: Span,
}

impl ClaimedSlot {
    pub(crate) fn new(lease: SlotLease, abandoned_requests: Option<&AbandonedRequests>) -> Self {
        Self {
            tracked: abandoned_requests
                .map(|tracker| tracker.track(lease.engine(), lease.url(), lease.key())),
            lease,
            stream: Span::none(),
        }
    }

    pub(crate) fn lease(&self) -> &SlotLease {
        &self.lease
    }

    /// The engine's response has started.
    pub(crate) fn answered(&mut self) {
        self.stream = stream_span();
        if let Some(tracked) = &self.tracked {
            tracked.answered();
        }
    }

    /// The engine has finished the request, or never got it.
    pub(crate) fn done(mut self) {
        self.tracked = None;
    }
}

impl BodyGuard for ClaimedSlot {
    fn done(self: Box<Self>) {
        ClaimedSlot::done(*self);
    }
}

impl Drop for ClaimedSlot {
    fn drop(&mut self) {
        if let Some(tracked) = self.tracked.take().filter(TrackedRequest::is_tracked) {
            tracked.abandon(Box::new(self.lease.abandon()));
        }
    }
}
