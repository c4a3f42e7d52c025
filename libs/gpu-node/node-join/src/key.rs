//! The key pair of a node, and its requests for certificates.

use pool_registry_types::{NodeId, PemText, node_uri};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use zeroize::Zeroizing;

use crate::error::JoinError;

/// A new key pair, ECDSA P-256.
pub(crate) struct NodeKey(KeyPair);

impl NodeKey {
    pub(crate) fn generate() -> Result<Self, JoinError> {
        KeyPair::generate().map(Self).map_err(failed)
    }

    /// A request for the certificate of `node`, signed by this key.
    pub(crate) fn request(&self, node: &NodeId) -> Result<PemText, JoinError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = node_uri(node).try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let request = params.serialize_request(&self.0).map_err(failed)?;
        PemText::new(request.pem().map_err(failed)?).map_err(failed)
    }

    /// A certificate and this key in one text.
    pub(crate) fn behind(&self, certificate: &PemText) -> Zeroizing<String> {
        let mut text = Zeroizing::new(certificate.as_str().to_owned());
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let key = Zeroizing::new(self.0.serialize_pem());
        text.push_str(&key);
        text
    }
}

fn failed(error: impl std::fmt::Display) -> JoinError {
    JoinError::NoKey(error.to_string())
}
