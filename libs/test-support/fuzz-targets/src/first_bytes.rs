//! The first bytes of a connection on a port that serves TLS and plain HTTP.
//!
//! Input: the size of the reader's buffer, the sizes of the pieces in which the bytes arrive up to
//! a zero, and the bytes.
//!
//! * The first byte alone tells TLS from HTTP.
//! * Each byte gets once, in order, to the one that reads on: the handshake, or HTTP.

use http_server::fuzzing::first_bytes as read;

/// See the top of this file.
pub fn first_bytes(input: &[u8]) {
    let Some((buffer, rest)) = input.split_first() else {
        return;
    };
    let end = rest
        .iter()
        .position(|size| *size == 0)
        .unwrap_or(rest.len());
    let (sizes, bytes) = rest.split_at(end);
    let bytes = bytes.get(1..).unwrap_or_default();
    let beginning = read(bytes, sizes, usize::from(*buffer) + 1);
    assert_eq!(beginning.is_tls, bytes.first() == Some(&0x16));
    if beginning.is_tls {
        assert_eq!(beginning.by_http, b"", "HTTP sees a part of a handshake");
    } else {
        assert_eq!(beginning.for_tls, b"", "bytes of HTTP are kept");
    }
    let all = [beginning.by_http, beginning.for_tls].concat();
    assert!(bytes.starts_with(&all), "other bytes");
    assert!(!beginning.is_tls || !all.is_empty());
    assert!(beginning.is_tls || all == bytes, "bytes are lost");
}
