//! The bounds of requests and certificates, for documents.

use std::time::Duration;

use pool_registry_types::limits::Limit;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The most hosts in a certificate of the control plane.
pub const MAX_HOSTS: usize = 32;

/// How long the certificate of a node is valid, unless a setting says otherwise. It is renewed
/// after two thirds, so a node may be off for ten days.
pub const DEFAULT_NODE_LIFETIME: Duration = Duration::from_secs(30 * DAY.as_secs());

/// How long the control plane's own certificate is valid.
pub(crate) const SERVER_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());

/// How long the certificate of a CA is valid.
pub(crate) const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());

/// All limits.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_HOSTS", MAX_HOSTS as u64, "names")
    .because("Each name is in each handshake.")
    .enforced_by("`llorch ca`")
    .beyond("the command names it and ends with a usage error")];
