//! `POST /v2/nodes/register`.
//!
//! Input: a body.
//!
//! * What is accepted obeys every bound of the wire contract, and is the same after it has been
//!   written and read.
//! * A refusal is short, on one line.

use http_server::fuzzing::read_json;
use pool_registry_types::RegisterRequest;

use crate::bounds;

/// See the top of this file.
pub fn register_message(input: &[u8]) {
    match read_json::<RegisterRequest>(input) {
        Ok(request) => {
            bounds::registration(&request);
            bounds::survives_writing(&request);
        }
        Err(refusal) => bounds::refusal(&refusal.message),
    }
}
