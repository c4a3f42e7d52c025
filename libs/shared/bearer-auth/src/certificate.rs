//! Who the holder of a certificate is. The names are SPIFFE ids: URIs that the CA has signed.

use std::time::SystemTime;

use pool_registry_types::{CONTROL_PLANE_URI, NodeId, node_of_uri};

use crate::{
    identity::Identity,
    key_limits::KeyLimits,
    scope::{Scope, Scopes},
};

/// The holder of a verified certificate that names the control plane or a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateHolder {
    pub(crate) identity: Identity,
    pub(crate) not_before: SystemTime,
    hosts: Vec<String>,
}

impl CertificateHolder {
    /// The holder of a certificate with these names, which is valid from `not_before`. `None` when
    /// it names no one, or more than one: such a certificate says nothing about its holder here.
    #[must_use]
    pub fn of(names: &[String], not_before: SystemTime) -> Option<Self> {
        let mut uris = names.iter().filter(|name| name.starts_with("spiffe://"));
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return None;
        };
        let (name, scopes, node): (_, Scopes, _) = if uri == CONTROL_PLANE_URI {
            ("the control plane".into(), Scope::Operator.into(), None)
        } else {
            let node = node_of_uri(uri)?;
            (
                format!("node {node}").into(),
                Scope::Node.into(),
                Some(node),
            )
        };
        Some(Self {
            identity: Identity {
                id: uri.as_str().into(),
                name,
                scopes,
                node,
                // The handshake has checked its time.
                expires_at: None,
                limits: KeyLimits::default(),
            },
            not_before,
            hosts: names
                .iter()
                .filter(|name| !name.contains("://"))
                .cloned()
                .collect(),
        })
    }

    /// The node that it names.
    #[must_use]
    pub fn node(&self) -> Option<&NodeId> {
        self.identity.node.as_ref()
    }

    /// The DNS names and addresses in the certificate.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use pool_registry_types::node_uri;

    use super::*;

    // spec: JOIN-20
    #[test]
    fn a_certificate_names_one_holder() {
        let full = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            CertificateHolder::of(&names, UNIX_EPOCH)
        };
        let holder = |names: &[&str]| full(names).map(|holder| holder.identity);
        let with_hosts = full(&["10.0.0.7", "spiffe://llorch/node/gpu-1", "h"]).unwrap();
        assert_eq!(with_hosts.hosts(), ["10.0.0.7", "h"]);
        let node = holder(&["10.0.0.7", "spiffe://llorch/node/gpu-1"]).unwrap();
        assert_eq!(node.node.as_ref().map(NodeId::as_str), Some("gpu-1"));
        assert_eq!(node.scopes, Scope::Node.into());
        let control_plane = holder(&[CONTROL_PLANE_URI, "localhost"]).unwrap();
        assert_eq!(control_plane.node, None);
        assert_eq!(control_plane.scopes, Scope::Operator.into());
        for no_holder in [
            &[][..],
            &["gpu-1", "llorch/node/gpu-1"],
            &["spiffe://llorch/node/"],
            &["spiffe://llorch/node/a/b"],
            &["spiffe://llorch/node/../control-plane"],
            &["spiffe://llorch/control-plane/"],
            &["spiffe://LLORCH/control-plane"],
            &["spiffe://other/node/a"],
            &["spiffe://llorch/node/a", "spiffe://llorch/node/b"],
            &["spiffe://llorch/node/a", CONTROL_PLANE_URI],
        ] {
            assert_eq!(holder(no_holder), None, "{no_holder:?}");
        }
        let id: NodeId = "a.b-c_1".parse().unwrap();
        assert_eq!(node_of_uri(&node_uri(&id)), Some(id));
    }
}
