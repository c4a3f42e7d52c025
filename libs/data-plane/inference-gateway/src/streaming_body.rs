//! A response that is passed on as it arrives. It ends with an error event when it breaks off, and
//! returns its slot when it ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use admission::{Lease, LeaseOutcome};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use stream_proxy::{ProxyBody, ResponseError, StreamError};
use tokio::time::Instant;
use tracing::Span;

use crate::{
    attempt::BrokenResponse, attribution::Signal, log_context::log_request,
    observer::RequestObserver, sse::EventStream, stream_timing::StreamTiming,
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
    /// The status of the response is an error of the engine.
    is_error: bool,
    /// Covers the whole response; disabled by default.
    span: Span,
}

#[derive(Debug)]
struct Events {
    stream: EventStream,
    timing: StreamTiming,
}

impl StreamingBody {
    /// Passes `body` on, of a response with `status`. `events` is set for a stream of server-sent
    /// events.
    pub(crate) fn new(
        status: StatusCode,
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
            is_error: status.is_server_error(),
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
                        self.observer.piece_passed(&data);
                        return Poll::Ready(Some(Ok(data)));
                    };
                    let passed = events.stream.push(data);
                    // Otherwise the rest of the event is still to come.
                    if !passed.is_empty() {
                        self.observer.events_passed(&passed, &mut events.timing);
                        let passed = self.observer.for_client(passed);
                        if !passed.is_empty() {
                            return Poll::Ready(Some(Ok(passed)));
                        }
                    }
                }
                Some(Err(error)) => {
                    // Without events, or in the middle of one, there is no way to report the error
                    // to the client. Returning it closes the connection, so that the client sees
                    // that something is missing.
                    return Poll::Ready(Some(self.end(Some(&error)).ok_or(error)));
                }
                None => {
                    let is_mid_event = self.is_mid_event();
                    return Poll::Ready(match self.end(None) {
                        None if is_mid_event => {
                            Some(Err(StreamError::Broken(ResponseError::Closed)))
                        }
                        last => last.map(Ok),
                    });
                }
            }
        }
    }

    fn is_mid_event(&self) -> bool {
        let stream = self.events.as_ref().map(|events| &events.stream);
        stream.is_some_and(EventStream::is_mid_event)
    }

    /// The body has ended. Returns what the client still gets: nothing, the rest of the stream, or
    /// an error event.
    fn end(&mut self, error: Option<&StreamError>) -> Option<Bytes> {
        let lease = self.lease.take()?;
        let is_mid_event = self.is_mid_event();
        let stream = self.events.as_mut().map(|events| &mut events.stream);
        let is_cut_short = stream.as_ref().is_some_and(|stream| !stream.is_over());
        if error.is_none() && !is_cut_short {
            let has_failed =
                self.is_error || stream.as_ref().is_some_and(|stream| stream.has_failed());
            let outcome = if has_failed {
                Signal::EngineError.lease_outcome()
            } else {
                Some(LeaseOutcome::Served)
            };
            if let Some(outcome) = outcome {
                lease.ended(outcome);
            }
            self.observer.served(has_failed);
            // Before the slot is given back.
            self.observer.charge_key();
            return stream
                .map(EventStream::take_rest)
                .filter(|rest| !rest.is_empty());
        }
        let BrokenResponse {
            code,
            message,
            signal,
        } = BrokenResponse::new(error);
        if let Some(outcome) = signal.lease_outcome() {
            lease.ended(outcome);
        }
        self.observer.broke_off(code, message);
        self.observer.charge_key();
        log_request!(
            info,
            self.observer.log_context(),
            code = code.as_str(),
            "a response broke off after its first byte"
        );
        stream
            .filter(|_| !is_mid_event)
            .map(|stream| stream.dialect().error_event(code, message))
    }
}

impl Drop for StreamingBody {
    fn drop(&mut self) {
        // The lease is dropped after this.
        self.observer.charge_key();
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
