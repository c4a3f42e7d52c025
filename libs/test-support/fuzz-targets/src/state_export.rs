//! The export of all state of a control plane.
//!
//! Input: its lines without the last one, which the target adds with the right checksum.
//!
//! * Bytes as they are, and lines with a right end, are read or refused.
//! * What is read is the same after it has been written and read.

use sha2::{Digest as _, Sha256};
use state_export::StateExport;

/// See the top of this file.
pub fn state_export(input: &[u8]) {
    // The checksum of these is hardly ever right.
    let _ = StateExport::parse(input);
    let mut bytes = input.to_vec();
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    let records = bytes.iter().filter(|byte| **byte == b'\n').count() - 1;
    let sha256 = const_hex::encode(Sha256::digest(&bytes));
    let end = format!("{{\"end\":{{\"records\":{records},\"sha256\":\"{sha256}\"}}}}\n");
    bytes.extend(end.as_bytes());
    let Ok(export) = StateExport::parse(&bytes) else {
        return;
    };
    let written = export.to_bytes().expect("an export that can be written");
    let read = StateExport::parse(&written).expect("an export that is read as it was written");
    assert_eq!(read, export, "another state came back");
}
