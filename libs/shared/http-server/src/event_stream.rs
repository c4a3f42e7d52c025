//! Responses of server-sent events (HTML standard, section 9.2).

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
};
use tokio::time::timeout;

use crate::ApiError;

/// After this long without an event a reader gets a comment, so that proxies do not close the
/// connection. Their timeouts are half a minute or more.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The comment.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// How a client says which event it read last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx not to buffer events.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A source of events.
pub trait EventSource: Send + 'static {
    /// The next events, complete and encoded; `None` after the last.
    ///
    /// The future is cancel-safe: dropping it loses no event.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// A response with the events of `source`, and a comment now and then while there are none.
pub fn event_stream(source: impl EventSource) -> Response {
    let events = stream::unfold(source, async |mut source| {
        let events = match timeout(KEEP_ALIVE, source.next()).await {
            Ok(next) => next?,
            Err(_) => COMMENT,
        };
        Some((Ok::<_, Infallible>(events), source))
    });
    let headers = [
        (CONTENT_TYPE, EVENT_STREAM),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (NO_BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// In the extensions of a response whose stream has no end of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endless;

/// The same for a stream that has no end of its own. [`Authenticated`](crate::Authenticated) ends
/// it within a second when its reader's credential is not valid any more.
pub fn endless_event_stream(source: impl EventSource) -> Response {
    let mut response = event_stream(source);
    response.extensions_mut().insert(Endless);
    response
}

/// Whether the client asks for a stream of events.
#[must_use]
pub fn accepts_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| {
            kind.split(';')
                .next()
                .is_some_and(|kind| kind.trim() == "text/event-stream")
        })
}

/// The last event that the client read, if it says so.
///
/// # Errors
/// When the header is not text.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    match value.to_str().map(str::trim) {
        // A client that has read nothing may send an empty id.
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ApiError::invalid("Last-Event-ID: must be plain text")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use http_body_util::BodyExt as _;
    use tokio::time::Instant;

    use super::*;

    /// Sends one event, is silent for a long time, and ends.
    struct Slow(u32);

    impl EventSource for Slow {
        async fn next(&mut self) -> Option<Bytes> {
            self.0 += 1;
            match self.0 {
                1 => Some(Bytes::from_static(b"data: 1\n\n")),
                2 | 3 => pending().await,
                _ => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_kept_alive() {
        let start = Instant::now();
        let response = event_stream(Slow(0));
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "data: 1\n\n:\n\n:\n\n");
        assert_eq!(start.elapsed(), 2 * KEEP_ALIVE);
    }

    #[test]
    fn what_a_client_says() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, text/event-stream;q=0.9", true),
            ("*/*", false),
            ("text/event-streams", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts_events(&headers), expected, "{accept}");
        }
        let said = |value: &'static [u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            last_event_id(&HeaderMap::from_iter([(LAST_EVENT_ID, value)]))
                .map(|id| id.map(str::to_owned))
        };
        assert_eq!(said(b""), Ok(None));
        assert_eq!(said(b" 7 "), Ok(Some("7".to_owned())));
        assert!(said(b"\xff").is_err());
        assert_eq!(last_event_id(&HeaderMap::new()), Ok(None));
    }
}
