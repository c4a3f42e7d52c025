//! Entry points for the fuzz targets: the record of a node. Not part of the API.

use super::schema::{self, Records};
use crate::StoredNode;

/// Reads a record as [`FileStore`](crate::FileStore) does. The flag says whether the registration
/// could be read.
///
/// # Errors
/// What is wrong with the record.
pub fn decode(key: &str, value: &[u8]) -> Result<(StoredNode, bool), String> {
    let mut records = Records::default();
    records
        .decode(key, value)
        .map_err(|error| format!("{error:?}"))?;
    let is_whole = records.unregistered.is_empty();
    let node = records.nodes.pop().ok_or("no node was read")?;
    Ok((node, is_whole))
}

/// Writes a record as [`FileStore`](crate::FileStore) does.
///
/// # Errors
/// When it cannot be written.
pub fn encode(node: &StoredNode) -> Result<Vec<u8>, String> {
    schema::encode(node).map_err(|error| format!("{error:?}"))
}
