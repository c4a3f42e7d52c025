//! A heartbeat as it comes over the wire. One that repeats the last is recognised without taking it
//! apart.

use std::borrow::Cow;

use pool_registry_types::HeartbeatRequest;
use serde::Deserialize;
use serde_json::value::RawValue;
use service_registry::{Digest, RegistryError, Repeat};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

/// Why a heartbeat came to nothing.
#[derive(Debug, Error)]
pub enum HeartbeatError {
    /// It is not a heartbeat. The error names the field at fault.
    #[error(transparent)]
    Invalid(#[from] serde_path_to_error::Error<serde_json::Error>),
    /// It is one, and something stands behind it.
    #[error(transparent)]
    Trailing(serde_json::Error),
    /// The registry refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] RegistryError),
}

/// A heartbeat whose lists are left as they are written.
#[derive(Deserialize)]
struct Envelope<'a> {
    /// Only checked: nothing is decided by it.
    #[serde(borrow, rename = "timestamp")]
    _timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pools: &'a RawValue,
    incarnation: Option<u64>,
    seq: Option<u64>,
    #[serde(borrow)]
    gpus: Option<&'a RawValue>,
}

/// What the heartbeat says besides its lists, and a digest of these. `None` when it must be taken
/// apart to see what is wrong with it.
pub(crate) fn repeat(body: &[u8]) -> Option<Repeat> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let digest = |list: &RawValue| xxh3_128(list.get().as_bytes());
    Some(Repeat {
        incarnation: envelope.incarnation,
        seq: envelope.seq,
        digest: Digest {
            pools: digest(envelope.pools),
            gpus: envelope.gpus.map_or(0, digest),
        },
    })
}

/// All of it, checked.
pub(crate) fn whole(body: &[u8]) -> Result<HeartbeatRequest, HeartbeatError> {
    // To keep track of the field costs as much as to read it, so that is done for those that are
    // refused.
    serde_json::from_slice(body).or_else(|error| {
        let mut json = serde_json::Deserializer::from_slice(body);
        let _: HeartbeatRequest = serde_path_to_error::deserialize(&mut json)?;
        Err(HeartbeatError::Trailing(error))
    })
}
