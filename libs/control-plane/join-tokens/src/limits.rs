//! The bounds of join tokens, for documents.

use std::time::Duration;

use pool_registry_types::limits::Limit;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The most join tokens, those included that are remembered although they have ended.
pub const MAX_JOIN_TOKENS: usize = 1000;

/// The most nodes with certificates: as many as one join token may let join.
pub const MAX_JOINED_NODES: usize = 10_000;

/// The longest life of a join token: long enough to roll out a fleet.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * DAY.as_secs());

/// The life of a join token when the request names none: enough to copy it to a machine.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The most uses of a join token.
pub const MAX_USES: u32 = 10_000;

/// The longest life of a node's certificate. A revocation is remembered for so long.
pub const MAX_NODE_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());

/// How long a token is remembered after its end, so that its holder is told why it is refused.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30 * DAY.as_secs());

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_JOIN_TOKENS", MAX_JOIN_TOKENS as u64, "tokens")
        .because("Each is in memory and is listed. Tokens that have ended count for 30 days.")
        .enforced_by("POST /v2/join-tokens")
        .beyond("409 KEY_CONFLICT"),
    Limit::new("MAX_JOINED_NODES", MAX_JOINED_NODES as u64, "nodes")
        .because("Each is in memory until its certificate expires or is revoked.")
        .enforced_by("POST /v2/join")
        .beyond("409 KEY_CONFLICT"),
    Limit::new("MAX_USES", MAX_USES as u64, "uses")
        .because("More nodes than a control plane knows need no single token.")
        .enforced_by("POST /v2/join-tokens")
        .beyond("400 INVALID_REQUEST"),
    Limit::time("MAX_LIFETIME", MAX_LIFETIME)
        .because("A join token that lives longer is forgotten by its owner.")
        .enforced_by("POST /v2/join-tokens")
        .beyond("400 INVALID_REQUEST"),
    Limit::time("MAX_NODE_LIFETIME", MAX_NODE_LIFETIME)
        .because("A revocation is remembered for as long as a certificate may live.")
        .enforced_by("ORCHESTRATORD_NODE_CERT_LIFETIME_SECS")
        .beyond("the control plane does not start, and names the setting"),
];
