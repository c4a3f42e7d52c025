//! What can be wrong. Each message is one sentence that names the file or the field.

use std::{io, path::PathBuf};

use node_ca::CaError;
use registry_store::StoreError;
use state_file::InUse;
use thiserror::Error;

use crate::limits::{MAX_EXPORT_BYTES, VERSION};

/// Bytes that are no export.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// They are something else.
    #[error(
        "is no export of a control plane: its first line must have the fields `format` and \
         `version`, as `llorch store export` writes them"
    )]
    Foreign,
    /// A later version made it.
    #[error(
        "version: is {found}, and this program knows none above {VERSION}; use the `llorch` of \
         {made_by} or later"
    )]
    Newer {
        /// The version of the format.
        found: u64,
        /// The version of the program.
        made_by: String,
    },
    /// It is too large.
    #[error("has more than {MAX_EXPORT_BYTES} bytes, the most of an export")]
    TooLarge,
    /// The end is missing.
    #[error(
        "is cut off: its last line must have the field `end`; make or copy the export once more"
    )]
    CutOff,
    /// It has another checksum.
    #[error("end.sha256: does not match the lines before; the file was changed or damaged")]
    Altered,
    /// It has another number of lines.
    #[error("end.records: is {said}, and there are {found}")]
    WrongCount {
        /// The number in the file.
        said: u64,
        /// The number of records.
        found: u64,
    },
    /// A line cannot be read.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1 on.
        line: usize,
        /// What is wrong, with the field.
        problem: String,
    },
    /// A record is none that a control plane has written.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Why nothing is exported or imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is no export.
    #[error("{}: {problem}", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: FormatError,
    },
    /// The state is larger than an export may be.
    #[error("the state has more than {MAX_EXPORT_BYTES} bytes, the most of an export")]
    TooLarge,
    /// The system refuses.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A control plane runs there.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// The directory cannot be locked.
    #[error("{}: cannot be locked; it must be a directory of this user that can be written",
        .0.display())]
    NotLocked(PathBuf),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no state.
    #[error("{}: has no state of a control plane", .0.display())]
    NoState(PathBuf),
    /// There is state of both profiles.
    #[error("{}: has state of both profiles; choose one with --profile", .0.display())]
    BothProfiles(PathBuf),
    /// The directory has state already.
    #[error(
        "{}: has state already ({entry}); name an empty state directory, or replace that state \
         with --replace",
        .directory.display()
    )]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// What is there.
        entry: &'static str,
    },
    /// The export has a CA, and no directory is given for it.
    #[error(
        "the export has a CA: name the directory for it with --ca-dir, or leave it out with \
         --without-ca"
    )]
    CaWithoutDirectory,
    /// A directory is given for a CA, and the export has none.
    #[error("--ca-dir: the export has no files of a CA")]
    NoCa,
    /// Another CA is there, or something else.
    #[error("--ca-dir: {}: has something else in it; name an empty directory, or a new one",
        .0.display())]
    CaDirectoryInUse(PathBuf),
    /// The files of the CA are not those that the export names.
    #[error("ca_file: the files are not of the CA that `ca_sha256` names")]
    CaDiffers,
    /// The files of the CA are wrong.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The control plane has a CA, and it is not said what to do with it.
    #[error(
        "the control plane has a CA ({ca_sha256}), without which no node that has joined is known: \
         add it with --ca-dir, or leave it out with --without-ca"
    )]
    CaNotChosen {
        /// Its fingerprint.
        ca_sha256: String,
    },
    /// The given CA is not that of the control plane.
    #[error("--ca-dir: {}: is another CA than that of the control plane, {ca_sha256}",
        .directory.display())]
    OtherCa {
        /// The directory.
        directory: PathBuf,
        /// The fingerprint of the control plane's CA.
        ca_sha256: String,
    },
    /// What was written is not what was read.
    #[error("{}: cannot be read back as it was written, and nothing was changed", .0.display())]
    NotReadBack(PathBuf),
}
