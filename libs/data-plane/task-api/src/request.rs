//! A client's request for a task, its validation, and the request to the engine.

use std::{fmt, num::NonZeroU32, time::Duration};

use admission::Priority;
use bytes::Bytes;
use http_server::ApiError;
use pool_registry_types::{ErrorCode, MAX_MODEL_NAME_BYTES, NodeId, SessionId, TaskId, millis};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The longest deadline. A deadline beyond a day is most likely a wrong unit.
pub(crate) const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// The body of `POST /v2/tasks`. Unknown fields are ignored.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(expecting = "a JSON object")]
pub(crate) struct TaskRequest {
    pub(crate) task_id: Option<TaskId>,
    session_id: Option<SessionId>,
    workload: Workload,
    #[cfg_attr(feature = "openapi", schema(value_type = pool_registry_types::ModelName))]
    model_ref: String,
    prompt: Option<String>,
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<Vec<crate::schema::Message>>, min_items = 1)
    )]
    messages: Option<Vec<Box<RawValue>>>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Texts>))]
    inputs: Option<Inputs>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>, minimum = 1))]
    max_tokens: Option<NonZeroU32>,
    priority: Option<WirePriority>,
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86400000))]
    deadline_ms: Option<u64>,
    seed: Option<i64>,
    #[serde(default, deserialize_with = "http_server::optional_object")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Where>))]
    placement: Option<PlacementHint>,
}

/// The kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
enum Workload {
    Completion,
    Chat,
    Embedding,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
enum WirePriority {
    Interactive,
    Batch,
}

#[derive(Debug, Clone, Deserialize)]
struct PlacementHint {
    mode: Option<Mode>,
    node_id: Option<NodeId>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Pin,
    Prefer,
    Auto,
}

/// The input of an embedding: one text or several.
#[derive(Serialize)]
#[serde(untagged)]
enum Inputs {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Inputs, E> {
                Ok(Inputs::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Inputs, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = texts.next_element()? {
                    all.push(text);
                }
                Ok(Inputs::Many(all))
            }
        }

        deserializer.deserialize_any(Texts)
    }
}

/// Where a task may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placement {
    Auto,
    /// Only on this node.
    Pin(NodeId),
    /// On this node if it has a free slot, otherwise anywhere.
    Prefer(NodeId),
}

/// The request to the engine.
pub(crate) struct EngineRequest {
    pub(crate) model: String,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    pub(crate) priority: Priority,
    pub(crate) session: Option<SessionId>,
    pub(crate) placement: Placement,
    pub(crate) deadline: Option<Duration>,
}

impl fmt::Debug for EngineRequest {
    /// Omits the body, because prompts are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineRequest")
            .field("model", &self.model)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The SHA-256 of everything that distinguishes two requests.
pub(crate) type Fingerprint = [u8; 32];

impl EngineRequest {
    /// Equal for requests with the same meaning, however their JSON is written.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let deadline = self.deadline.map(millis);
        let session = self.session.as_ref().map(SessionId::as_str);
        // The debug format quotes texts, so different fields never produce equal bytes.
        let fields = format!(
            "{}\n{:?}\n{:?}\n{:?}\n{:?}\n",
            self.path, self.priority, session, self.placement, deadline
        );
        hash.update(fields.as_bytes());
        hash.update(&self.body);
        hash.finalize().into()
    }
}

/// The body of the request to the engine.
#[derive(Serialize)]
struct EngineBody<'a> {
    model: &'a str,
    #[serde(flatten)]
    input: EngineInput<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum EngineInput<'a> {
    Prompt(&'a str),
    Messages(&'a [Box<RawValue>]),
    Input(&'a Inputs),
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl TaskRequest {
    /// Validates the request and builds the one to the engine.
    pub(crate) fn into_engine_request(self) -> Result<EngineRequest, ApiError> {
        check_model(&self.model_ref)?;
        let deadline = self.deadline_ms.map(check_deadline).transpose()?;
        let (path, input) = self.input()?;
        let streams = self.workload != Workload::Embedding;
        let body = EngineBody {
            model: &self.model_ref,
            input,
            max_tokens: self.max_tokens,
            seed: self.seed,
            stream: streams.then_some(true),
            stream_options: streams.then_some(StreamOptions {
                include_usage: true,
            }),
        };
        let body = serde_json::to_vec(&body).map_err(|error| {
            tracing::error!(%error, "a validated task cannot be serialized as an engine request");
            ApiError::new(
                ErrorCode::Internal,
                "the task could not be made into a request",
            )
        })?;
        Ok(EngineRequest {
            path,
            body: body.into(),
            priority: match self.priority {
                Some(WirePriority::Batch) => Priority::Batch,
                Some(WirePriority::Interactive) | None => Priority::Interactive,
            },
            placement: placement(self.placement)?,
            session: self.session_id,
            deadline,
            model: self.model_ref,
        })
    }

    /// Each workload has its own input field. Other input fields are refused instead of ignored.
    fn input(&self) -> Result<(&'static str, EngineInput<'_>), ApiError> {
        let given = [
            ("prompt", self.prompt.is_some()),
            ("messages", self.messages.is_some()),
            ("inputs", self.inputs.is_some()),
        ];
        let (workload, wanted) = match self.workload {
            Workload::Completion => ("completion", "prompt"),
            Workload::Chat => ("chat", "messages"),
            Workload::Embedding => ("embedding", "inputs"),
        };
        if let Some((other, _)) = given.iter().find(|(name, given)| *given && *name != wanted) {
            return Err(ApiError::invalid(format!(
                "{other}: a {workload} takes `{wanted}` instead"
            )));
        }
        let input = match (&self.prompt, &self.messages, &self.inputs) {
            (Some(prompt), None, None) => ("/v1/completions", EngineInput::Prompt(prompt)),
            (None, Some(messages), None) => {
                check_messages(messages)?;
                ("/v1/chat/completions", EngineInput::Messages(messages))
            }
            (None, None, Some(inputs)) => {
                if matches!(inputs, Inputs::Many(texts) if texts.is_empty()) {
                    return Err(ApiError::invalid("inputs: there must be at least one"));
                }
                ("/v1/embeddings", EngineInput::Input(inputs))
            }
            _ => {
                let message = format!("{wanted}: is missing; a {workload} needs it");
                return Err(ApiError::invalid(message));
            }
        };
        Ok(input)
    }
}

fn check_model(model: &str) -> Result<(), ApiError> {
    if model.is_empty() || model.len() > MAX_MODEL_NAME_BYTES || model.chars().any(char::is_control)
    {
        let message = format!(
            "model_ref: must be a name of 1 to {MAX_MODEL_NAME_BYTES} bytes without control \
             characters"
        );
        return Err(ApiError::invalid(message));
    }
    Ok(())
}

fn check_deadline(ms: u64) -> Result<Duration, ApiError> {
    let deadline = Duration::from_millis(ms);
    if deadline.is_zero() || deadline > MAX_DEADLINE {
        let message = format!(
            "deadline_ms: must be 1 to {} milliseconds from now, not {ms}",
            MAX_DEADLINE.as_millis()
        );
        return Err(ApiError::invalid(message));
    }
    Ok(deadline)
}

/// Checks that each message is an object with a role, and that its content is a text or a list of
/// parts. Messages are passed to the engine unchanged.
fn check_messages(messages: &[Box<RawValue>]) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(rename = "role")]
        _role: String,
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }

    if messages.is_empty() {
        return Err(ApiError::invalid("messages: there must be at least one"));
    }
    for (index, message) in messages.iter().enumerate() {
        // By default a list would be read as the fields in order.
        let fields = message
            .get()
            .starts_with('{')
            .then(|| serde_json::from_str::<Message<'_>>(message.get()).ok())
            .flatten();
        let Some(fields) = fields else {
            let message =
                format!("messages[{index}]: must be an object with a `role` that is a string");
            return Err(ApiError::invalid(message));
        };
        let is_text_or_parts = |content: &RawValue| content.get().starts_with(['"', '[']);
        if !fields.content.is_none_or(is_text_or_parts) {
            let message = format!("messages[{index}].content: must be a string or a list of parts");
            return Err(ApiError::invalid(message));
        }
    }
    Ok(())
}

fn placement(hint: Option<PlacementHint>) -> Result<Placement, ApiError> {
    let Some(hint) = hint else {
        return Ok(Placement::Auto);
    };
    let node = hint.node_id.ok_or_else(|| {
        ApiError::invalid("placement.node_id: is missing; the modes pin and prefer need it")
    });
    match hint.mode {
        None | Some(Mode::Auto) => Ok(Placement::Auto),
        Some(Mode::Pin) => node.map(Placement::Pin),
        Some(Mode::Prefer) => node.map(Placement::Prefer),
    }
}

#[cfg(test)]
mod tests;
