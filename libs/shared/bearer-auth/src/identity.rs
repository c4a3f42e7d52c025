//! The identity behind a credential.

use std::{sync::Arc, time::SystemTime};

use pool_registry_types::NodeId;

use crate::{key_limits::KeyLimits, scope::Scopes};

/// The longest name of a key, in characters.
pub const MAX_KEY_NAME_CHARS: usize = 64;

/// Whether a text may be the name of a key.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME_CHARS).contains(&name.chars().count())
        && name.trim() == name
        && !name
            .chars()
            .any(|char| char.is_control() || is_invisible(char))
}

/// Whether a character has no shape of its own, or changes the direction or the lines of the text
/// around it (Unicode's categories Cf, Zl and Zp, and default ignorable characters): two names that
/// look alike must be the same name.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A key, as the rest of the program knows its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the key. It stays the same when its token is replaced.
    pub id: Arc<str>,
    /// The name that a person has given it.
    pub name: Arc<str>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The only node that it may act for, with the scope `node`.
    pub node: Option<NodeId>,
    /// When it ends.
    pub expires_at: Option<SystemTime>,
    /// How much of the service it may use.
    pub limits: KeyLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: AUTH-36
    #[test]
    fn a_name_has_no_character_that_cannot_be_seen() {
        for name in ["shop", "Größe 7", "店", "a-b_c/d", "\u{1f600}"] {
            assert!(is_key_name(name), "{name:?}");
        }
        for hidden in [
            '\u{202e}',
            '\u{200b}',
            '\u{2028}',
            '\u{2029}',
            '\u{2066}',
            '\u{61c}',
            '\u{feff}',
            '\u{ad}',
            '\u{e0041}',
            '\u{7}',
            '\u{85}',
        ] {
            let name = format!("sh{hidden}op");
            assert!(!is_key_name(&name), "{name:?}");
        }
        for name in ["", " shop", "shop\u{a0}", &"x".repeat(65)] {
            assert!(!is_key_name(name), "{name:?}");
        }
    }
}
