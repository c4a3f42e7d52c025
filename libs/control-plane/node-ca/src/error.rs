//! Why nothing is signed, and what is wrong with the files of a CA.

use std::{io, path::PathBuf, time::SystemTime};

use thiserror::Error;
use tls_config::TlsError;

/// A request that is not signed. Each message about the request names the field `csr`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignError {
    /// It is no request.
    #[error("csr: must be a certificate signing request in PEM form: {0}")]
    NotARequest(String),
    /// The sender does not have the private key.
    #[error("csr: its signature is not that of its own key")]
    BadSignature,
    /// The kind of key is not taken.
    #[error("csr: the key must be ECDSA P-256, ECDSA P-384 or Ed25519")]
    UnsupportedKey,
    /// The key is signed with a hash of another strength.
    #[error("csr: an {key} key must sign it with {hash}")]
    OtherHash {
        /// The kind of the key.
        key: &'static str,
        /// The hash for it.
        hash: &'static str,
    },
    /// It asks for a foreign name.
    #[error("csr: asks for the name {0}; a node gets its own id and the host of its address only")]
    OtherName(String),
    /// It asks for a certificate that could sign others.
    #[error("csr: asks to be a CA, which no node is")]
    AsksForCa,
    /// The CA's own time is over, or ends before the certificate would.
    #[error("the certificate of the CA ends at {}; renew the CA", at(.0))]
    CaEnds(SystemTime),
    /// The signature failed.
    #[error("the certificate cannot be signed: {0}")]
    Failed(String),
}

impl SignError {
    /// Whether the request is wrong, not this side.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        !matches!(self, Self::CaEnds(_) | Self::Failed(_))
    }
}

impl From<rcgen::Error> for SignError {
    fn from(error: rcgen::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A directory of a CA that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaError {
    /// A certificate or a key is wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate is not that of a CA.
    #[error("{}: {reason}", .file.display())]
    NotACa {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A CA is there already.
    #[error(
        "{}: there is a CA already, and nodes trust it; choose another directory, or move this \
         one away",
        .0.display()
    )]
    Exists(PathBuf),
    /// The system refuses.
    #[error("{}: cannot be written: {source}", .file.display())]
    NotWritten {
        /// The file or directory.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Nothing could be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

fn at(time: &SystemTime) -> String {
    humantime::format_rfc3339_seconds(*time).to_string()
}
