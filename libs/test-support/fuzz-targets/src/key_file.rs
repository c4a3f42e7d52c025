//! A file of keys.
//!
//! Input: the text of the file.
//!
//! * What is accepted has different names and tokens, at least one scope for each key, and a node
//!   exactly for keys with the scope `node`.
//! * A problem names an existing line, and is one short line.

use std::collections::HashSet;

use bearer_auth::{Credential, Scope, is_key_name};
use key_file::parse;

use crate::bounds;

/// See the top of this file.
pub fn key_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match parse(text) {
        Ok(keys) => are_keys(&keys),
        Err(problem) => {
            let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&problem.line), "{problem}");
            bounds::refusal(&problem.what);
        }
    }
}

fn are_keys(keys: &[Credential]) {
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    for key in keys {
        let identity = &key.identity;
        assert!(is_key_name(&identity.name), "{:?}", identity.name);
        assert!(names.insert(&identity.name), "a name twice");
        assert!(digests.insert(key.digest), "a token twice");
        assert!(!identity.scopes.is_empty(), "a key without a scope");
        let is_nodes = identity.scopes.contains(Scope::Node);
        assert_eq!(is_nodes, identity.node.is_some(), "{identity:?}");
    }
}
