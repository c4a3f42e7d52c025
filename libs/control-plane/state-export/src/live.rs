//! The state of a process that runs.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use pool_registry_types::NodeId;
use registry_store::StateStore;
use tls_config::Fingerprint;
use usage_log::{UsageLog, UsageQuery};

use crate::{directory::stored_node_id, error::StateError, export::StateExport, layout::Profile};

/// Makes exports of a control plane that runs.
#[derive(Debug, Clone)]
pub struct LiveState {
    /// Where everything is but usage.
    pub store: Arc<dyn StateStore>,
    /// The usage of keys.
    pub usage: UsageLog,
    /// The directory of the store; `None` where nothing is kept.
    pub directory: Option<PathBuf>,
    /// The profile.
    pub profile: Profile,
    /// The fingerprint of the CA, if there is one.
    pub ca_sha256: Option<Fingerprint>,
    /// The version of the program.
    pub made_by: &'static str,
}

impl LiveState {
    /// The state as it is now, without the files of the CA. It has each change that was answered
    /// before. Reads the disk.
    ///
    /// # Errors
    /// When the store or the node id cannot be read.
    pub fn export(&self, now: SystemTime) -> Result<StateExport, StateError> {
        let mut export = StateExport::new(self.profile, self.made_by, now);
        export.ca_sha256 = self.ca_sha256;
        export.node_id = self.node_id()?;
        // Usage first: its keys are in the store then.
        export.usage = self
            .usage
            .page(&UsageQuery::default(), None, usize::MAX)
            .rows;
        export.records = self.store.load_all()?;
        Ok(export)
    }

    fn node_id(&self) -> Result<Option<NodeId>, StateError> {
        match (self.profile, &self.directory) {
            (Profile::Home, Some(directory)) => stored_node_id(directory),
            (Profile::Home, None) => Ok(Some(NodeId::localhost())),
            (Profile::Cloud, _) => Ok(None),
        }
    }
}
