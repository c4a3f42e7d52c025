//! Makes the client's response of an endpoint's.

use admission::{Lease, LeaseOutcome};
use bytes::{Bytes, BytesMut};
use http::{
    Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    response::Parts,
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use node_transport::NodeResponse;
use request_forwarding::stream_span;
use stream_proxy::{ProxyBody, StreamError};
use tracing::Instrument as _;

use crate::{
    attempt::{Accepted, AttemptError, BrokenResponse},
    body::GatewayBody,
    context_length::refused,
    dialect::Dialect,
    log_context::log_request,
    observer::RequestObserver,
    response_headers::{insert_attempts, insert_endpoint},
    sse::EventStream,
    streaming_body::StreamingBody,
};

/// A response up to this size that is no stream is read whole before the client gets its first
/// byte. An engine that dies in the middle of it can then still be replaced, and a slow client
/// holds no slot.
pub(crate) const WHOLE_ANSWER_BYTES: u64 = 1024 * 1024;

/// A response that the client will get.
#[derive(Debug)]
pub(crate) struct ClientResponse {
    head: Parts,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Bytes),
    /// `events` is set for a stream of server-sent events.
    Streaming {
        body: ProxyBody,
        events: Option<EventStream>,
    },
}

impl ClientResponse {
    /// Takes the response of an endpoint. An error means that it broke off while it was read whole.
    pub(crate) async fn receive(
        accepted: Accepted,
        lease: &mut Lease,
        observer: &mut RequestObserver,
    ) -> Result<Self, AttemptError> {
        let Accepted { response, outcome } = accepted;
        let NodeResponse { response, report } = response;
        let (mut head, mut body) = response.into_parts();
        if let Some(outcome) = outcome {
            lease.used(report.replica.as_ref());
            lease.ended(outcome);
        } else {
            let slots = report.slots.map(|slots| (slots.free, slots.total));
            lease.answered(report.replica.as_ref(), slots);
        }
        observer.served_by(lease.endpoint());
        insert_endpoint(&mut head.headers, lease, &report);
        insert_attempts(&mut head.headers, &observer.retry);
        let is_events = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_events {
            // An error event may be added to a stream.
            head.headers.remove(CONTENT_LENGTH);
            // The stream of an error response has no proper end.
            let dialect = if head.status.is_success() {
                observer.route().dialect
            } else {
                Dialect::Plain
            };
            let content = Content::Streaming {
                body,
                events: Some(EventStream::new(dialect)),
            };
            return Ok(Self { head, content });
        }
        let is_small = body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= WHOLE_ANSWER_BYTES);
        let whole = if is_small {
            let reading = read_whole(&mut body).instrument(stream_span());
            reading.await.map_err(|error| broke_off(&error, observer))?
        } else {
            None
        };
        let content = match whole {
            Some(whole) => {
                lease.ended(LeaseOutcome::Served);
                Content::Whole(whole)
            }
            None => Content::Streaming { body, events: None },
        };
        Ok(Self { head, content })
    }

    /// The context that the request needs, when this is the refusal of an engine for which it is
    /// too long; see [`refused`](crate::context_length::refused).
    pub(crate) fn refused_context(&self, known: Option<u32>) -> Option<u32> {
        match &self.content {
            Content::Whole(body) if self.head.status.is_client_error() => {
                refused(self.head.status, body, known)
            }
            _ => None,
        }
    }

    /// The response. Its body returns the slot of `lease` and ends `observer`.
    pub(crate) fn into_response(
        self,
        lease: Lease,
        mut observer: RequestObserver,
    ) -> Response<GatewayBody> {
        let body = match self.content {
            Content::Whole(whole) => {
                observer.served_whole(&whole);
                GatewayBody::whole(whole)
            }
            Content::Streaming { body, events } => {
                let span = observer.span().in_scope(stream_span);
                GatewayBody::streaming(StreamingBody::new(body, lease, events, observer, span))
            }
        };
        Response::from_parts(self.head, body)
    }
}

/// The response broke off before the client got any of it.
fn broke_off(error: &StreamError, observer: &RequestObserver) -> AttemptError {
    log_request!(
        info,
        observer.log_context(),
        error = error as &dyn std::error::Error,
        "a response broke off before its first byte was passed on"
    );
    BrokenResponse::new(Some(error)).into()
}

/// The whole body, if it has no more than [`WHOLE_ANSWER_BYTES`]; otherwise `None`, and the body is
/// as it was. The bytes that were read count, not the announced length. Small bodies arrive in one
/// piece, which is returned without a copy.
async fn read_whole(body: &mut ProxyBody) -> Result<Option<Bytes>, StreamError> {
    let first = match body.frame().await {
        Some(frame) => frame?.into_data().unwrap_or_default(),
        None => return Ok(Some(Bytes::new())),
    };
    if body.is_end_stream() {
        return Ok(Some(first));
    }
    let mut read = BytesMut::from(first);
    while read.len() as u64 <= WHOLE_ANSWER_BYTES {
        match body.frame().await {
            Some(frame) => read.extend_from_slice(&frame?.into_data().unwrap_or_default()),
            None => return Ok(Some(read.freeze())),
        }
    }
    body.put_back(read.freeze());
    Ok(None)
}
