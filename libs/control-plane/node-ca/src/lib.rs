//! The certificate authority of a control plane.
//!
//! [`CertificateAuthority`] signs: pure functions of a request and the time. [`CaDirectory`] makes,
//! reads and renews the files.

mod authority;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod limits;
mod request;

pub use crate::{
    authority::{CertificateAuthority, Pem, Period},
    directory::{CA_FILE, CaDirectory, KEY_FILE, SERVER_FILE},
    error::{CaError, SignError},
    host::{Host, HostError},
    limits::{DEFAULT_NODE_LIFETIME, LIMITS, MAX_HOSTS},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
