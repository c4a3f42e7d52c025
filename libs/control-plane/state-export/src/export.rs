//! The content of an export.

use std::time::{SystemTime, UNIX_EPOCH};

use pool_registry_types::{NodeId, millis};
use registry_store::StoredState;
use tls_config::Fingerprint;
use usage_log::UsageRow;

use crate::{ca_files::CaFiles, layout::Profile};

/// All state of a control plane at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateExport {
    /// The profile of the control plane.
    pub profile: Profile,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The version of the program that made it.
    pub made_by: String,
    /// The node id of the machine, in the HOME profile.
    pub node_id: Option<NodeId>,
    /// The fingerprint of the control plane's CA, if it has one; also when its files are left out.
    pub ca_sha256: Option<Fingerprint>,
    /// Nodes, drains, keys, join tokens and revoked nodes.
    pub records: StoredState,
    /// The usage of keys.
    pub usage: Vec<UsageRow>,
    /// The files of the CA, its private key included.
    pub ca: Option<CaFiles>,
}

/// What an export has, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Nodes, those included of which only a drain is known.
    pub nodes: usize,
    /// Nodes that are drained, or of which a pool is.
    pub drained_nodes: usize,
    /// Keys, those included that have ended.
    pub keys: usize,
    /// Join tokens, those included that have ended.
    pub join_tokens: usize,
    /// Nodes whose certificates are refused.
    pub revoked_nodes: usize,
    /// Rows of usage: one for each key, model and day.
    pub usage_rows: usize,
}

impl StateExport {
    /// An export without a CA and a node id.
    #[must_use]
    pub fn new(profile: Profile, made_by: &str, now: SystemTime) -> Self {
        Self {
            profile,
            created_at_ms: millis(now.duration_since(UNIX_EPOCH).unwrap_or_default()),
            made_by: made_by.to_owned(),
            node_id: None,
            ca_sha256: None,
            records: StoredState::default(),
            usage: Vec::new(),
            ca: None,
        }
    }

    /// Adds the files of the CA.
    pub fn add_ca(&mut self, ca: CaFiles) {
        self.ca_sha256 = Some(ca.fingerprint);
        self.ca = Some(ca);
    }

    /// What it has.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let records = &self.records;
        let drained = records.nodes.iter().filter(|node| node.is_drained());
        let nodes = records.node_credentials.iter();
        let revoked = nodes.filter(|node| node.revoked_at().is_some());
        Summary {
            nodes: records.nodes.len(),
            drained_nodes: drained.count(),
            keys: records.keys.len(),
            join_tokens: records.join_tokens.len(),
            revoked_nodes: revoked.count(),
            usage_rows: self.usage.len(),
        }
    }
}
