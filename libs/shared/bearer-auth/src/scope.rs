//! What a key may be used for, and what a route asks for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One purpose of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Use models and tasks.
    Client,
    /// Register and report one node.
    Node,
    /// Read the state of the fleet.
    Observer,
    /// Change the fleet and its keys.
    Operator,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 4] = [Self::Client, Self::Node, Self::Observer, Self::Operator];

    /// Its name, as in the API and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Observer => "observer",
            Self::Operator => "operator",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Client => 1,
            Self::Node => 2,
            Self::Observer => 4,
            Self::Operator => 8,
        }
    }

    /// What a key with this scope may be used for. An operator also observes, and uses models: it
    /// can make itself a key for that anyway. It is no node, because a node's reports decide where
    /// requests go.
    #[must_use]
    pub const fn includes(self) -> Scopes {
        match self {
            Self::Operator => {
                Scopes(Self::Operator.bit() | Self::Observer.bit() | Self::Client.bit())
            }
            other => Scopes(other.bit()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is client, node, observer or operator")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        let mut all = Self::ALL.into_iter();
        all.find(|scope| scope.as_str() == name).ok_or(UnknownScope)
    }
}

/// A set of scopes; a list in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(1 | 2 | 4 | 8);

    /// Adds a scope.
    #[must_use]
    pub const fn and(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// Whether the scope is one of them by name.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes by name.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }

    /// The scopes, and those that they include.
    #[must_use]
    pub fn with_included(self) -> Self {
        self.iter()
            .fold(self, |all, scope| Self(all.0 | scope.includes().0))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::default(), Self::and)
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self::default().and(scope)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every client. The response is the same for all, and reveals nothing about this server.
    Open,
    /// A caller with one of these scopes. `node` alone opens a route for its own node only.
    AnyOf(Scopes),
}

impl Access {
    /// Everyone with a valid credential.
    pub const ANY: Self = Self::AnyOf(Scopes::ALL);
    /// Clients.
    pub const CLIENT: Self = Self::to(Scope::Client);
    /// Nodes, each for itself.
    pub const NODE: Self = Self::to(Scope::Node);
    /// Observers, and operators.
    pub const OBSERVER: Self = Self::to(Scope::Observer);
    /// Operators.
    pub const OPERATOR: Self = Self::to(Scope::Operator);

    /// Callers with this scope.
    #[must_use]
    pub const fn to(scope: Scope) -> Self {
        Self::AnyOf(Scopes(scope.bit()))
    }

    /// Also callers with this scope. What is open stays open.
    #[must_use]
    pub const fn or(self, scope: Scope) -> Self {
        match self {
            Self::Open => Self::Open,
            Self::AnyOf(scopes) => Self::AnyOf(scopes.and(scope)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: AUTH-23
    #[test]
    fn what_each_scope_includes() {
        for (scope, includes) in [
            (Scope::Client, "client"),
            (Scope::Node, "node"),
            (Scope::Observer, "observer"),
            (Scope::Operator, "client, observer, operator"),
        ] {
            assert_eq!(Scopes::from(scope).with_included().to_string(), includes);
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert_eq!("admin".parse::<Scope>(), Err(UnknownScope));
        let two: Scopes = [Scope::Node, Scope::Observer].into_iter().collect();
        assert_eq!(format!("{two:?}"), "Scopes(node, observer)");
        assert!(Scope::ALL.iter().all(|scope| Scopes::ALL.contains(*scope)));
        assert_eq!(Scopes::ALL.iter().count(), 4);
        assert!(Scopes::default().is_empty());
    }
}
