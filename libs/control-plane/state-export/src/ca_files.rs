//! The files of a CA in an export: read from its directory, and made again elsewhere.

use std::{
    fmt, fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use node_ca::{CA_FILE, CaDirectory, KEY_FILE, SERVER_FILE};
use tls_config::Fingerprint;
use zeroize::Zeroizing;

use crate::error::StateError;

/// The mode of the directory, as `llorch ca init` makes it.
const DIRECTORY_MODE: u32 = 0o700;

/// The files of a CA. `Debug` does not show them, and their memory is cleared.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFiles {
    /// The fingerprint of its certificate.
    pub fingerprint: Fingerprint,
    /// `ca.pem`.
    pub certificate: String,
    /// `ca.key`: its private key.
    pub key: Zeroizing<String>,
    /// `server.pem`: certificate and private key of the control plane.
    pub server: Zeroizing<String>,
}

impl fmt::Debug for CaFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaFiles")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl CaFiles {
    /// Reads and checks the CA in a directory.
    ///
    /// # Errors
    /// When a file is missing or wrong; the error names it.
    pub fn read(directory: &Path) -> Result<Self, StateError> {
        let ca = CaDirectory::open(directory)?;
        // Checks the pair of the control plane, too.
        ca.server_hosts()?;
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| StateError::Io { path, source })
        };
        Ok(Self {
            fingerprint: ca.fingerprint(),
            certificate: read(CA_FILE)?,
            key: Zeroizing::new(read(KEY_FILE)?),
            server: Zeroizing::new(read(SERVER_FILE)?),
        })
    }

    /// Where the CA goes, if it may go to this directory; `None` if it is there already.
    pub(crate) fn place(&self, directory: &Path) -> Result<Option<CaPlace>, StateError> {
        let io = |source| StateError::Io {
            path: directory.to_owned(),
            source,
        };
        match fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
            Ok(mut entries) => {
                if entries.next().is_some() {
                    let is_same = CaDirectory::open(directory)
                        .is_ok_and(|found| found.fingerprint() == self.fingerprint);
                    if is_same {
                        return Ok(None);
                    }
                    return Err(StateError::CaDirectoryInUse(directory.to_owned()));
                }
            }
        }
        Ok(Some(CaPlace {
            directory: directory.to_owned(),
            staged: beside(directory),
        }))
    }
}

/// A directory that gets the CA in one step.
#[derive(Debug)]
pub(crate) struct CaPlace {
    directory: PathBuf,
    staged: PathBuf,
}

impl CaPlace {
    /// Writes the files beside the directory, and checks that they are the CA of `files`.
    pub(crate) fn stage(&self, files: &CaFiles) -> Result<(), StateError> {
        self.write(files).map_err(|source| StateError::Io {
            path: self.staged.clone(),
            source,
        })?;
        let written = CaFiles::read(&self.staged)?;
        if written != *files {
            return Err(StateError::CaDiffers);
        }
        Ok(())
    }

    fn write(&self, files: &CaFiles) -> std::io::Result<()> {
        // Left by a run that was killed.
        remove_directory(&self.staged)?;
        if let Some(parent) = self.staged.parent() {
            state_file::create_directory(parent)?;
        }
        fs::DirBuilder::new()
            .mode(DIRECTORY_MODE)
            .create(&self.staged)?;
        let path = |name: &str| self.staged.join(name);
        state_file::write_private(&path(KEY_FILE), files.key.as_bytes())?;
        state_file::write_private(&path(SERVER_FILE), files.server.as_bytes())?;
        state_file::write(&path(CA_FILE), files.certificate.as_bytes())
    }

    /// Gives the files their place. An empty directory is replaced.
    pub(crate) fn commit(&self) -> Result<(), StateError> {
        let parent = self.staged.parent().unwrap_or_else(|| Path::new("."));
        fs::rename(&self.staged, &self.directory)
            .and_then(|()| state_file::sync_directory(parent))
            .map_err(|source| StateError::Io {
                path: self.directory.clone(),
                source,
            })
    }
}

/// Removes a directory, if it exists.
pub(crate) fn remove_directory(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A hidden name beside a directory.
fn beside(directory: &Path) -> PathBuf {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let parent = directory.parent().filter(|at| !at.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    parent.join(format!(".{name}.unfinished"))
}
