//! `GET /v2/events`: recent events, as a list or as a stream.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use event_log::{CAPACITY, Event, Reader};
use http_server::{ApiError, EventSource, accepts_events, endless_event_stream, last_event_id};
use serde::Serialize;

use crate::api::ControlApi;

/// Number of events without `limit`.
const DEFAULT_LIMIT: usize = 100;

/// `GET /v2/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventsAnswer {
    /// The oldest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Event>))]
    pub events: Vec<Arc<Event>>,
}

/// The parsed query.
#[derive(Debug, Default, PartialEq, Eq)]
struct EventsQuery {
    limit: Option<usize>,
    after: Option<u64>,
}

impl EventsQuery {
    /// Unknown parameters are ignored, as unknown fields are.
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=CAPACITY).contains(limit));
                    let wrong = || {
                        ApiError::invalid(format!("limit: must be a number from 1 to {CAPACITY}"))
                    };
                    parsed.limit = Some(limit.ok_or_else(wrong)?);
                }
                "after" => parsed.after = Some(number("after", value)?),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

fn number(name: &str, value: &str) -> Result<u64, ApiError> {
    value
        .parse()
        .map_err(|_| ApiError::invalid(format!("{name}: must be the id of an event, a number")))
}

struct EventFollower(Reader);

impl EventSource for EventFollower {
    async fn next(&mut self) -> Option<Bytes> {
        self.0.next().await
    }
}

/// Recent events; with `Accept: text/event-stream` a stream that continues with new ones.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/events", tag = "watching",
    params(
        ("limit" = Option<u32>, Query, description = "The most events, the latest ones.",
            minimum = 1, maximum = 1000),
        ("after" = Option<u64>, Query, description = "Only events after this id."),
        ("Last-Event-ID" = Option<String>, Header,
            description = "Like `after`, for streams; it takes precedence.",
            pattern = "^[0-9]{0,19}$"),
    ),
    responses((status = 200, description = "The oldest first.", content(
        (EventsAnswer = "application/json"),
            (pool_registry_types::schema::EventStream = "text/event-stream"))))
))]
pub(crate) async fn events(
    State(api): State<ControlApi>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = EventsQuery::parse(request.uri().query().unwrap_or_default())?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let last = last_event_id(request.headers())?
        .map(|id| number("Last-Event-ID", id))
        .transpose()?;
    if accepts_events(request.headers()) {
        let reader = match last.or(query.after) {
            Some(id) => api.events.follow_after(id),
            None => api.events.follow_latest(limit),
        };
        return Ok(endless_event_stream(EventFollower(reader)));
    }
    let events = match query.after {
        Some(id) => api.events.after(id, limit),
        None => api.events.latest(limit),
    };
    Ok(Json(EventsAnswer { events }).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_query_is_refused_with_its_parameter() {
        let query = |limit, after| Ok(EventsQuery { limit, after });
        assert_eq!(EventsQuery::parse(""), query(None, None));
        assert_eq!(
            EventsQuery::parse("limit=5&after=7&x=y"),
            query(Some(5), Some(7))
        );
        for (text, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit", "limit"),
            ("limit=ten", "limit"),
            ("after=-1", "after"),
        ] {
            let error = EventsQuery::parse(text).unwrap_err();
            assert!(error.message.starts_with(field), "{text}: {error}");
        }
    }
}
