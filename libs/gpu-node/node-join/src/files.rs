//! The files of a machine that has joined.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pool_registry_types::HttpUrl;
use tls_config::{IdentityFiles, ServerFiles, ServerTls};

use crate::error::JoinError;

/// The longest file of settings: a dozen lines.
const SETTINGS_BYTES: u64 = 64 * 1024;

/// The setting with the URL of the control plane.
pub(crate) const CONTROL_PLANE_SETTING: &str = "ORCHESTRATORD_URL";

/// The files in the state directory of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedFiles {
    directory: PathBuf,
}

impl JoinedFiles {
    /// Those in `directory`.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The settings for the next start.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.directory.join("joined.env")
    }

    /// Whether this machine has joined the control plane at `url`, as its settings say.
    #[must_use]
    pub fn has_joined(&self, url: &HttpUrl) -> bool {
        let wanted = format!("{CONTROL_PLANE_SETTING}={url}");
        let text = self.read_settings();
        text.is_ok_and(|text| text.lines().any(|line| line == wanted))
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// When they cannot be read, or are longer than joining writes them.
    pub fn read_settings(&self) -> io::Result<String> {
        let text = state_file::read_plain_text(&self.settings(), SETTINGS_BYTES)?;
        text.ok_or_else(|| io::Error::other(format!("has more than {SETTINGS_BYTES} bytes")))
    }

    /// Certificate, CA and private key of the node.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.directory.join("identity.pem")
    }

    /// The certificate of the CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Without TLS: the file of keys with the digest of the control plane's token.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.directory.join("control-plane.toml")
    }

    /// Makes the directory if it is missing, and checks that files can be written there: a join
    /// token is used up by then.
    pub(crate) fn prepare(&mut self) -> Result<(), JoinError> {
        state_file::create_directory(&self.directory).map_err(not_written(&self.directory))?;
        // Settings hold for a start in any directory.
        if let Ok(absolute) = fs::canonicalize(&self.directory) {
            self.directory = absolute;
        }
        let trial = self.new_identity();
        state_file::write_private(&trial, b"trial").map_err(not_written(&trial))?;
        fs::remove_file(&trial).map_err(not_written(&trial))
    }

    /// Replaces the identity by `content`, if a server that is reached at `host` can use it with
    /// the CA that is there.
    pub(crate) fn replace_identity(
        &self,
        content: &str,
        host: Option<&str>,
    ) -> Result<(), JoinError> {
        let (new, ca) = (self.new_identity(), self.ca());
        write_private(&new, content)?;
        let checked = ServerTls::load(ServerFiles {
            identity: IdentityFiles::in_one(new.clone()),
            client_ca: Some(ca),
            name: host.map(str::to_owned),
        });
        let result = match checked {
            Ok(_) => write_private(&self.identity(), content),
            Err(error) => Err(JoinError::BadCertificate(error)),
        };
        // It has the private key.
        let _ = fs::remove_file(&new);
        result
    }

    fn new_identity(&self) -> PathBuf {
        self.directory.join("identity.new.pem")
    }
}

pub(crate) fn write_private(file: &Path, content: &str) -> Result<(), JoinError> {
    state_file::write_private(file, content.as_bytes()).map_err(not_written(file))
}

pub(crate) fn not_written(file: &Path) -> impl Fn(io::Error) -> JoinError {
    let file = file.to_owned();
    move |source| JoinError::NotWritten {
        file: file.clone(),
        source,
    }
}
