//! Who a peer is, by its certificate.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;

use crate::{Fingerprint, certificate::Parsed};

/// A peer's certificate after the handshake has verified it: it is valid now, a trusted CA has
/// issued it, and the peer holds its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    fingerprint: Fingerprint,
    names: Vec<String>,
    not_before: SystemTime,
}

impl PeerCertificate {
    /// The holder of the verified chain `certificates`, its own certificate first.
    #[must_use]
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let own = certificates?.first()?;
        let parsed = Parsed::new(own).ok();
        let names = parsed.as_ref().map(Parsed::names);
        Some(Self {
            fingerprint: Fingerprint::of(own),
            names: names.unwrap_or_default(),
            not_before: parsed.map_or(UNIX_EPOCH, |parsed| parsed.validity().not_before),
        })
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the certificate became valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// The names in the certificate: DNS names, addresses and URIs, as the CA has signed them.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}
