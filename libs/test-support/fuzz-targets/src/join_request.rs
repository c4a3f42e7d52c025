//! `POST /v2/join` and `POST /v2/nodes/{id}/certificate`.
//!
//! Input: a body.
//!
//! * What is accepted obeys every bound of the wire contract, and is the same after it has been
//!   written and read.
//! * A refusal is short and on one line.
//! * The token of an accepted request is not shown in a log.

use http_server::fuzzing::read_json;
use pool_registry_types::{CertificateRequest, JoinRequest};

use crate::bounds;

const MAX_SECRET_BYTES: usize = 1024;
const MAX_PEM_BYTES: usize = 16 * 1024;
/// A shorter one may be a part of what is shown by chance.
const LONG_SECRET: usize = 16;

/// See the top of this file.
pub fn join_request(input: &[u8]) {
    match read_json::<JoinRequest>(input) {
        Ok(request) => {
            bounds::id(request.node_id.as_str());
            bounds::url(&request.address);
            let token = request.token.reveal();
            assert!(token.len() <= MAX_SECRET_BYTES);
            let csr = request.csr.as_ref();
            assert!(csr.is_none_or(|csr| csr.as_str().len() <= MAX_PEM_BYTES));
            assert!(token.len() < LONG_SECRET || !format!("{:?}", request.token).contains(token));
            bounds::survives_writing(&request);
        }
        Err(refusal) => bounds::refusal(&refusal.message),
    }
    match read_json::<CertificateRequest>(input) {
        Ok(request) => {
            assert!(request.csr.as_str().len() <= MAX_PEM_BYTES);
            bounds::survives_writing(&request);
        }
        Err(refusal) => bounds::refusal(&refusal.message),
    }
}
