//! The client of a connection with TLS.

use std::sync::Arc;

use bearer_auth::CertificateHolder;
use tls_config::PeerCertificate;

/// A verified certificate, and whom it names. That is found out once for each connection.
#[derive(Debug, Clone)]
pub(crate) struct TlsPeer {
    pub(crate) certificate: PeerCertificate,
    pub(crate) holder: Option<Arc<CertificateHolder>>,
}

impl TlsPeer {
    pub(crate) fn new(certificate: PeerCertificate) -> Self {
        Self {
            holder: CertificateHolder::of(certificate.names(), certificate.not_before())
                .map(Arc::new),
            certificate,
        }
    }
}
