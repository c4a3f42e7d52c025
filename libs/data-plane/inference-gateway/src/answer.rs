//! The answer's body: passed on as it comes, ended honestly when it breaks, its slot given back at
//! its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use admission::{Failure, Lease, Outcome};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pool_registry_types::ErrorCode;
use stream_proxy::{ProxyBody, StreamError};
use tracing::Span;

use crate::{about::tell, record::Record, sse::EventStream};

/// The body of an answer of the gateway.
#[derive(Debug)]
pub struct GatewayBody(Kind);

#[derive(Debug)]
enum Kind {
    /// All of it is here.
    Whole(Bytes),
    /// It comes from an engine.
    Passing(Box<Passing>),
}

impl GatewayBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(crate) fn passing(passing: Passing) -> Self {
        Self(Kind::Passing(Box::new(passing)))
    }
}

/// An answer on its way from an engine to a client.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) body: ProxyBody,
    /// Given back when the body ends; dropped with it when the client leaves.
    pub(crate) lease: Option<Lease>,
    pub(crate) events: Option<EventStream>,
    pub(crate) record: Record,
    /// Around all of it; off by default.
    pub(crate) span: Span,
}

impl Passing {
    /// The body is over. What the client still gets: nothing, the rest, or the reason why there is
    /// no more.
    fn end(&mut self, broken: Option<&StreamError>) -> Option<Bytes> {
        let lease = self.lease.take()?;
        let cut_short = self.events.as_ref().is_some_and(|events| !events.is_over());
        if broken.is_none() && !cut_short {
            lease.ended(Outcome::Served);
            self.record.served();
            return self
                .events
                .as_mut()
                .map(EventStream::take_rest)
                .filter(|rest| !rest.is_empty());
        }
        let (code, message, outcome) = self::broken(broken);
        if let Some(outcome) = outcome {
            lease.ended(outcome);
        }
        self.record.broke_off(code, message);
        tell!(
            info,
            self.record.about(),
            code = code.as_str(),
            "an answer broke off after it had begun"
        );
        self.events
            .as_ref()
            .map(|events| events.dialect().error_event(code, message))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
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
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    };
                    let whole = match events.push(data) {
                        Ok(whole) => whole,
                        Err(error) => {
                            tell!(
                                warn,
                                self.record.about(),
                                %error,
                                "an engine does not speak server-sent events; check what it is, and its version"
                            );
                            return Poll::Ready(self.end(None).map(|last| Ok(Frame::data(last))));
                        }
                    };
                    if !whole.is_empty() {
                        self.record.events(&whole);
                        return Poll::Ready(Some(Ok(Frame::data(whole))));
                    }
                }
                Some(Err(error)) => {
                    // Without events there is no way to tell; an error here cuts the connection, so
                    // that the client at least sees that something is missing.
                    return Poll::Ready(Some(match self.end(Some(&error)) {
                        Some(last) => Ok(Frame::data(last)),
                        None => Err(error),
                    }));
                }
                None => return Poll::Ready(self.end(None).map(|last| Ok(Frame::data(last)))),
            }
        }
    }
}

/// What the client is told of an answer that broke off, and what that says of the endpoint. `None`:
/// its stream ended as if it were whole.
pub(crate) fn broken(why: Option<&StreamError>) -> (ErrorCode, &'static str, Option<Outcome>) {
    let failed = Some(Outcome::Failed(Failure::Broken));
    match why {
        // The client's own limit says nothing about the engine, which may go on for a moment.
        Some(StreamError::Deadline) => (
            ErrorCode::DeadlineExceeded,
            "the request's deadline passed in the middle of the answer",
            None,
        ),
        Some(error) if error.is_own() => (
            ErrorCode::WorkerReset,
            "this gateway was overloaded in the middle of the answer",
            None,
        ),
        Some(StreamError::Stalled(_)) => (
            ErrorCode::WorkerReset,
            "the engine stalled in the middle of its answer",
            failed,
        ),
        Some(StreamError::Broken(_) | StreamError::OwnDelay(_)) | None => (
            ErrorCode::WorkerReset,
            "the engine broke off in the middle of its answer",
            failed,
        ),
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Passing(passing) if passing.span.is_disabled() => passing.poll_frame(cx),
            Kind::Passing(passing) => {
                let span = passing.span.clone();
                span.in_scope(|| passing.poll_frame(cx))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            // Its end has to be looked at (see `end`), so it is never over before it was polled to
            // it.
            Kind::Passing(passing) => passing.lease.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Passing(passing) if passing.events.is_none() => passing.body.size_hint(),
            // An error event may be added.
            Kind::Passing(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use stream_proxy::ResponseError;

    use super::*;

    // spec: PATH-41, PATH-42
    #[test]
    fn only_what_the_upstream_did_is_held_against_it() {
        let io = |code| StreamError::Broken(ResponseError::Io(io::Error::from_raw_os_error(code)));
        let (no_buffers, reset) = (io(105), io(104));
        let second = Duration::from_secs(1);
        for (error, code, blames) in [
            (
                Some(StreamError::Deadline),
                ErrorCode::DeadlineExceeded,
                false,
            ),
            (
                Some(StreamError::OwnDelay(second)),
                ErrorCode::WorkerReset,
                false,
            ),
            (Some(no_buffers), ErrorCode::WorkerReset, false),
            (Some(reset), ErrorCode::WorkerReset, true),
            (
                Some(StreamError::Stalled(second)),
                ErrorCode::WorkerReset,
                true,
            ),
            (
                Some(StreamError::Broken(ResponseError::Closed)),
                ErrorCode::WorkerReset,
                true,
            ),
            (None, ErrorCode::WorkerReset, true),
        ] {
            let (told, _, outcome) = broken(error.as_ref());
            let expected = blames.then_some(Outcome::Failed(Failure::Broken));
            assert_eq!((told, outcome), (code, expected), "{error:?}");
        }
    }
}
