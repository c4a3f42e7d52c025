//! Why a machine did not join, in one sentence that names the file or the field.

use std::{io, net::SocketAddr, path::PathBuf};

use pool_registry_types::HttpUrl;
use thiserror::Error;
use tls_config::TlsError;

/// A machine that has not joined, or a certificate that was not renewed. Nothing was replaced.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// There was no answer.
    #[error("{url} cannot be reached: {reason}")]
    NoAnswer {
        /// The control plane.
        url: HttpUrl,
        /// The reason.
        reason: String,
    },
    /// The control plane refused.
    #[error("{url} refused: {message}")]
    Refused {
        /// The control plane.
        url: HttpUrl,
        /// Its words.
        message: String,
    },
    /// The answer is not that of a control plane.
    #[error("{url} is no control plane, or one of another version: {reason}")]
    NotUnderstood {
        /// The server.
        url: HttpUrl,
        /// What is wrong with its answer.
        reason: String,
    },
    /// A file of this machine cannot be used for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate of the answer cannot be used.
    #[error(
        "the certificate that the control plane signed cannot be used: {0}; check the clocks of \
         both machines"
    )]
    BadCertificate(TlsError),
    /// Nothing can listen where the control plane would connect to.
    #[error(
        "{address}: cannot listen there: {source}; stop the program that does, or join with \
         --address URL and another port"
    )]
    NotListening {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", .file.display())]
    NotWritten {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No key pair could be made.
    #[error("no key pair can be made: {0}")]
    NoKey(String),
}
