//! Makes the client's response of an endpoint's.

use admission::{Lease, LeaseOutcome};
use bytes::Bytes;
use http::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    response::Parts,
};
use http_body::Body as _;
use node_transport::NodeResponse;
use request_forwarding::stream_span;
use stream_proxy::{ProxyBody, StreamError};
use tracing::Instrument as _;

use crate::{
    attempt::{BrokenResponse, FailedAttempt},
    body::GatewayBody,
    context_length::refused,
    dialect::Dialect,
    log_context::log_request,
    observer::RequestObserver,
    response_headers::{insert_attempts, insert_endpoint},
    sse::EventStream,
    streaming_body::StreamingBody,
    whole_answer::{WHOLE_ANSWER_BYTES, read_whole},
};

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
    /// Takes the response of an endpoint.
    pub(crate) fn new(
        response: NodeResponse,
        lease: &mut Lease,
        observer: &mut RequestObserver,
    ) -> Self {
        let NodeResponse { response, report } = response;
        let (mut head, body) = response.into_parts();
        let slots = report.slots.map(|slots| (slots.free, slots.total));
        lease.answered(report.replica.as_ref(), slots);
        observer.served_by(lease.endpoint());
        insert_endpoint(&mut head.headers, lease, &report);
        insert_attempts(&mut head.headers, &observer.retry);
        // A compressed stream passes untouched: neither can its events be seen, nor one be added.
        let is_events = !head.headers.contains_key(CONTENT_ENCODING)
            && head
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
            return Self { head, content };
        }
        let content = Content::Streaming { body, events: None };
        Self { head, content }
    }

    /// Reads a small body whole. An error means that it broke off meanwhile.
    pub(crate) async fn read_small(
        &mut self,
        lease: &mut Lease,
        observer: &RequestObserver,
    ) -> Result<(), FailedAttempt> {
        let Content::Streaming { body, events: None } = &mut self.content else {
            return Ok(());
        };
        let is_small = body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= WHOLE_ANSWER_BYTES);
        if is_small {
            let reading = read_whole(body).instrument(stream_span());
            let whole = reading.await.map_err(|error| broke_off(&error, observer))?;
            if let Some(whole) = whole {
                lease.ended(LeaseOutcome::Served);
                self.content = Content::Whole(whole);
            }
        }
        Ok(())
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
                observer.served_whole(self.head.status, &whole);
                GatewayBody::whole(whole)
            }
            Content::Streaming { body, events } => {
                let span = observer.span().in_scope(stream_span);
                let status = self.head.status;
                let body = StreamingBody::new(status, body, lease, events, observer, span);
                GatewayBody::streaming(body)
            }
        };
        Response::from_parts(self.head, body)
    }
}

/// The response broke off before the client got any of it.
fn broke_off(error: &StreamError, observer: &RequestObserver) -> FailedAttempt {
    log_request!(
        info,
        observer.log_context(),
        error = error as &dyn std::error::Error,
        "a response broke off before its first byte was passed on"
    );
    BrokenResponse::new(Some(error)).into()
}
