//! The state of a control plane that is stopped, in its directory.

use std::{path::Path, time::SystemTime};

use pool_registry_types::NodeId;
use registry_store::{FILE_NAME, FileStore, StateStore as _, StoredState};
use state_file::{DirectoryLock, ReadError, lock_directory};
use usage_log::{UsageLog, UsageQuery, UsageRow};

use crate::{
    error::StateError,
    export::StateExport,
    layout::{CONTROL_PLANE_LOCK, NODE_ID_FILE, Profile, USAGE_DIR, registry_dir},
    pending::finish_import,
};

/// The state in a state directory, without the files of the CA. `profile` is needed where there is
/// state of both.
///
/// # Errors
/// When a control plane runs there, or the state cannot be read.
pub fn export_directory(
    state_dir: &Path,
    profile: Option<Profile>,
    made_by: &str,
    now: SystemTime,
) -> Result<StateExport, StateError> {
    let profile = match profile {
        Some(profile) => profile,
        None => profile_in(state_dir)?,
    };
    let directory = registry_dir(state_dir, profile);
    if !directory.is_dir() {
        return Err(StateError::NoState(state_dir.to_owned()));
    }
    let _lock = lock(&directory)?;
    finish_import(&directory)?;
    if !directory.join(FILE_NAME).exists() {
        return Err(StateError::NoState(state_dir.to_owned()));
    }
    let mut export = StateExport::new(profile, made_by, now);
    if profile == Profile::Home {
        export.node_id = stored_node_id(&directory)?;
    }
    (export.records, export.usage) = read(&directory)?;
    Ok(export)
}

/// The only profile with state in the directory.
fn profile_in(state_dir: &Path) -> Result<Profile, StateError> {
    let has = |profile| registry_dir(state_dir, profile).join(FILE_NAME).exists();
    match (has(Profile::Home), has(Profile::Cloud)) {
        (true, true) => Err(StateError::BothProfiles(state_dir.to_owned())),
        (true, false) => Ok(Profile::Home),
        (false, true) => Ok(Profile::Cloud),
        (false, false) => Err(StateError::NoState(state_dir.to_owned())),
    }
}

/// Keeps control planes out.
pub(crate) fn lock(directory: &Path) -> Result<DirectoryLock, StateError> {
    let (name, role) = CONTROL_PLANE_LOCK;
    lock_directory(directory, name, role)?
        .ok_or_else(|| StateError::NotLocked(directory.to_owned()))
}

/// All records and the usage in the directory of a store.
pub(crate) fn read(directory: &Path) -> Result<(StoredState, Vec<UsageRow>), StateError> {
    let records = FileStore::open(directory)?.load_all()?;
    let usage = directory.join(USAGE_DIR);
    if !usage.is_dir() {
        return Ok((records, Vec::new()));
    }
    // No day is so old that it would be removed.
    let (log, _) = UsageLog::open(&usage, u32::MAX).map_err(|source| StateError::Io {
        path: usage,
        source,
    })?;
    let rows = log.page(&UsageQuery::default(), None, usize::MAX).rows;
    Ok((records, rows))
}

/// The node id in the directory of a store.
pub(crate) fn stored_node_id(directory: &Path) -> Result<Option<NodeId>, StateError> {
    let path = directory.join(NODE_ID_FILE);
    let parse = |bytes: &[u8]| NodeId::new(String::from_utf8_lossy(bytes).trim_end());
    state_file::read(&path, parse).map_err(|error| StateError::Io {
        path,
        source: match error {
            ReadError::Failed(source) => source,
            ReadError::Damaged(reason) => std::io::Error::other(reason),
        },
    })
}
