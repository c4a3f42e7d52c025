//! Why certificates and keys are refused, in one sentence that names the file.

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use thiserror::Error;

/// The longest file of certificates or keys: a bundle of all public CAs has a fifth of it.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file that cannot be used for TLS.
#[derive(Debug, Error)]
#[error("{}: {problem}", file.display())]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: TlsProblem,
}

impl TlsError {
    pub(crate) fn new(file: &Path, problem: TlsProblem) -> Self {
        Self {
            file: file.to_owned(),
            problem,
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum TlsProblem {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is no file of certificates.
    #[error("is longer than {MAX_FILE_BYTES} bytes, which no file of certificates is")]
    TooLong,
    /// It has a section that does not decode.
    #[error("is not PEM: {0}")]
    NotPem(String),
    /// It has no certificate.
    #[error("holds no certificate (a section `BEGIN CERTIFICATE`)")]
    NoCertificate,
    /// It has no private key.
    #[error("holds no private key (a section `BEGIN PRIVATE KEY`, without a passphrase)")]
    NoKey,
    /// It has more than one private key.
    #[error("holds {0} private keys; keep the one of the certificate")]
    SeveralKeys(usize),
    /// A certificate does not decode.
    #[error("holds a certificate that cannot be parsed: {0}")]
    Malformed(String),
    /// Its time is over.
    #[error("the certificate expired at {}", at(*.0))]
    Expired(SystemTime),
    /// Its time has not come.
    #[error("the certificate is not valid before {}", at(*.0))]
    NotYetValid(SystemTime),
    /// It was issued for other names.
    #[error("the certificate is not valid for {wanted}, only for {}", listed(.valid))]
    OtherName {
        /// The name by which peers know this machine.
        wanted: String,
        /// The names in the certificate.
        valid: Vec<String>,
    },
    /// The private key belongs to another certificate.
    #[error("the key does not belong to the certificate in {}", .0.display())]
    KeyMismatch(PathBuf),
    /// An RSA key that can be broken.
    #[error("the certificate has a weak RSA key of {0} bits; use 2048 or more, or ECDSA P-256")]
    WeakKey(u64),
    /// A signature that can be forged.
    #[error("the certificate is signed with {0}, which can be forged; have it signed with SHA-256")]
    WeakSignature(&'static str),
    /// The kind of key is not supported.
    #[error("the key cannot be used: {0}")]
    UnusableKey(String),
    /// A CA that nothing can be verified with.
    #[error("holds a CA certificate that cannot be used: {0}")]
    UnusableCa(String),
    /// A certificate that can sign no other.
    #[error("the certificate is not that of a CA (basic constraints)")]
    NotACa,
    /// The system has no CAs.
    #[error("no CA certificate is installed here; install ca-certificates, or name a CA file")]
    NoSystemRoots,
}

fn at(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing: it has no subject alternative name".to_owned()
    } else {
        names.join(", ")
    }
}
