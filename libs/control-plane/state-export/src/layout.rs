//! Where the state of a control plane is, below its state directory.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The directory, below the state directory, for the state of the HOME profile. It is apart from
/// that of the CLOUD profile.
pub const HOME_DIR: &str = "home";

/// The directory of usage, beside the registry.
pub const USAGE_DIR: &str = "usage";

/// The file with the node id of this machine, beside the registry of the HOME profile.
pub const NODE_ID_FILE: &str = "node-id";

/// The name of the lock on the directory of the registry, and its owner for people.
pub const CONTROL_PLANE_LOCK: (&str, &str) = ("control-plane", "the control plane");

/// The two ways to run a control plane. Each has state of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One machine.
    Home,
    /// Many machines.
    Cloud,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Home => "home",
            Self::Cloud => "cloud",
        })
    }
}

/// The directory of the registry's store, and of everything beside it.
#[must_use]
pub fn registry_dir(state_dir: &Path, profile: Profile) -> PathBuf {
    match profile {
        Profile::Home => state_dir.join(HOME_DIR),
        Profile::Cloud => state_dir.to_owned(),
    }
}
