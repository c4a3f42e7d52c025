//! Which endpoint has stored which response of `/v1/responses`.
//!
//! Engines keep these responses in their own memory, so a later request for one must reach the same
//! engine. The gateway remembers the last ones. It forgets them when it restarts, as engines do.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use admission::Admission;
use memchr::memmem;
use parking_lot::Mutex;
use pool_registry_types::ErrorCode;
use routing_table::Endpoint;
use serde::Deserialize;

use crate::error::GatewayError;

/// The most responses whose endpoints are remembered; the oldest is forgotten first.
pub(crate) const MAX_STORED_RESPONSES: usize = 10_000;

/// The longest id of a response. A longer one is not remembered.
pub(crate) const MAX_RESPONSE_ID_BYTES: usize = 128;

/// The events of a stream in which its id is looked for. It is in the first one.
const EVENTS_WITH_ID: u8 = 4;

/// Where a stored response is.
#[derive(Debug, Clone)]
pub(crate) struct ResponseOwner {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) model: Arc<str>,
}

impl ResponseOwner {
    /// Whether its endpoint still exists.
    fn is_here(&self, admission: &Admission) -> bool {
        admission.in_flight_at(self.endpoint.key()).is_some()
    }
}

/// The endpoints of the last responses.
#[derive(Debug, Default)]
pub(crate) struct StoredResponses(Mutex<Owners>);

#[derive(Debug, Default)]
struct Owners {
    by_id: HashMap<Arc<str>, ResponseOwner>,
    oldest_first: VecDeque<Arc<str>>,
}

impl StoredResponses {
    /// The engine at `endpoint` has made the response `id`.
    pub(crate) fn remember(&self, id: &str, endpoint: &Arc<Endpoint>, model: &str) {
        if !is_plain(id) {
            return;
        }
        let owner = ResponseOwner {
            endpoint: Arc::clone(endpoint),
            model: model.into(),
        };
        let id: Arc<str> = id.into();
        let mut owners = self.0.lock();
        if owners.by_id.insert(Arc::clone(&id), owner).is_some() {
            return;
        }
        owners.oldest_first.push_back(id);
        if owners.oldest_first.len() > MAX_STORED_RESPONSES
            && let Some(oldest) = owners.oldest_first.pop_front()
        {
            owners.by_id.remove(&oldest);
        }
    }

    /// Where the response `id` is.
    pub(crate) fn owner(
        &self,
        id: &str,
        admission: &Admission,
    ) -> Result<ResponseOwner, GatewayError> {
        let owner = self.0.lock().by_id.get(id).cloned();
        let owner = owner.ok_or_else(|| {
            not_found(
                "response_id",
                "this response is not known here: engines keep responses in memory, and this \
                 server remembers the last ones that it passed on",
            )
        })?;
        if owner.is_here(admission) {
            Ok(owner)
        } else {
            Err(not_found(
                "response_id",
                "the engine that made this response is gone",
            ))
        }
    }

    /// Where the response is that the request in `body` continues with `model`. An id that is not
    /// known here is left to the engine: it may know it from before this process started.
    pub(crate) fn owner_of_previous(
        &self,
        body: &[u8],
        model: &str,
        admission: &Admission,
    ) -> Result<Option<ResponseOwner>, GatewayError> {
        let Some(id) = previous_id(body) else {
            return Ok(None);
        };
        let owner = self.0.lock().by_id.get(&*id).cloned();
        match owner.filter(|owner| *owner.model == *model) {
            Some(owner) if !owner.is_here(admission) => Err(not_found(
                PREVIOUS,
                "the engine that made the previous response is gone, and the response with it: \
                 send the whole conversation as `input`",
            )),
            owner => Ok(owner),
        }
    }
}

/// The field that names the response to continue.
const PREVIOUS: &str = "previous_response_id";

/// The id of the response that a request continues. Most requests continue none, and are not
/// parsed.
fn previous_id(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Continued<'a> {
        #[serde(borrow)]
        previous_response_id: Option<Cow<'a, str>>,
    }
    memmem::find(body, PREVIOUS.as_bytes())?;
    let continued: Continued<'_> = serde_json::from_slice(body).ok()?;
    continued.previous_response_id
}

fn not_found(param: &'static str, message: &'static str) -> GatewayError {
    GatewayError {
        param: Some(param),
        ..GatewayError::new(ErrorCode::NotFound, message)
    }
}

/// Whether an id can be part of a path as it is.
fn is_plain(id: &str) -> bool {
    (1..=MAX_RESPONSE_ID_BYTES).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Looks for the id of one response, and remembers its endpoint.
#[derive(Debug)]
pub(crate) struct ResponseIdReader {
    stored: Arc<StoredResponses>,
    events_left: u8,
}

/// The part of a response, or of an event, that holds an id.
#[derive(Deserialize)]
struct WithId<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response: Option<Id<'a>>,
}

#[derive(Deserialize)]
struct Id<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

impl ResponseIdReader {
    pub(crate) fn new(stored: &Arc<StoredResponses>) -> Self {
        Self {
            stored: Arc::clone(stored),
            events_left: EVENTS_WITH_ID,
        }
    }

    /// A whole response came.
    pub(crate) fn whole(&self, response: &[u8], endpoint: &Arc<Endpoint>, model: &str) {
        if let Some(id) = serde_json::from_slice::<WithId<'_>>(response)
            .ok()
            .and_then(|response| response.id)
        {
            self.stored.remember(&id, endpoint, model);
        }
    }

    /// Whole events of a stream came. False when no more of them are needed.
    pub(crate) fn events(&mut self, events: &[u8], endpoint: &Arc<Endpoint>, model: &str) -> bool {
        for field in sse::fields(events).filter(|field| field.name == b"data") {
            let event = serde_json::from_slice::<WithId<'_>>(field.value).ok();
            if let Some(id) = event.and_then(|event| event.response).and_then(|it| it.id) {
                self.stored.remember(&id, endpoint, model);
                return false;
            }
            self.events_left = self.events_left.saturating_sub(1);
            if self.events_left == 0 {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use admission::AdmissionConfig;
    use pool_registry_types::{HttpUrl, NodeId, PoolId};
    use routing_table::EndpointKey;

    use super::*;

    fn endpoint(node: &str) -> Arc<Endpoint> {
        let key = EndpointKey {
            node: NodeId::new(node).unwrap(),
            pool: PoolId::new("pool-0").unwrap(),
            replica: None,
        };
        let target = Arc::new(HttpUrl::new("http://127.0.0.1:1").unwrap());
        Arc::new(Endpoint::new(key, 1, 1, target, None))
    }

    fn node_of(stored: &StoredResponses, id: &str) -> Option<String> {
        let owners = stored.0.lock();
        let owner = owners.by_id.get(id)?;
        Some(owner.endpoint.key().node.to_string())
    }

    // spec: PATH-104
    #[test]
    fn the_id_of_a_response_is_found_in_both_forms() {
        let stored = Arc::new(StoredResponses::default());
        let (a, b) = (endpoint("a"), endpoint("b"));
        let reader = ResponseIdReader::new(&stored);
        reader.whole(br#"{"id":"resp_1","output":[{"id":"msg_1"}]}"#, &a, "m");
        assert_eq!(node_of(&stored, "resp_1").as_deref(), Some("a"));
        assert_eq!(node_of(&stored, "msg_1"), None);

        let mut reader = ResponseIdReader::new(&stored);
        let created = b"event: response.created\ndata: {\"type\":\"response.created\",\
            \"response\":{\"id\":\"resp_2\",\"object\":\"response\"}}\n\n";
        assert!(reader.events(b": ping\n\n", &b, "m"));
        assert!(!reader.events(created, &b, "m"));
        assert_eq!(node_of(&stored, "resp_2").as_deref(), Some("b"));

        let mut reader = ResponseIdReader::new(&stored);
        let other = b"data: {\"type\":\"x\"}\n\n".repeat(usize::from(EVENTS_WITH_ID));
        assert!(
            !reader.events(&other, &b, "m"),
            "no stream is read to its end"
        );
    }

    // spec: PATH-110
    #[test]
    fn a_request_continues_a_known_response_of_its_model_only() {
        let stored = StoredResponses::default();
        let admission = Admission::new(AdmissionConfig::default());
        stored.remember("resp_1", &endpoint("a"), "m");
        let owner = |body: &str, model| {
            let found = stored.owner_of_previous(body.as_bytes(), model, &admission);
            found.map(|owner| owner.is_some())
        };
        let body = r#"{"model":"m","previous_response_id":"resp_1"}"#;
        let gone = owner(body, "m").unwrap_err();
        assert_eq!(
            (gone.code, gone.param),
            (ErrorCode::NotFound, Some("previous_response_id"))
        );
        assert_eq!(owner(body, "other"), Ok(false));
        for left_to_the_engine in [
            r#"{"previous_response_id":"resp_2"}"#,
            r#"{"previous_response_id":null}"#,
            r#"{"previous_response_id":7}"#,
            r#"{"input":"previous_response_id"}"#,
            r#"{"input":[{"previous_response_id":"resp_1"}]}"#,
            "previous_response_id",
            "{}",
        ] {
            assert_eq!(owner(left_to_the_engine, "m"), Ok(false));
        }
    }

    // spec: PATH-104
    #[test]
    fn what_is_remembered_is_bounded() {
        let stored = StoredResponses::default();
        let a = endpoint("a");
        for number in 0..=MAX_STORED_RESPONSES {
            stored.remember(&format!("resp_{number}"), &a, "m");
            stored.remember(&format!("resp_{number}"), &a, "m");
        }
        assert_eq!(node_of(&stored, "resp_0"), None);
        assert!(node_of(&stored, "resp_1").is_some());
        assert_eq!(stored.0.lock().by_id.len(), MAX_STORED_RESPONSES);
        for odd in [
            "",
            "a/b",
            "a%2fb",
            "..",
            &"x".repeat(MAX_RESPONSE_ID_BYTES + 1),
        ] {
            stored.remember(odd, &a, "m");
            assert_eq!(node_of(&stored, odd), None, "{odd}");
        }
    }

    // spec: PATH-104
    #[test]
    fn an_unknown_id_and_a_lost_engine_are_told_apart() {
        let stored = StoredResponses::default();
        let admission = Admission::new(AdmissionConfig::default());
        let unknown = stored.owner("resp_1", &admission).unwrap_err();
        stored.remember("resp_1", &endpoint("a"), "m");
        let gone = stored.owner("resp_1", &admission).unwrap_err();
        assert!(unknown.message.contains("not known"), "{}", unknown.message);
        assert!(gone.message.contains("is gone"), "{}", gone.message);
        assert_eq!(
            (unknown.code, gone.code),
            (ErrorCode::NotFound, ErrorCode::NotFound)
        );
    }
}
