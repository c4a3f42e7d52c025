//! A node as the control plane's store keeps it.
//!
//! Input: the node's id, a line feed and the record.
//!
//! * What is read is the same after it has been written and read, and after the registry's form of
//!   it.
//! * What a registry that was restored from it would keep can be read again.

use std::time::{Duration, UNIX_EPOCH};

use registry_store::{
    StoredNode,
    fuzzing::{decode, encode},
};
use service_registry::{Config, Registry};

/// See the top of this file.
pub fn stored_node(input: &[u8]) {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (key, record) = input.split_at(end);
    let Ok(key) = std::str::from_utf8(key) else {
        return;
    };
    // Of a record that cannot be read as a whole, what operators want is read.
    let Ok((node, _)) = decode(key, record.get(1..).unwrap_or_default()) else {
        return;
    };
    assert_eq!(node.node_id().as_str(), key);
    is_read_as_written(&node);
    // At that moment no time has passed, so that all times come back.
    let now = UNIX_EPOCH;
    let known = node.to_persisted(now);
    assert_eq!(
        StoredNode::new(known.clone(), now),
        node,
        "the registry's form differs"
    );
    let mut registry = Registry::new(Config::default());
    registry.restore(vec![known], Duration::ZERO);
    for kept in registry.persisted_nodes() {
        is_read_as_written(&StoredNode::new(kept, now));
    }
}

fn is_read_as_written(node: &StoredNode) {
    let record = encode(node).expect("a node that can be written");
    let (read, is_whole) =
        decode(node.node_id().as_str(), &record).expect("a node that is read as it was written");
    assert!(is_whole, "a part of the node is lost");
    assert_eq!(read, *node, "another node came back");
}
