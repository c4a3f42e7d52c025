//! A certificate signing request of a node.
//!
//! Input: a request in PEM form, or the DER form of one.
//!
//! * What is accepted has a key of one of three kinds, which is the one in the request.
//! * A refusal blames the request, and is one short line.

use node_ca::{Host, fuzzing::public_key};
use pool_registry_types::{NodeId, PemText};

use crate::bounds;

/// What PEM begins with.
const DASHES: &[u8] = b"-----";
const LABEL: &str = "CERTIFICATE REQUEST";

/// See the top of this file.
pub fn signing_request(input: &[u8]) {
    let node = NodeId::new("gpu-1").expect("an id");
    let host = Host::new("10.0.0.7").expect("an address");
    let (text, der) = if input.starts_with(DASHES) {
        let Ok(text) = std::str::from_utf8(input) else {
            return;
        };
        (text.to_owned(), None)
    } else {
        let body = base64(input);
        let text = format!("-----BEGIN {LABEL}-----\n{body}-----END {LABEL}-----\n");
        (text, Some(input))
    };
    let Ok(text) = PemText::new(text) else { return };
    match public_key(&text, &node, &[host]) {
        Ok(key) => {
            assert!(matches!(key.len(), 32 | 65 | 97), "{} bytes", key.len());
            if let Some(der) = der {
                let is_there = der.windows(key.len()).any(|part| part == key);
                assert!(is_there, "another key");
            }
        }
        Err(refusal) => {
            assert!(refusal.is_of_request(), "{refusal}");
            bounds::refusal(&refusal.to_string());
        }
    }
}

/// In lines of 64 characters, as RFC 7468 has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, three) in bytes.chunks(3).enumerate() {
        let [a, b, c] = [0, 1, 2].map(|at| three.get(at).copied().unwrap_or_default());
        let bits = u32::from_be_bytes([0, a, b, c]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize % DIGITS.len()];
            let is_padding = place > three.len();
            text.push(if is_padding { '=' } else { char::from(digit) });
        }
        if at % 16 == 15 {
            text.push('\n');
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
