//! Puts an export into a state directory: completely, or not at all.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use access_keys::Effect;
use join_tokens::Effect as JoinEffect;
use registry_store::{
    Change, FileStore, JoinStore as _, KeyStore as _, RegistryStore as _, StoredState,
};
use usage_log::write_files;

use crate::{
    ca_files::{CaPlace, remove_directory},
    directory::{lock, read, stored_node_id},
    error::StateError,
    export::StateExport,
    layout::{NODE_ID_FILE, USAGE_DIR, registry_dir},
    pending::{ENTRIES, decide, finish_import, staging},
};

/// The mode of the directory.
const DIRECTORY_MODE: u32 = 0o700;

/// Where the state goes.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The directory of the CA.
    pub ca_dir: Option<PathBuf>,
    /// Leaves the CA out.
    pub without_ca: bool,
    /// Replaces the state that is there.
    pub replace: bool,
}

/// Puts an export into a state directory. Returns the directory of its store.
///
/// A kill or a power failure leaves the old state or the new one. A CA is put into an empty
/// directory only, before the state is replaced: a repeated import finds it there.
///
/// # Errors
/// When a control plane runs there, the directory has state that is not to be replaced, or
/// something cannot be written; then the state is as it was.
pub fn import(export: &StateExport, options: &ImportOptions) -> Result<PathBuf, StateError> {
    let ca = match (&export.ca, &options.ca_dir) {
        (Some(_), None) if !options.without_ca => return Err(StateError::CaWithoutDirectory),
        (None, Some(_)) => return Err(StateError::NoCa),
        (Some(files), Some(directory)) => files.place(directory)?.map(|place| (files, place)),
        _ => None,
    };
    let directory = registry_dir(&options.state_dir, export.profile);
    create(&directory)?;
    let _lock = lock(&directory)?;
    finish_import(&directory)?;
    let is_there = |entry: &&&str| fs::symlink_metadata(directory.join(entry)).is_ok();
    if let Some(entry) = ENTRIES.iter().find(is_there)
        && !options.replace
    {
        return Err(StateError::NotEmpty { directory, entry });
    }
    let staged = staging(&directory);
    let done = stage(export, &staged).and_then(|()| {
        if let Some((files, place)) = &ca {
            place.stage(files)?;
        }
        ca.as_ref()
            .map_or(Ok(()), |(_, place)| CaPlace::commit(place))
    });
    if let Err(error) = done {
        // On a full disk it would keep occupying space.
        let _ = remove_directory(&staged);
        return Err(error);
    }
    decide(&directory)?;
    finish_import(&directory)?;
    Ok(directory)
}

/// Writes the state to an empty directory, and reads it back.
fn stage(export: &StateExport, staged: &Path) -> Result<(), StateError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| StateError::Io { path, source }
    };
    remove_directory(staged).map_err(io(staged))?;
    create(staged)?;
    write_store(&export.records, staged)?;
    let usage = staged.join(USAGE_DIR);
    create(&usage)?;
    write_files(&usage, &export.usage).map_err(io(&usage))?;
    if let Some(node_id) = &export.node_id {
        let file = staged.join(NODE_ID_FILE);
        let text = format!("{node_id}\n");
        state_file::write_private(&file, text.as_bytes()).map_err(io(&file))?;
    }
    let (records, rows) = read(staged)?;
    let is_same = records == export.records
        && rows == export.usage
        && stored_node_id(staged)? == export.node_id;
    if !is_same {
        return Err(StateError::NotReadBack(staged.to_owned()));
    }
    state_file::sync_directory(staged).map_err(io(staged))
}

fn write_store(records: &StoredState, directory: &Path) -> Result<(), StateError> {
    let store = FileStore::open(directory)?;
    let nodes = records.nodes.iter().cloned().map(Arc::new).map(Change::Put);
    store.apply(&nodes.collect::<Vec<_>>())?;
    let keys = records.keys.iter().cloned().map(Arc::new).map(Effect::Save);
    store.apply_keys(&keys.collect::<Vec<_>>())?;
    let tokens = records.join_tokens.iter().cloned().map(Arc::new);
    let revoked = records.node_credentials.iter().cloned().map(Arc::new);
    let joins = tokens
        .map(JoinEffect::SaveToken)
        .chain(revoked.map(JoinEffect::SaveNode));
    Ok(store.apply_joins(&joins.collect::<Vec<_>>())?)
}

/// Makes a directory that only this user can open. One that exists stays as it is.
fn create(directory: &Path) -> Result<(), StateError> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|at| !at.as_os_str().is_empty());
    let made = parent
        .map_or(Ok(()), state_file::create_directory)
        .and_then(|()| fs::DirBuilder::new().mode(DIRECTORY_MODE).create(directory))
        .and_then(|()| state_file::sync_directory(parent.unwrap_or_else(|| Path::new("."))));
    made.map_err(|source| StateError::Io {
        path: directory.to_owned(),
        source,
    })
}
