//! A response that is passed on as it arrives. It ends with an error event when it breaks off, and
//! returns its slot when it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use admission::{Lease, LeaseOutcome};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use stream_proxy::{ProxyBody, StreamError};
use tokio::time::Instant;
use tracing::Span;

use crate::{
    attempt::BrokenResponse, log_context::log_request, observer::RequestObserver, sse::EventStream,
    stream_timing::StreamTiming,
};

/// A response on its way from an engine to a client.
#[derive(Debug)]
pub(crate) struct StreamingBody {
    body: ProxyBody,
    /// Returned when the body ends, or dropped with the body when the client leaves. `None` means
    /// that the body has ended.
    lease: Option<Lease>,
    /// For a stream of server-sent events.
    events: Option<Events>,
    observer: RequestObserver,
    /// Covers the whole response; disabled by default.
    span: Span,
}

#[derive(Debug)]
struct Events {
    stream: EventStream,
    timing: StreamTiming,
}

impl StreamingBody {
    /// Passes `body` on. `events` is set for a stream of server-sent events.
    pub(crate) fn new(
        body: ProxyBody,
        lease: Lease,
        events: Option<EventStream>,
        observer: RequestObserver,
        span: Span,
    ) -> Self {
        let events = events.map(|stream| Events {
            stream,
            timing: StreamTiming::start(Instant::now()),
        });
        Self {
            body,
            lease: Some(lease),
            events,
            observer,
            span,
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        loop {
            if self.lease.is_none() {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let Some(events) = &mut self.events else {
                        return Poll::Ready(Some(Ok(data)));
                    };
                    match events.stream.push(data) {
                        // The rest of the event is still to come.
                        Ok(whole) if whole.is_empty() => {}
                        Ok(whole) => {
                            self.observer.events_passed(&whole, &mut events.timing);
                            return Poll::Ready(Some(Ok(whole)));
                        }
                        Err(error) => {
                            log_request!(
                                warn,
                                self.observer.log_context(),
                                %error,
                                "an engine does not send valid server-sent events; check its \
                                 kind and version"
                            );
                            return Poll::Ready(self.end(None).map(Ok));
                        }
                    }
                }
                Some(Err(error)) => {
                    // Without events there is no way to report the error to the client. Returning
                    // it closes the connection, so that the client sees that something is missing.
                    return Poll::Ready(Some(self.end(Some(&error)).ok_or(error)));
                }
                None => return Poll::Ready(self.end(None).map(Ok)),
            }
        }
    }

    /// The body has ended. Returns what the client still gets: nothing, the rest of the stream, or
    /// an error event.
    fn end(&mut self, error: Option<&StreamError>) -> Option<Bytes> {
        let lease = self.lease.take()?;
        let stream = self.events.as_mut().map(|events| &mut events.stream);
        let is_cut_short = stream.as_ref().is_some_and(|stream| !stream.is_over());
        if error.is_none() && !is_cut_short {
            lease.ended(LeaseOutcome::Served);
            self.observer.served();
            return stream
                .map(EventStream::take_rest)
                .filter(|rest| !rest.is_empty());
        }
        let BrokenResponse {
            code,
            message,
            outcome,
        } = BrokenResponse::new(error);
        if let Some(outcome) = outcome {
            lease.ended(outcome);
        }
        self.observer.broke_off(code, message);
        log_request!(
            info,
            self.observer.log_context(),
            code = code.as_str(),
            "a response broke off after its first byte"
        );
        stream.map(|stream| stream.dialect().error_event(code, message))
    }
}

impl Drop for StreamingBody {
    fn drop(&mut self) {
        if let Some(events) = &mut self.events {
            self.observer
                .report_stream(&mut events.timing, Instant::now());
        }
    }
}

impl Body for StreamingBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let data = if self.span.is_disabled() {
            self.poll_data(cx)
        } else {
            let span = self.span.clone();
            span.in_scope(|| self.poll_data(cx))
        };
        data.map(|data| data.map(|data| data.map(Frame::data)))
    }

    /// The end of the upstream body must be polled for (see `end`), so a body never ends before.
    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.events {
            None => self.body.size_hint(),
            // An error event may follow.
            Some(_) => SizeHint::default(),
        }
    }
}
