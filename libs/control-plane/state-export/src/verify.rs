//! Whether records that can be read are ones that a control plane has written.

use access_keys::{AccessKey, MAX_KEYS};
use bearer_auth::{Scope, is_key_name};
use join_tokens::{JoinToken, MAX_JOIN_TOKENS};
use pool_registry_types::{ModelName, limits::MAX_NODES};
use registry_store::StoredNode;
use usage_log::UsageRow;

use crate::{
    error::FormatError::{self, Contradiction},
    export::StateExport,
    layout::Profile,
};

/// The digits of an id of a key or a join token.
const ID_DIGITS: usize = 12;

/// Checks all records.
pub(crate) fn verify(export: &StateExport) -> Result<(), FormatError> {
    if export.profile == Profile::Home && export.node_id.is_none() {
        return Err(Contradiction(
            "node_id: is missing, and the profile is home",
        ));
    }
    let records = &export.records;
    nodes(&records.nodes)?;
    keys(&records.keys)?;
    join_tokens(&records.join_tokens)?;
    let revoked = records.node_credentials.iter().map(|node| &node.node_id);
    if !revoked.is_sorted_by(|one, next| one < next) {
        return Err(Contradiction(
            "revoked_node.node_id: must be there once, in order",
        ));
    }
    usage(&export.usage)
}

fn nodes(nodes: &[StoredNode]) -> Result<(), FormatError> {
    if nodes.len() > MAX_NODES {
        return Err(Contradiction(
            "node: there are more than a control plane knows",
        ));
    }
    if !nodes.is_sorted_by(|one, next| one.node_id() < next.node_id()) {
        return Err(Contradiction("node.node_id: must be there once, in order"));
    }
    if !nodes.iter().all(|node| node.is_of(node.node_id().as_str())) {
        return Err(Contradiction(
            "node.node_id: is not that of its registration",
        ));
    }
    Ok(())
}

fn keys(keys: &[AccessKey]) -> Result<(), FormatError> {
    if keys.len() > MAX_KEYS {
        return Err(Contradiction(
            "key: there are more than a control plane has",
        ));
    }
    if !keys.is_sorted_by(|one, next| one.key_id < next.key_id) {
        return Err(Contradiction("key.key_id: must be there once, in order"));
    }
    for key in keys {
        if !is_id(&key.key_id) {
            return Err(Contradiction("key.key_id: must have 12 hexadecimal digits"));
        }
        if !is_key_name(&key.name) {
            return Err(Contradiction("key.name: is no name of a key"));
        }
        if key.scopes.is_empty() || key.scopes.contains(Scope::Node) != key.node.is_some() {
            return Err(Contradiction(
                "key.scopes: must not be empty, and `node` needs key.node",
            ));
        }
    }
    Ok(())
}

fn join_tokens(tokens: &[JoinToken]) -> Result<(), FormatError> {
    if tokens.len() > MAX_JOIN_TOKENS {
        return Err(Contradiction(
            "join_token: there are more than a control plane has",
        ));
    }
    if !tokens.is_sorted_by(|one, next| one.token_id < next.token_id) {
        return Err(Contradiction(
            "join_token.token_id: must be there once, in order",
        ));
    }
    if !tokens.iter().all(|token| is_id(&token.token_id)) {
        return Err(Contradiction(
            "join_token.token_id: must have 12 hexadecimal digits",
        ));
    }
    if tokens.iter().any(|token| token.uses > token.max_uses) {
        return Err(Contradiction("join_token.uses: must be at most max_uses"));
    }
    Ok(())
}

fn usage(rows: &[UsageRow]) -> Result<(), FormatError> {
    let place = |row: &UsageRow| (row.day, row.key_id.clone(), row.model.clone());
    if !rows.is_sorted_by(|one, next| place(one) < place(next)) {
        return Err(Contradiction("usage: must have each row once, in order"));
    }
    // Keys of a file have such ids, too.
    if !rows.iter().all(|row| is_id(&row.key_id)) {
        return Err(Contradiction(
            "usage.key_id: must have 12 hexadecimal digits",
        ));
    }
    if !rows.iter().all(|row| is_key_name(&row.key_name)) {
        return Err(Contradiction("usage.key_name: is no name of a key"));
    }
    if !rows.iter().all(|row| ModelName::new(&row.model).is_ok()) {
        return Err(Contradiction("usage.model: is no name of a model"));
    }
    Ok(())
}

fn is_id(id: &str) -> bool {
    id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
