//! All state of a control plane in one file, for backup and migration.
//!
//! A [`StateExport`] is the content: a pure value that [`StateExport::to_bytes`] writes and
//! [`StateExport::parse`] reads and verifies. [`LiveState`] makes one in a process that runs, and
//! [`export_directory`] from the directory of one that is stopped. [`import`] puts one into a
//! directory: completely, or not at all.

mod ca_files;
mod directory;
mod error;
mod export;
mod file;
mod format;
mod import;
mod layout;
mod limits;
mod live;
mod pending;
mod verify;

pub use crate::{
    ca_files::CaFiles,
    directory::export_directory,
    error::{FormatError, StateError},
    export::{StateExport, Summary},
    file::{read_file, write_file},
    import::{ImportOptions, import},
    layout::{CONTROL_PLANE_LOCK, HOME_DIR, NODE_ID_FILE, Profile, USAGE_DIR, registry_dir},
    limits::{LIMITS, MAX_EXPORT_BYTES, VERSION},
    live::LiveState,
    pending::finish_import,
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
