//! Texts that are checked when they are built, and shared behind an `Arc`.

/// Declares text types. `read` builds one from the text of a message.
///
/// A report repeats most of its texts, so a copy must cost nothing; and a node of the control plane
/// keeps them, so none may hold spare capacity.
macro_rules! shared_str {
    ($($(#[$doc:meta])* $name:ident, read by $read:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// Cloning is cheap.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl From<$name> for std::sync::Arc<str> {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                struct Read;

                impl serde::de::Visitor<'_> for Read {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $read(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Read)
            }
        }
    )*};
}

/// Adds the constructors of a text that is refused unless it is as documented.
macro_rules! checked_str {
    ($($name:ident refuses by $check:path;)*) => {$(
        impl $name {
            /// Checks `value`.
            ///
            /// # Errors
            /// When `value` is not as described above; the error says what would be right.
            pub fn new(value: &str) -> Result<Self, $crate::InvalidField> {
                $check(value)?;
                Ok(Self(value.into()))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidField;

            fn from_str(value: &str) -> Result<Self, $crate::InvalidField> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::InvalidField;

            fn try_from(value: String) -> Result<Self, $crate::InvalidField> {
                Self::new(&value)
            }
        }
    )*};
}

pub(crate) use {checked_str, shared_str};
