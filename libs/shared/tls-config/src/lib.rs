//! TLS of servers and clients, and the only crate that names rustls.
//!
//! | part | what it does |
//! |---|---|
//! | [`ServerTls`] | a server's certificate and key, and the CA of client certificates |
//! | [`ClientTls`] | which servers a client trusts ([`Trust`]), and its own certificate |
//! | [`PeerCertificate`] | who the peer is, after its certificate was verified |
//!
//! Both check their files when they read them, and refuse what no peer would accept: an expired
//! certificate, a key of another certificate, a weak key. Every refusal is one sentence that names
//! the file. [`ServerTls::reload`] and [`ClientTls::reload`] read the files again; a file that is
//! broken then leaves the last good state in place.
//!
//! TLS 1.2 and 1.3 with the cipher suites of ring: all of them have forward secrecy and
//! authenticated encryption. Early data is off, because an attacker could replay it.
//!
//! This crate opens no connection. `tls-stream` runs them on tokio, and `tls-ureq` for blocking
//! clients.

mod certificate;
mod client;
mod error;
mod files;
mod fingerprint;
mod holder;
mod identity;
mod peer;
mod pinned;
mod provider;
mod reloaded;
mod server;

pub use certificate::Validity;
pub use client::{ClientTls, Trust, explain};
pub use error::{MAX_FILE_BYTES, TlsError, TlsProblem};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use holder::HolderError;
pub use identity::IdentityFiles;
pub use peer::PeerCertificate;
pub use reloaded::Reload;
/// The rustls of this crate, for the crates that run connections.
pub use rustls;
pub use server::{ServerFiles, ServerTls};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
