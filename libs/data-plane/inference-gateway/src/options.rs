//! The client's options for the gateway: headers, and a few fields of the body.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use admission::{ContextNeed, Priority, RoutingPreference};
use http::{HeaderMap, HeaderName, HeaderValue};
use placement::{Affinity, ChatBlocks, Strategy, prompt_blocks, session_key};
use pool_registry_types::NodeId;
use serde::{
    Deserialize, Deserializer as _,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{context_length::estimate, error::GatewayError};

/// The client's own deadline, in milliseconds from now.
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("x-deadline-ms");
/// The longest deadline: a year. A longer one mistakes the unit.
pub(crate) const MAX_DEADLINE_MS: u64 = 365 * 24 * 60 * 60 * 1000;
/// `interactive` or `batch`.
pub(crate) const PRIORITY: HeaderName = HeaderName::from_static("x-priority");
/// The conversation a request belongs to.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("x-session-id");
/// How to choose among free endpoints, for this request.
pub(crate) const STRATEGY: HeaderName = HeaderName::from_static("x-llorch-strategy");
/// The node that must serve the request.
pub(crate) const PIN_NODE: HeaderName = HeaderName::from_static("x-llorch-pin-node");

/// Every header that is an option, or in which a proxy describes the client's connection, begins
/// with this. Most requests have none, and one comparison tells.
const OPTION_PREFIX: &str = "x-";

/// The options in a request's headers.
#[derive(Debug)]
pub(crate) struct RequestOptions {
    pub(crate) deadline: Option<Instant>,
    pub(crate) priority: Priority,
    strategy: Strategy,
    pin: Option<NodeId>,
    session: Option<u64>,
    /// A proxy says something about the client's connection.
    pub(crate) is_forwarded: bool,
}

/// Whether a header is one of those in which a proxy describes the client's connection.
pub(crate) fn is_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || name == "x-real-ip"
}

impl RequestOptions {
    /// Reads the headers. `strategy` is the default.
    pub(crate) fn read(
        headers: &HeaderMap,
        strategy: Strategy,
        now: Instant,
    ) -> Result<Self, GatewayError> {
        let mut options = Self {
            deadline: None,
            priority: Priority::default(),
            strategy,
            pin: None,
            session: None,
            is_forwarded: false,
        };
        // One pass over the headers instead of a lookup for each: most requests have none of these.
        for (name, value) in headers {
            if !name.as_str().starts_with(OPTION_PREFIX) {
                continue;
            }
            match name {
                name if *name == DEADLINE => options.deadline = Some(deadline(value, now)?),
                name if *name == PRIORITY => options.priority = parse(value, "X-Priority")?,
                name if *name == STRATEGY => options.strategy = parse(value, "X-Llorch-Strategy")?,
                name if *name == PIN_NODE => options.pin = Some(parse(value, "X-Llorch-Pin-Node")?),
                name if is_forwarded(name) => options.is_forwarded = true,
                name if *name == SESSION => options.session = value.to_str().ok().map(session_key),
                _ => {}
            }
        }
        Ok(options)
    }

    /// The routing preference of a request that only one node can serve.
    pub(crate) fn pinned_to(self, node: &NodeId) -> Arc<RoutingPreference> {
        Arc::new(RoutingPreference {
            strategy: self.strategy,
            pin: Some(node.clone()),
            affinity: Affinity::default(),
            context: ContextNeed::default(),
        })
    }

    /// The routing preference of the request. Only strategies that use the body read it again.
    pub(crate) fn routing_preference(self, model: &str, body: &[u8]) -> Arc<RoutingPreference> {
        let mut affinity = Affinity {
            session: self.session,
            blocks: Vec::new(),
        };
        if matches!(self.strategy, Strategy::Session | Strategy::Prefix)
            && let Ok(fields) = serde_json::from_slice::<AffinityFields<'_>>(body)
        {
            if affinity.session.is_none() {
                let id = fields
                    .session_id
                    .or(fields.prompt_cache_key)
                    .or(fields.user);
                affinity.session = id.map(|id| session_key(id.get()));
            }
            if self.strategy == Strategy::Prefix {
                affinity.blocks = fields.blocks(model);
            }
        }
        Arc::new(RoutingPreference {
            strategy: self.strategy,
            pin: self.pin,
            affinity,
            context: estimate(body),
        })
    }
}

/// Fields that relate a request to others. They only affect routing; the engine validates them.
#[derive(Deserialize)]
struct AffinityFields<'a> {
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    instructions: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

impl AffinityFields<'_> {
    /// The blocks of the prompt. A chat is split by message, so that each turn extends the one
    /// before; anything else is split by length.
    fn blocks(&self, model: &str) -> Vec<u64> {
        let mut chat = ChatBlocks::new(model);
        for first in [self.system, self.instructions].into_iter().flatten() {
            chat.push(first.get().as_bytes());
        }
        let Some(prompt) = self.messages.or(self.prompt).or(self.input) else {
            return Vec::new();
        };
        let mut messages = serde_json::Deserializer::from_str(prompt.get());
        match messages.deserialize_seq(MessageBlocks(&mut chat)) {
            Ok(()) => chat.finish(),
            Err(_) => prompt_blocks(model, prompt.get().as_bytes()),
        }
    }
}

/// Adds the messages of a chat to its blocks. Only a list of objects is a chat.
struct MessageBlocks<'a>(&'a mut ChatBlocks);

impl<'de> Visitor<'de> for MessageBlocks<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(message) = list.next_element::<&RawValue>()? {
            if !message.get().starts_with('{') {
                return Err(A::Error::custom("not a message"));
            }
            self.0.push(message.get().as_bytes());
        }
        Ok(())
    }
}

fn parse<T>(value: &HeaderValue, name: &'static str) -> Result<T, GatewayError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text = value
        .to_str()
        .map_err(|_| GatewayError::invalid(name, format!("the header {name} must be ASCII")))?;
    text.trim()
        .parse()
        .map_err(|error: T::Err| GatewayError::invalid(name, format!("the header {name} {error}")))
}

/// The client's deadline.
fn deadline(value: &HeaderValue, now: Instant) -> Result<Instant, GatewayError> {
    let millis = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .filter(|millis| (1..=MAX_DEADLINE_MS).contains(millis));
    millis
        .and_then(|millis| now.checked_add(Duration::from_millis(millis)))
        .ok_or_else(|| {
            GatewayError::invalid(
                "X-Deadline-Ms",
                format!(
                    "the header X-Deadline-Ms must be a number of milliseconds from 1 to \
                     {MAX_DEADLINE_MS}"
                ),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<RequestOptions, GatewayError> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        RequestOptions::read(&headers, Strategy::LeastLoaded, Instant::now())
    }

    #[test]
    fn defaults_apply_without_headers() {
        let options = read(&[]).unwrap();
        assert_eq!(
            (options.deadline, options.priority),
            (None, Priority::Interactive)
        );
        assert_eq!(
            *options.routing_preference("m", b"{}"),
            RoutingPreference::default()
        );
    }

    // spec: PATH-17
    #[test]
    fn an_invalid_header_is_named() {
        for (name, value, shown) in [
            (DEADLINE, "soon", "X-Deadline-Ms"),
            (DEADLINE, "0", "X-Deadline-Ms"),
            (DEADLINE, "31536000001", "X-Deadline-Ms"),
            (DEADLINE, "99999999999999999999", "X-Deadline-Ms"),
            (PRIORITY, "high", "X-Priority"),
            (STRATEGY, "fastest", "X-Llorch-Strategy"),
            (PIN_NODE, "a b", "X-Llorch-Pin-Node"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(error.param, Some(shown));
            assert!(
                error.message.contains(shown) && error.message.contains("must be"),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn a_session_comes_from_the_header_or_the_body() {
        let session = |pairs: &[(HeaderName, &str)], body: &str| {
            let pairs = [pairs, &[(STRATEGY, "session")]].concat();
            read(&pairs)
                .unwrap()
                .routing_preference("m", body.as_bytes())
                .affinity
                .session
        };
        let a = session(&[(SESSION, "a")], r#"{"user":"u"}"#);
        assert_eq!(a, session(&[(SESSION, "a")], "{}"));
        let in_body = session(&[], r#"{"session_id":"a","user":"u"}"#);
        assert!(in_body.is_some() && in_body == session(&[], r#"{"x":[1],"session_id":"a"}"#));
        assert_ne!(
            session(&[], r#"{"prompt_cache_key":"k"}"#),
            session(&[], r#"{"user":"u"}"#)
        );
        assert_eq!(session(&[], "not even json"), None);
    }

    fn blocks(strategy: &str, body: &str) -> Vec<u64> {
        let options = read(&[(STRATEGY, strategy)]).unwrap();
        options
            .routing_preference("m", body.as_bytes())
            .affinity
            .blocks
            .clone()
    }

    #[test]
    fn only_the_prefix_strategy_hashes_the_prompt() {
        let body = format!(r#"{{"messages":[{{"content":"{}"}}]}}"#, "x".repeat(1000));
        let blocks = |strategy: &str| blocks(strategy, &body).len();
        assert_eq!(
            (blocks("least-loaded"), blocks("session"), blocks("prefix")),
            (0, 0, 4)
        );
    }

    // spec: PLACE-33
    #[test]
    fn each_turn_of_a_chat_extends_the_one_before() {
        let (user, assistant) = (
            r#"{"role":"user","content":"hi"}"#,
            r#"{"role":"assistant","content":"Hello!"}"#,
        );
        for (field, first) in [
            ("messages", ""),
            ("messages", r#""system":"Be brief.","#),
            ("input", r#""instructions":"Be brief.","#),
        ] {
            let turn =
                |messages: &str| blocks("prefix", &format!(r#"{{{first}"{field}":[{messages}]}}"#));
            let now = turn(user);
            let next = turn(&format!("{user} ,\n {assistant}, {user}"));
            assert!(!now.is_empty() && next.len() == now.len() + 2 && next.starts_with(&now));
        }
        let with_system = |system: &str| {
            blocks(
                "prefix",
                &format!(r#"{{"system":"{system}","messages":[{user}]}}"#),
            )
        };
        assert_ne!(with_system("a")[1], with_system("b")[1]);
    }

    #[test]
    fn other_prompts_are_hashed_by_length() {
        let words = "\"word\",".repeat(100);
        for prompt in [
            format!(r#""prompt":"{}""#, "x".repeat(700)),
            format!(r#""input":[{words}"end"]"#),
            format!(r#""input":[{{"role":"user"}},{words}"end"]"#),
            format!(r#""prompt":[{}0]"#, "1,".repeat(300)),
        ] {
            assert_eq!(
                blocks("prefix", &format!("{{{prompt}}}")).len(),
                2,
                "{prompt}"
            );
        }
        assert_eq!(
            blocks("prefix", r#"{"system":"but no prompt"}"#),
            Vec::<u64>::new()
        );
    }
}
