//! An engine's answer and the slot it occupies.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use stream_proxy::{ProxyBody, StreamError};
use tracing::Span;

use crate::slot::Slot;

/// An engine's answer on its way through; the slot comes back with its end, or, when the reader leaves before,
/// when the engine has stopped.
#[derive(Debug)]
pub struct EngineBody {
    body: ProxyBody,
    slot: Option<Slot>,
    /// Around all of it; off by default.
    span: Span,
}

impl EngineBody {
    pub(crate) fn new(body: ProxyBody, slot: Slot) -> Self {
        Self {
            body,
            slot: Some(slot),
            span: tracing::debug_span!(target: telemetry::REQUEST, "stream"),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            // It broke off: the engine may still be at it.
            Some(Err(_)) => self.slot = None,
            Some(Ok(_)) if !self.body.is_end_stream() => {}
            Some(Ok(_)) | None => {
                if let Some(slot) = self.slot.take() {
                    slot.done();
                }
            }
        }
        Poll::Ready(frame)
    }
}

impl Body for EngineBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if self.span.is_disabled() {
            return self.poll(cx);
        }
        let span = self.span.clone();
        span.in_scope(|| self.poll(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
