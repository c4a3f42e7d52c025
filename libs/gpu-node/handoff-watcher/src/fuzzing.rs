//! Entry points for the fuzz targets. Not a part of the API.

use pool_registry_types::Handoff;

use crate::{Refusal, read};

/// Parses the content of a handoff file.
///
/// # Errors
/// Why it is refused.
pub fn parse(bytes: &[u8]) -> Result<Handoff, Refusal> {
    read::parse(bytes)
}
