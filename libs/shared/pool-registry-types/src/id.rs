//! Identifiers: checked once, at the edge, before any log, metric or path uses them.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    limits::MAX_ID_BYTES,
    text::{MAX_ECHO_CHARS, quoted},
};

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{kind} must be 1 to 128 characters of A-Z a-z 0-9 . _ - beginning with a letter or a digit, \
     not {shown}"
)]
pub struct IdError {
    kind: &'static str,
    shown: String,
}

fn is_id(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() <= MAX_ID_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Refuses a value that is not an identifier. `kind` names the field.
pub(crate) fn check_id(kind: &'static str, value: &str) -> Result<(), IdError> {
    if is_id(value) {
        Ok(())
    } else {
        Err(IdError {
            kind,
            shown: quoted(value, MAX_ECHO_CHARS),
        })
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident => $kind:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 128 characters of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit. Cloning
        /// is cheap.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `value` and makes it an identifier.
            ///
            /// # Errors
            /// When `value` is not of the form above; the error names the field.
            pub fn new(value: &str) -> Result<Self, IdError> {
                check_id($kind, value)?;
                Ok(Self(Arc::from(value)))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(value: &str) -> Result<Self, IdError> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(value: String) -> Result<Self, IdError> {
                Self::new(&value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A GPU node: one agent, one address.
    NodeId => "node_id";
    /// The machine that an agent runs on; several nodes may share one.
    MachineId => "machine_id";
    /// One start of a machine, as its kernel names it.
    BootId => "boot_id";
    /// A group of replicas that serve the same models.
    PoolId => "pool_id";
    /// One engine process within a pool.
    ReplicaId => "replica_id";
    /// A request that runs in the background and is read later.
    TaskId => "task_id";
    /// The conversation that a request belongs to.
    SessionId => "session_id";
}

impl NodeId {
    /// The id of a machine that has no usable name of its own.
    #[must_use]
    pub fn localhost() -> Self {
        Self(Arc::from("localhost"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_ids_are_accepted() {
        for good in [
            "a",
            "0",
            "gpu-node-1",
            "pool_0",
            "Host.example.org",
            &"x".repeat(128),
        ] {
            assert_eq!(NodeId::new(good).unwrap().as_str(), good);
        }
    }

    // spec: WIRE-1
    #[test]
    fn an_invalid_id_is_refused_with_its_field() {
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "a/b",
            "../etc/passwd",
            "a b",
            "a\n",
            "a\0",
            "ü",
            "a%2e",
            &"x".repeat(129),
        ] {
            let error = PoolId::new(bad).unwrap_err().to_string();
            assert!(error.starts_with("pool_id must be"), "{error}");
            assert!(!error.contains('\n') && !error.contains('\0'), "{error:?}");
            assert!(error.len() < 300, "{error}");
        }
    }

    #[test]
    fn a_json_id_is_checked() {
        let error = serde_json::from_str::<ReplicaId>(r#""r 0""#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("replica_id must be"), "{error}");
        assert_eq!(
            serde_json::to_string(&ReplicaId::new("r0").unwrap()).unwrap(),
            r#""r0""#
        );
    }

    proptest! {
        // spec: WIRE-1
        #[test]
        fn every_accepted_id_matches_the_documented_pattern(value in "\\PC{0,140}") {
            let allowed = |(i, b): (usize, u8)| {
                b.is_ascii_alphanumeric() || (i > 0 && b"._-".contains(&b))
            };
            let documented =
                (1..=128).contains(&value.len()) && value.bytes().enumerate().all(allowed);
            prop_assert_eq!(NodeId::new(&value).is_ok(), documented);
        }
    }
}
