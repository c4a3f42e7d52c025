//! An entry point for the fuzz targets: the check of certificate signing requests. Not a part of
//! the API.

use pool_registry_types::{NodeId, PemText};
use rcgen::PublicKeyData as _;

use crate::{error::SignError, host::Host, request};

/// The key of a request that a CA would sign.
///
/// # Errors
/// When it would not.
pub fn public_key(csr: &PemText, node: &NodeId, hosts: &[Host]) -> Result<Vec<u8>, SignError> {
    let key = request::public_key(csr, node, hosts)?;
    Ok(key.der_bytes().to_vec())
}
