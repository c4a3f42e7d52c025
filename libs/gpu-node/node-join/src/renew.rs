//! A node renews its certificate.

use pool_registry_types::{CertificateRequest, HttpUrl, NodeId, PemText};
use serde::Deserialize;
use tls_config::ClientTls;

use crate::{client::post, error::JoinError, files::JoinedFiles, key::NodeKey};

/// What a node needs to renew its certificate.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The control planes, in the order in which they are asked.
    pub control_planes: Vec<HttpUrl>,
    /// The node.
    pub node_id: NodeId,
    /// Presents the present certificate.
    pub tls: ClientTls,
    /// The files of the node.
    pub files: JoinedFiles,
}

/// The answer of the control plane.
#[derive(Deserialize)]
struct Answer {
    certificate: PemText,
}

/// Gets the next certificate, with a new key, and replaces the present one. Blocks for at most 15 s
/// for each control plane.
///
/// # Errors
/// The last one, when no control plane has signed. The present certificate stays.
pub fn renew(renewal: &Renewal) -> Result<(), JoinError> {
    let key = NodeKey::generate()?;
    let request = CertificateRequest::new(key.request(&renewal.node_id)?);
    let path = format!("/v2/nodes/{}/certificate", renewal.node_id);
    let mut last = None;
    for url in &renewal.control_planes {
        match post::<Answer>(url, &path, &request, &renewal.tls) {
            Ok(answer) => {
                let identity = key.behind(&answer.certificate);
                return renewal.files.replace_identity(&identity, None);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| JoinError::NoKey("there is no control plane to ask".to_owned())))
}
