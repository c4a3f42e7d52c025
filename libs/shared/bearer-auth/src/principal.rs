//! Who sends a request.

use std::{fmt, sync::Arc};

use pool_registry_types::NodeId;

use crate::{
    certificate::CertificateHolder,
    identity::Identity,
    scope::{Access, Scope, Scopes},
};

/// Who sends a request, after authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// This process itself.
    Process,
    /// A peer on this machine, while this server demands no credential.
    Loopback,
    /// The holder of the API token.
    ApiToken,
    /// The holder of a key.
    Key(Arc<Identity>),
    /// The holder of a certificate, which names a node or the control plane.
    Certificate(Arc<CertificateHolder>),
}

/// What a caller presents, in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// The key with this name.
    Key(Arc<str>),
    /// The certificate of this holder.
    Certificate(Arc<str>),
}

impl fmt::Display for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => write!(f, "the key {name:?}"),
            Self::Certificate(holder) => write!(f, "the certificate of {holder}"),
        }
    }
}

/// A caller who may not do what it asks for; respond with 403.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It lacks the scope.
    #[error("this needs a key with the scope {needed}, and {presented} has: {has}")]
    Missing {
        /// What the caller presents.
        presented: Presented,
        /// One of these would do.
        needed: AnyOf,
        /// Its scopes.
        has: Scopes,
    },
    /// It acts for another node than its own.
    #[error("{presented} may act for the node {own} only")]
    OtherNode {
        /// What the caller presents.
        presented: Presented,
        /// Its node.
        own: NodeId,
    },
    /// It acts as a node, and belongs to none.
    #[error("{presented} belongs to no node")]
    NoNode {
        /// What the caller presents.
        presented: Presented,
    },
}

/// Scopes of which one is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnyOf(pub Scopes);

impl fmt::Display for AnyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl Principal {
    /// Whether it may use a route. A route that names a node asks [`acts_for`](Self::acts_for) too.
    ///
    /// # Errors
    /// When it may not; respond with 403.
    pub fn may(&self, access: Access) -> Result<(), ScopeError> {
        let (Some(identity), Access::AnyOf(needed)) = (self.limited(), access) else {
            return Ok(());
        };
        let has = identity.scopes.with_included();
        if needed.iter().any(|scope| has.contains(scope)) {
            return Ok(());
        }
        Err(ScopeError::Missing {
            presented: self.presented(identity),
            needed: AnyOf(needed),
            has: identity.scopes,
        })
    }

    /// Whether it may use a route for this node. A scope other than `node` is for all nodes.
    ///
    /// # Errors
    /// When it may not; respond with 403.
    pub fn acts_for(&self, access: Access, node: &str) -> Result<(), ScopeError> {
        self.may(access)?;
        let (Some(identity), Access::AnyOf(needed)) = (self.limited(), access) else {
            return Ok(());
        };
        let has = identity.scopes.with_included();
        let for_all_nodes = |scope: Scope| scope != Scope::Node && has.contains(scope);
        if needed.iter().any(for_all_nodes) {
            return Ok(());
        }
        let presented = self.presented(identity);
        match &identity.node {
            Some(own) if own.as_str() == node => Ok(()),
            Some(own) => Err(ScopeError::OtherNode {
                presented,
                own: own.clone(),
            }),
            None => Err(ScopeError::NoNode { presented }),
        }
    }

    /// The identity of a caller with scopes; `None` for callers that have every scope.
    fn limited(&self) -> Option<&Identity> {
        match self {
            Self::Key(identity) => Some(identity),
            Self::Certificate(holder) => Some(&holder.identity),
            Self::Process | Self::Loopback | Self::ApiToken => None,
        }
    }

    fn presented(&self, identity: &Identity) -> Presented {
        let name = Arc::clone(&identity.name);
        match self {
            Self::Certificate(_) => Presented::Certificate(name),
            _ => Presented::Key(name),
        }
    }

    /// The key, if it has one. A certificate is none.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Key(identity) => Some(identity),
            Self::Process | Self::Loopback | Self::ApiToken | Self::Certificate(_) => None,
        }
    }
}

impl fmt::Display for Principal {
    /// For logs: a name and the id, never a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("this process"),
            Self::Loopback => f.write_str("a loopback peer"),
            Self::ApiToken => f.write_str("the API token"),
            Self::Key(identity) => write!(f, "key {} ({:?})", identity.id, identity.name),
            Self::Certificate(holder) => write!(f, "certificate of {}", holder.identity.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scopes: &[Scope], node: Option<&str>) -> Principal {
        Principal::Key(Arc::new(Identity {
            id: "k1".into(),
            name: "some key".into(),
            scopes: scopes.iter().copied().collect(),
            node: node.map(|node| node.parse().unwrap()),
            expires_at: None,
            limits: crate::KeyLimits::default(),
        }))
    }

    // spec: AUTH-24
    #[test]
    fn a_key_opens_what_its_scopes_include() {
        let routes = [
            Access::CLIENT,
            Access::NODE,
            Access::OBSERVER,
            Access::OPERATOR,
            Access::CLIENT.or(Scope::Observer),
            Access::Open,
        ];
        for (scope, opens) in [
            (Scope::Client, [true, false, false, false, true, true]),
            (Scope::Node, [false, true, false, false, false, true]),
            (Scope::Observer, [false, false, true, false, true, true]),
            (Scope::Operator, [true, false, true, true, true, true]),
        ] {
            for (route, opens) in routes.into_iter().zip(opens) {
                let may = key(&[scope], None).may(route);
                assert_eq!(may.is_ok(), opens, "{scope} {route:?} {may:?}");
            }
        }
        for anybody in [Principal::Process, Principal::Loopback, Principal::ApiToken] {
            assert!(routes.into_iter().all(|route| anybody.may(route).is_ok()));
            assert!(anybody.acts_for(Access::NODE, "any").is_ok());
        }
        let error = key(&[Scope::Client], None).may(Access::NODE.or(Scope::Operator));
        assert_eq!(
            error.unwrap_err().to_string(),
            "this needs a key with the scope node or operator, and the key \"some key\" has: client"
        );
    }

    // spec: AUTH-25
    #[test]
    fn a_node_acts_for_itself_only() {
        let forget = Access::NODE.or(Scope::Operator);
        let node = key(&[Scope::Node], Some("a"));
        assert_eq!(node.acts_for(Access::NODE, "a"), Ok(()));
        assert_eq!(
            node.acts_for(forget, "b").unwrap_err().to_string(),
            "the key \"some key\" may act for the node a only"
        );
        assert!(key(&[Scope::Operator], None).acts_for(forget, "b").is_ok());
        assert!(
            key(&[Scope::Operator], None)
                .acts_for(Access::NODE, "b")
                .is_err()
        );
        let both = key(&[Scope::Node, Scope::Operator], Some("a"));
        assert!(both.acts_for(forget, "b").is_ok());
        assert!(both.acts_for(Access::NODE, "b").is_err());
        assert!(matches!(
            key(&[Scope::Node], None).acts_for(Access::NODE, "a"),
            Err(ScopeError::NoNode { .. })
        ));
    }
}
