//! The files of a CA.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use tls_config::{Fingerprint, IdentityFiles, Validity};
use zeroize::Zeroizing;

use crate::{authority::CertificateAuthority, error::CaError, host::Host};

/// The certificate of the CA.
pub const CA_FILE: &str = "ca.pem";

/// The private key of the CA.
pub const KEY_FILE: &str = "ca.key";

/// Certificate, CA and private key of the control plane.
pub const SERVER_FILE: &str = "server.pem";

/// A CA whose files are in a directory.
#[derive(Debug)]
pub struct CaDirectory {
    path: PathBuf,
    authority: CertificateAuthority,
    fingerprint: Fingerprint,
}

impl CaDirectory {
    /// Makes a CA in `path`, with a certificate of the control plane for `hosts`. Returns the
    /// fingerprint of the CA.
    ///
    /// # Errors
    /// When one is there already, or a file cannot be written.
    pub fn init(path: &Path, hosts: &[Host], now: SystemTime) -> Result<Fingerprint, CaError> {
        let (ca, key) = (path.join(CA_FILE), path.join(KEY_FILE));
        for file in [&ca, &key] {
            if fs::symlink_metadata(file).is_ok() {
                return Err(CaError::Exists(file.clone()));
            }
        }
        make_private(path).map_err(not_written(path))?;
        let (certificate, private) = CertificateAuthority::generate(now)?;
        // The key first: without it the certificate looks like a CA and is none.
        let content = private.reveal().as_bytes();
        state_file::write_private(&key, content).map_err(not_written(&key))?;
        state_file::write(&ca, certificate.as_bytes()).map_err(not_written(&ca))?;
        let made = Self::open(path)?;
        made.renew_server(hosts, now)?;
        Ok(made.fingerprint)
    }

    /// Reads and checks the CA in `path`.
    ///
    /// # Errors
    /// When a file is wrong; the error names it.
    pub fn open(path: &Path) -> Result<Self, CaError> {
        let files = IdentityFiles {
            certificate: path.join(CA_FILE),
            key: path.join(KEY_FILE),
        };
        let (fingerprint, Validity { not_after, .. }) = files.check_ca()?;
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| CaError::NotACa {
                file: file.to_owned(),
                reason: error.to_string(),
            })
        };
        let certificate = read(&files.certificate)?;
        let key = Zeroizing::new(read(&files.key)?);
        let authority = CertificateAuthority::new(certificate, &key, not_after);
        let authority = authority.map_err(|error| CaError::NotACa {
            file: files.certificate.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            authority,
            fingerprint,
        })
    }

    /// The CA.
    #[must_use]
    pub fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// The fingerprint of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The certificate of the control plane, and its key.
    #[must_use]
    pub fn server(&self) -> IdentityFiles {
        IdentityFiles::in_one(self.path.join(SERVER_FILE))
    }

    /// The hosts in the certificate of the control plane.
    ///
    /// # Errors
    /// When its file is wrong.
    pub fn server_hosts(&self) -> Result<Vec<Host>, CaError> {
        let names = self.server().names()?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Replaces certificate and key of the control plane.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn renew_server(&self, hosts: &[Host], now: SystemTime) -> Result<(), CaError> {
        let issued = self.authority.issue_control_plane(hosts, now)?;
        let file = self.path.join(SERVER_FILE);
        let content = issued.reveal().as_bytes();
        state_file::write_private(&file, content).map_err(not_written(&file))
    }
}

/// Makes a directory that only this user can open. One that exists stays as it is.
fn make_private(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    state_file::create_directory(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn not_written(file: &Path) -> impl Fn(std::io::Error) -> CaError {
    let file = file.to_owned();
    move |source| CaError::NotWritten {
        file: file.clone(),
        source,
    }
}
