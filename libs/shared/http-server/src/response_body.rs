//! A response body that reports its end to the connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{phase::ConnectionState, service::ResponseBody};

pin_project! {
    /// The body of a service. Dropping it begins the idle time of the connection.
    pub(crate) struct TrackedBody<B> {
        #[pin]
        body: B,
        end: ResponseEnd,
    }
}

/// Dropped with the body: hyper drops it after its last frame, and when the client has left.
struct ResponseEnd(Arc<ConnectionState>);

impl Drop for ResponseEnd {
    fn drop(&mut self) {
        self.0.on_response_end(Instant::now());
    }
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, state: Arc<ConnectionState>) -> Self {
        Self {
            body,
            end: ResponseEnd(state),
        }
    }
}

impl<B: ResponseBody> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
