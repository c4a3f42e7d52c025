//! An engine's answer and the slot it occupies.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pool_registry::SlotLease;
use stream_proxy::{ProxyBody, StreamError};

/// An engine's answer on its way through; the slot comes back with its end, or when the reader leaves.
#[derive(Debug)]
pub struct EngineBody {
    body: ProxyBody,
    lease: Option<SlotLease>,
}

impl EngineBody {
    pub(crate) fn new(body: ProxyBody, lease: SlotLease) -> Self {
        Self {
            body,
            lease: Some(lease),
        }
    }
}

impl Body for EngineBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.lease = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
