//! An engine's stream on its way through the gateway.
//!
//! Input: a digit that says how the stream is cut and, by its half, which API it belongs to; then
//! the stream.
//!
//! * No byte is lost, added or moved.
//! * What goes on ends with a line's end.
//! * However the stream is cut, the verdict on its end is the same.

use bytes::Bytes;
use inference_gateway::fuzzing::Stream;

use crate::pieces::{pieces, seeded};

/// A route of each API.
const ROUTES: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
];

/// See the top of this file.
pub fn event_stream(input: &[u8]) {
    let Some((seed, input)) = seeded(input) else {
        return;
    };
    let route = ROUTES[usize::from(seed >> 2) % ROUTES.len()];
    let whole = pass(route, std::iter::once(input));
    let cut = pass(route, pieces(seed, input));
    assert_eq!(whole.passed, input, "a byte was lost or moved");
    assert_eq!(cut.passed, input, "a byte was lost or moved");
    assert_eq!(cut.is_over, whole.is_over, "the cut changed the verdict");
}

struct Passed {
    passed: Vec<u8>,
    is_over: bool,
}

fn pass<'a>(route: &str, reads: impl Iterator<Item = &'a [u8]>) -> Passed {
    let mut stream = Stream::of(route);
    let mut passed = Vec::new();
    for read in reads {
        let on = stream.push(Bytes::copy_from_slice(read));
        passed.extend_from_slice(&on);
        let is_whole = on.is_empty() || matches!(passed.last(), Some(b'\n' | b'\r'));
        assert!(is_whole, "a part of a line went on");
    }
    let is_over = stream.is_over();
    passed.extend_from_slice(&stream.take_rest());
    Passed { passed, is_over }
}
