//! Request bodies with a content coding (RFC 9110, section 8.4).
//!
//! Input: `g` for gzip, `z` for zstd, any other byte for a body as it is; a byte whose number is a
//! bound on the decoded size, in units of 16 bytes; then the body.
//!
//! * A decoded body is within the bound, and a larger bound does not change it. A refusal for its
//!   size has a reason: with a larger bound it is larger, or is not decoded at all.
//! * A body that is decoded is not when its last byte is missing, or another one follows.
//! * The same bytes, encoded by this target, are decoded to themselves.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use http_server::{BodyError, fuzzing::decode};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::pieces::seeded;

/// The unit of the bound in an input.
const UNIT: usize = 16;
/// A bound that inputs of a kilobyte reach only by bombs.
const LARGE: usize = 64 * 1024;

/// See the top of this file.
pub fn content_coding(input: &[u8]) {
    let Some((letter, input)) = seeded(input) else {
        return;
    };
    let Some((bound, body)) = seeded(input) else {
        return;
    };
    let (coding, encoded) = match letter {
        b'g' => ("gzip", gzip(body)),
        b'z' => ("zstd", compress_to_vec(body, CompressionLevel::Fastest)),
        _ => ("identity", body.to_vec()),
    };
    let headers = headers(coding);
    let decoded = |body: &[u8], cap| decode(&headers, Bytes::copy_from_slice(body), cap);
    let back = decoded(&encoded, body.len()).expect("an encoded body is decoded");
    assert!(back == body, "{coding}: another body came back");
    if coding == "identity" {
        return;
    }
    let cap = usize::from(bound) * UNIT;
    match (decoded(body, cap), decoded(body, LARGE)) {
        (Ok(small), Ok(large)) => {
            assert!(small.len() <= cap, "beyond the bound");
            assert!(small == large, "the bound changed the body");
            let shorter = &body[..body.len() - 1];
            let longer = [body, b"x"].concat();
            for other in [shorter, &longer] {
                let other = decoded(other, LARGE);
                assert!(matches!(other, Err(BodyError::Undecodable(_))), "{other:?}");
            }
        }
        (Err(BodyError::TooLarge { .. }), Ok(large)) => assert!(large.len() > cap),
        (Err(BodyError::TooLarge { .. }), Err(_))
        | (Err(BodyError::Undecodable(_)), Err(BodyError::Undecodable(_))) => {}
        (small, large) => panic!("{small:?} within {cap}, {large:?} within {LARGE}"),
    }
}

fn headers(coding: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))])
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.expect("memory can be written to")
}
