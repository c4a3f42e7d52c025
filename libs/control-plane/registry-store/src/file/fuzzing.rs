//! Entry points for the fuzz targets: the form of a node in the file, as this crate uses it. Not a
//! part of the API.

use super::schema::{self, Records};
use crate::StoredNode;

/// Reads a node as [`FileStore`](crate::FileStore) does; the second is whether all of it could be
/// read.
///
/// # Errors
/// What is wrong with it.
pub fn decode(key: &str, value: &[u8]) -> Result<(StoredNode, bool), String> {
    let mut records = Records::default();
    records
        .decode(key, value)
        .map_err(|fault| format!("{fault:?}"))?;
    let is_whole = records.unregistered.is_empty();
    let node = records.nodes.pop().ok_or("no node was read")?;
    Ok((node, is_whole))
}

/// Writes a node as [`FileStore`](crate::FileStore) does.
///
/// # Errors
/// When it cannot be written.
pub fn encode(node: &StoredNode) -> Result<Vec<u8>, String> {
    schema::encode(node).map_err(|fault| format!("{fault:?}"))
}
