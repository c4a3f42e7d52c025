//! Entry points for the fuzz targets: what reads a handoff file, as this crate uses it. Not a part
//! of the API.

use pool_registry_types::Handoff;

use crate::{Refusal, read};

/// What the content of a file announces.
///
/// # Errors
/// Why it is not taken for a handoff.
pub fn parse(bytes: &[u8]) -> Result<Handoff, Refusal> {
    read::parse(bytes)
}
