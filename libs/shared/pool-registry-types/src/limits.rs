//! All limits of messages, in one table.
//!
//! Both sides use the same constants: a node of this version never sends more than a control plane
//! of this version accepts. [`LIMITS`] lists them with their reasons, for documents and tests.

use std::time::Duration;

/// A limit of a message, or of what a peer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// The name of the constant.
    pub name: &'static str,
    /// The largest accepted value.
    pub value: u64,
    /// The unit of the value.
    pub unit: &'static str,
    /// What it limits, and why this value.
    pub reason: &'static str,
    /// Where it is checked.
    pub enforced_by: &'static str,
    /// What happens beyond it.
    pub refusal: &'static str,
}

impl Limit {
    /// A limit with its name and value. Give the constant itself as the value, so that the two
    /// cannot differ.
    #[must_use]
    pub const fn new(name: &'static str, value: u64, unit: &'static str) -> Self {
        Self {
            name,
            value,
            unit,
            reason: "",
            enforced_by: "",
            refusal: "",
        }
    }

    /// A limit of time, in milliseconds.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no limit comes near 64 bits of milliseconds"
    )]
    pub const fn time(name: &'static str, value: Duration) -> Self {
        Self::new(name, value.as_millis() as u64, "ms")
    }

    /// Adds what it limits, and why this value.
    #[must_use]
    pub const fn because(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// Adds where it is checked.
    #[must_use]
    pub const fn enforced_by(self, enforced_by: &'static str) -> Self {
        Self {
            enforced_by,
            ..self
        }
    }

    /// Adds what happens beyond it.
    #[must_use]
    pub const fn beyond(self, refusal: &'static str) -> Self {
        Self { refusal, ..self }
    }
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $value:expr, $unit:literal,
        enforced by $enforced_by:literal, beyond it $refusal:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: $type = $value;)+

        /// All limits of this module, in its order.
        pub const LIMITS: &[Limit] = &[$(Limit {
            name: stringify!($name),
            value: $name as u64,
            unit: $unit,
            reason: concat!($($doc),+).trim_ascii(),
            enforced_by: $enforced_by,
            refusal: $refusal,
        },)+];
    };
}

limits! {
    /// The longest identifier of a node, machine, pool, replica, engine kind, task or session: room
    /// for a DNS name of several labels.
    MAX_ID_BYTES: usize = 128, "bytes",
        enforced by "every identifier type", beyond it "400 INVALID_REQUEST; a handoff or pool \
            file is refused";
    /// The longest URL of a node or an engine; a real one needs a fraction of it.
    MAX_URL_BYTES: usize = 1024, "bytes",
        enforced by "HttpUrl", beyond it "400 INVALID_REQUEST; a handoff is refused";
    /// The longest certificate or certificate signing request in PEM form, with the CA behind it:
    /// those with keys of ECDSA have 2 KiB together.
    MAX_PEM_BYTES: usize = 16 * 1024, "bytes",
        enforced by "POST /v2/join, POST /v2/nodes/{node_id}/certificate",
        beyond it "400 INVALID_REQUEST";
    /// The longest token on the wire.
    MAX_SECRET_BYTES: usize = 1024, "bytes",
        enforced by "POST /v2/join", beyond it "400 INVALID_REQUEST";
    /// The longest path of a file that a handoff or pool file names.
    MAX_PATH_BYTES: usize = 1024, "bytes",
        enforced by "handoff, pool file", beyond it "a handoff or pool file is refused";
    /// The longest context of a model, in tokens: a hundred times what models have, and far below
    /// what would overflow a sum.
    MAX_CONTEXT_LENGTH: u32 = 1 << 30, "tokens",
        enforced by "engine-probe, heartbeat", beyond it "the context counts as unknown";
    /// The longest queue timeout that a pool may set: an hour, in which a large model is downloaded
    /// and loaded. Each waiting request holds a connection and its body.
    MAX_QUEUE_TIMEOUT_MS: u32 = 3_600_000, "ms",
        enforced by "heartbeat, pool file", beyond it "a longer one in a heartbeat is cut; a pool \
            file is refused";
    /// The longest descriptive text: a version, a GPU's name, a device mask, a timestamp.
    MAX_TEXT_BYTES: usize = 256, "bytes",
        enforced by "register, heartbeat, handoff, pool file",
        beyond it "the text is cut and its control characters are replaced; a handoff or pool \
            file is refused";
    /// The longest `last_error` of a pool or replica, and `problem` of a GPU: a few lines of an
    /// engine's log.
    MAX_ERROR_BYTES: usize = 8192, "bytes",
        enforced by "heartbeat", beyond it "the text is cut and its control characters are \
            replaced";
    /// The most slots of a pool or replica: far above any engine, far below what would overflow a
    /// sum.
    MAX_SLOTS: u32 = 65_536, "slots",
        enforced by "heartbeat, handoff, pool file", beyond it "400 INVALID_REQUEST; a handoff or \
            pool file is refused";
    /// The most pools of one node.
    MAX_POOLS: usize = 256, "pools",
        enforced by "register, heartbeat, service-registry, registry-store, pool-registry, pool \
            file",
        beyond it "400 INVALID_REQUEST; a handoff or pool file is refused";
    /// The most replicas of one pool.
    MAX_REPLICAS: usize = 256, "replicas",
        enforced by "heartbeat, pool-registry, pool file", beyond it "400 INVALID_REQUEST; a \
            handoff or pool file is refused";
    /// The most models that one pool or replica names.
    MAX_MODELS: usize = 1024, "names",
        enforced by "heartbeat, handoff, pool file, engine-probe",
        beyond it "400 INVALID_REQUEST; a handoff or pool file is refused; of what an engine \
            lists, the first are kept";
    /// The longest name of a model; paths of Hugging Face stay below half of it.
    MAX_MODEL_NAME_BYTES: usize = 256, "bytes",
        enforced by "heartbeat, handoff, pool file, engine-probe, /v1, /v2/tasks",
        beyond it "400 INVALID_REQUEST; a handoff or pool file is refused; what an engine lists \
            is left out";
    /// The most GPUs of one node: four times what the largest machines have.
    MAX_GPUS: usize = 64, "GPUs",
        enforced by "register, heartbeat, gpu-inventory", beyond it "400 INVALID_REQUEST";
    /// The most refused handoffs that a heartbeat reports. More of them have a common cause.
    MAX_REFUSED_HANDOFFS: usize = 32, "handoffs",
        enforced by "heartbeat", beyond it "400 INVALID_REQUEST; a node reports the first ones";
    /// The longest reason for a refused handoff: a line of a log.
    MAX_REFUSAL_BYTES: usize = 512, "bytes",
        enforced by "heartbeat", beyond it "the text is cut and its control characters are \
            replaced";
    /// The largest handoff file; a real one has a few hundred bytes.
    MAX_HANDOFF_BYTES: usize = 64 * 1024, "bytes",
        enforced by "handoff-watcher, pool file",
        beyond it "the handoff is refused unread; a pool file whose models would make one so \
            large is refused";
    /// The largest body of a registration or heartbeat. A node cuts its report to this size,
    /// because a control plane that refuses it does not hear of the node at all.
    MAX_NODE_BODY_BYTES: usize = 4 * 1024 * 1024, "bytes",
        enforced by "control-api, node-registration",
        beyond it "413 PAYLOAD_TOO_LARGE; a node leaves lists out first, in a documented order";
    /// The most nodes that a control plane knows, offline ones and drained ones that have left
    /// included: a fleet of 100 000 with room for those that come and go. At 4 KiB each they take
    /// half a gigabyte.
    MAX_NODES: usize = 131_072, "nodes",
        enforced by "service-registry",
        beyond it "the node that is offline longest is forgotten; without one, 503 TOO_MANY_NODES";
    /// The most drained pools of one node. It has no more pools than this; drains of pools that it
    /// no longer reports are kept for their return.
    MAX_POOL_DRAINS: usize = MAX_POOLS, "drains",
        enforced by "service-registry, registry-store", beyond it "the oldest drain of a pool \
            that the node does not report is dropped";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_described() {
        for limit in LIMITS {
            assert!(
                limit.name.starts_with("MAX_") && limit.value > 0,
                "{limit:?}"
            );
            for text in [limit.unit, limit.reason, limit.enforced_by, limit.refusal] {
                assert!(!text.is_empty() && text.trim() == text, "{limit:?}");
            }
        }
    }
}
