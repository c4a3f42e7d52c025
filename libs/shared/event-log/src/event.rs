//! One event.

use pool_registry_types::{NodeId, PoolId, one_line};
use serde::{Serialize, Serializer};

/// The longest message; a longer one is cut. The last output of an engine can be long.
pub(crate) const MAX_MESSAGE_CHARS: usize = 500;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $name:literal,)*) => {
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind {$($(#[$doc])* $kind,)*}

        impl EventKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The kind as on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {$(Self::$kind => $name,)*}
            }
        }
    };
}

kinds! {
    /// A node registered that was unknown, or restarted.
    NodeJoined => "node_joined",
    /// A node is no longer known.
    NodeLeft => "node_left",
    /// A node reports but cannot be reached.
    NodeUnreachable => "node_unreachable",
    /// A node fell silent.
    NodeOffline => "node_offline",
    /// A node that was offline or unreachable is online again.
    NodeOnline => "node_online",
    /// An operator began to drain a node.
    NodeDrained => "node_drained",
    /// An operator ended a drain.
    NodeUndrained => "node_undrained",
    /// A pool takes requests.
    PoolReady => "pool_ready",
    /// A pool no longer takes requests.
    PoolNotReady => "pool_not_ready",
    /// A pool must take no new requests.
    PoolDrained => "pool_drained",
    /// A pool may take requests again.
    PoolUndrained => "pool_undrained",
    /// The data path quarantined an endpoint.
    Quarantined => "quarantined",
    /// The quarantine of an endpoint ended.
    Readmitted => "readmitted",
    /// An engine of a pool failed.
    EngineFailed => "engine_failed",
    /// A node refuses a handoff, or no longer does.
    HandoffRefused => "handoff_refused",
    /// A GPU of a node has a problem, or no longer has.
    GpuProblem => "gpu_problem",
    /// The control plane refused a node: its token is wrong, or its id is in use.
    NodeRefused => "node_refused",
    /// Most nodes fell silent together, so that the fault is probably on this side; or that ended.
    SelfSuspicion => "self_suspicion",
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for EventKind {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Self::ALL.iter().map(|kind| kind.as_str())))
            .description(Some("What happened. A later version may add kinds."))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for EventKind {}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An event that is not stored yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub(crate) kind: EventKind,
    pub(crate) message: String,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) pool_id: Option<PoolId>,
    pub(crate) model: Option<String>,
}

impl NewEvent {
    /// A kind and a message for people: one line without control characters, since it may repeat
    /// output of an engine. Only the first 500 characters are kept.
    #[must_use]
    pub fn new(kind: EventKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(end);
        }
        Self {
            kind,
            message: one_line(&message, usize::MAX),
            node_id: None,
            pool_id: None,
            model: None,
        }
    }

    /// Adds the node.
    #[must_use]
    pub fn node(mut self, node_id: &NodeId) -> Self {
        self.node_id = Some(node_id.clone());
        self
    }

    /// Adds the pool of the node.
    #[must_use]
    pub fn pool(mut self, pool_id: &PoolId) -> Self {
        self.pool_id = Some(pool_id.clone());
        self
    }

    /// Adds the model.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Rises with each event, also from one process to the next.
    pub id: u64,
    /// When it happened (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// Its kind.
    pub kind: EventKind,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<NodeId>,
    /// The pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<PoolId>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A message for people.
    pub message: String,
}

impl Event {
    /// Appends the event as a server-sent one.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;

        // Writing to memory cannot fail. An event is always JSON, which has no line breaks.
        let _ = write!(
            out,
            "id: {}\nevent: {}\ndata: ",
            self.id,
            self.kind.as_str()
        );
        let _ = serde_json::to_writer(&mut *out, self);
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_on_the_wire() {
        let event = Event {
            id: 7,
            at: "2026-01-02T03:04:05.006Z".to_owned(),
            kind: EventKind::PoolNotReady,
            node_id: Some(NodeId::new("gpu-1").unwrap()),
            pool_id: None,
            model: None,
            message: "no\nmore".to_owned(),
        };
        let mut out = Vec::new();
        event.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: 7\nevent: pool_not_ready\ndata: \
             {\"id\":7,\"at\":\"2026-01-02T03:04:05.006Z\",\"kind\":\"pool_not_ready\",\"node_id\"\
             :\"gpu-1\",\"message\":\"no\\nmore\"}\n\n"
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let event = NewEvent::new(EventKind::EngineFailed, "ü".repeat(501));
        assert_eq!(event.message, "ü".repeat(500));
    }

    // spec: WIRE-14
    #[test]
    fn a_message_is_one_line_that_commands_no_terminal() {
        let event = NewEvent::new(EventKind::EngineFailed, "out of\nmemory\u{1b}[2J");
        assert_eq!(event.message, "out of memory [2J");
    }

    #[test]
    fn kinds_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> =
            EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), EventKind::ALL.len());
    }
}
