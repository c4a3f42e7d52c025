//! The table of what a client must not do too often.

use super::{
    cases::{Case, case, headers, opened},
    client::{Code, Expected},
    frames::*,
};

const CALM: &[Code] = &[ENHANCE_YOUR_CALM];

/// Frames of a flood whose answers fit into the buffers of a socket: the client reads none of them
/// before it has sent all.
const FRAMES: usize = 2000;
/// More headers than an attacked server should decode.
const FIELDS: usize = 10_000;
/// The largest entry of a header table of 4096 bytes.
const ENTRY_BYTES: usize = 4000;

fn times(count: usize, frame: &[u8]) -> Vec<u8> {
    frame.repeat(count)
}

/// So many requests, each followed by `end` for its stream.
fn requests(count: u32, flags: u8, end: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count)
        .map(|number| 2 * number + 1)
        .flat_map(|stream| [headers(flags, stream, &post()), end(stream)].concat())
        .collect()
}

pub(super) fn all() -> Vec<Case> {
    use Expected::{GoAway, Served};
    let middle = frame(CONTINUATION, NO_FLAGS, 1, &[]);
    let long_value = "x".repeat(ENTRY_BYTES);
    // A field that is added to the table, and then named by one byte each time.
    let bomb = [
        get(),
        [&[0x40][..], &field("x-bomb", &long_value)[1..]].concat(),
        vec![0x80 | 62; FIELDS],
    ];
    let data = frame(DATA, NO_FLAGS, 1, &[]);
    vec![
        case(
            "flood",
            "header blocks without an end (CVE-2024-27316)",
            &[headers(NO_FLAGS, 1, &get()), times(FRAMES, &middle)],
            GoAway(CALM),
        ),
        case(
            "flood",
            "a header table as a bomb",
            &[headers(WHOLE, 1, &bomb.concat())],
            GoAway(CALM),
        ),
        case(
            "flood",
            "requests that are reset at once (CVE-2023-44487)",
            &[requests(500, END_HEADERS, |stream| reset(stream, CANCEL))],
            GoAway(CALM),
        ),
        case(
            "flood",
            "requests that the server must reset (CVE-2025-8671)",
            &[requests(500, END_HEADERS, |stream| {
                [
                    window_update(stream, MAX_WINDOW),
                    window_update(stream, MAX_WINDOW),
                ]
                .concat()
            })],
            GoAway(CALM),
        ),
        case(
            "flood",
            "empty DATA (CVE-2019-9518)",
            &[opened(), times(FRAMES, &data)],
            GoAway(CALM),
        ),
        case(
            "flood",
            "pings (CVE-2019-9512)",
            &[times(FRAMES, &frame(PING, NO_FLAGS, 0, &[1; 8]))],
            Served,
        ),
        case(
            "flood",
            "settings (CVE-2019-9515)",
            &[times(FRAMES, &settings(&[]))],
            Served,
        ),
        case(
            "flood",
            "priorities (CVE-2019-9513)",
            &[times(FRAMES, &frame(PRIORITY, NO_FLAGS, 1, &dependency(3)))],
            Served,
        ),
        case(
            "flood",
            "small windows",
            &[times(FRAMES, &window_update(0, 1))],
            Served,
        ),
        case(
            "flood",
            "unknown frames",
            &[times(FRAMES, &frame(UNKNOWN, 0, 0, &[]))],
            Served,
        ),
    ]
}
