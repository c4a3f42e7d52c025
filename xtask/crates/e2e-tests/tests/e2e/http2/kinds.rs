//! The table of what a client must not do: the kinds of frames and their payloads (RFC 9113,
//! sections 6 and 7).

use super::{
    cases::{Case, FLOW_CONTROL, FRAME_SIZE, PROTOCOL, case, headers, opened},
    client::Expected,
    frames::*,
};

pub(super) fn all() -> Vec<Case> {
    use Expected::{GoAway, Reset, Served};
    let whole = || headers(WHOLE, 1, &get());
    let padding = |kind, flags, payload: &[u8]| {
        // More padding than payload.
        frame(kind, flags | PADDED, 1, &[&[200], payload].concat())
    };
    let set = |id, value| settings(&[(id, value)]);
    let middle = || frame(CONTINUATION, NO_FLAGS, 1, &block(&[("x-a", "1")]));
    let last = |stream| frame(CONTINUATION, END_HEADERS, stream, &block(&[("x-b", "2")]));
    vec![
        case(
            "6.1",
            "DATA on stream 0",
            &[frame(DATA, NO_FLAGS, 0, b"x")],
            GoAway(PROTOCOL),
        ),
        case(
            "6.1",
            "padding longer than DATA",
            &[opened(), padding(DATA, END_STREAM, b"x")],
            GoAway(PROTOCOL),
        ),
        case(
            "6.2",
            "HEADERS on stream 0",
            &[headers(WHOLE, 0, &get())],
            GoAway(PROTOCOL),
        ),
        case(
            "6.2",
            "padding longer than HEADERS",
            &[padding(HEADERS, WHOLE, &get())],
            GoAway(PROTOCOL),
        ),
        case(
            "6.2",
            "HEADERS with padding and priority",
            &[headers(
                WHOLE | PADDED | HAS_PRIORITY,
                1,
                &[&[3], &dependency(0)[..], &get(), &[0; 3]].concat(),
            )],
            Served,
        ),
        case(
            "6.3",
            "PRIORITY on stream 0",
            &[frame(PRIORITY, NO_FLAGS, 0, &dependency(1))],
            GoAway(PROTOCOL),
        ),
        case(
            "6.3",
            "PRIORITY of a wrong length",
            &[frame(PRIORITY, NO_FLAGS, 1, &[0; 4])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.4",
            "RST_STREAM on stream 0",
            &[reset(0, CANCEL)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.4",
            "RST_STREAM of a wrong length",
            &[opened(), frame(RST_STREAM, NO_FLAGS, 1, &[0; 3])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.5",
            "an acknowledgement with settings",
            &[frame(SETTINGS, ACK, 0, &[0; 6])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.5",
            "SETTINGS on a stream",
            &[frame(SETTINGS, NO_FLAGS, 1, &[])],
            GoAway(PROTOCOL),
        ),
        case(
            "6.5",
            "SETTINGS of a wrong length",
            &[frame(SETTINGS, NO_FLAGS, 0, &[0; 3])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.5.2",
            "ENABLE_PUSH of 2",
            &[set(ENABLE_PUSH, 2)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE of 2^31",
            &[set(INITIAL_WINDOW_SIZE, 1 << 31)],
            GoAway(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE below 16 384",
            &[set(MAX_FRAME_SIZE, 16_383)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE of 2^24",
            &[set(MAX_FRAME_SIZE, 1 << 24)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.5.3",
            "settings twice",
            &[
                settings(&[(INITIAL_WINDOW_SIZE, 1), (INITIAL_WINDOW_SIZE, 100_000)]),
                whole(),
            ],
            Served,
        ),
        case(
            "6.6",
            "PUSH_PROMISE of a client",
            &[
                opened(),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2], &get()[..]].concat(),
                ),
            ],
            GoAway(PROTOCOL),
        ),
        case(
            "6.7",
            "PING on a stream",
            &[frame(PING, NO_FLAGS, 1, &[0; 8])],
            GoAway(PROTOCOL),
        ),
        case(
            "6.7",
            "PING of a wrong length",
            &[frame(PING, NO_FLAGS, 0, &[0; 6])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.7",
            "an answer to no ping",
            &[frame(PING, ACK, 0, &[7; 8])],
            Served,
        ),
        case(
            "6.8",
            "GOAWAY on a stream",
            &[frame(GOAWAY, NO_FLAGS, 1, &[0; 8])],
            GoAway(PROTOCOL),
        ),
        case(
            "6.8",
            "GOAWAY of a wrong length",
            &[frame(GOAWAY, NO_FLAGS, 0, &[0; 4])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE by nothing",
            &[window_update(0, 0)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE by nothing on a stream",
            &[opened(), window_update(1, 0)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of a wrong length",
            &[frame(WINDOW_UPDATE, NO_FLAGS, 0, &[0; 3])],
            GoAway(FRAME_SIZE),
        ),
        case(
            "6.9.1",
            "a window beyond 2^31",
            &[window_update(0, MAX_WINDOW), window_update(0, MAX_WINDOW)],
            GoAway(FLOW_CONTROL),
        ),
        case(
            "6.9.1",
            "a window beyond 2^31 on a stream",
            &[
                opened(),
                window_update(1, MAX_WINDOW),
                window_update(1, MAX_WINDOW),
            ],
            Reset(1, FLOW_CONTROL),
        ),
        case(
            "6.9.2",
            "a window beyond 2^31 by settings",
            &[
                opened(),
                window_update(1, MAX_WINDOW - 65_535),
                set(INITIAL_WINDOW_SIZE, 65_536),
            ],
            GoAway(FLOW_CONTROL),
        ),
        case(
            "6.10",
            "a header block of four frames",
            &[headers(END_STREAM, 1, &get()), middle(), middle(), last(1)],
            Served,
        ),
        case(
            "6.10",
            "DATA within a header block",
            &[
                headers(NO_FLAGS, 1, &post()),
                middle(),
                frame(DATA, END_STREAM, 1, b"x"),
            ],
            GoAway(PROTOCOL),
        ),
        case(
            "6.10",
            "CONTINUATION on stream 0",
            &[headers(END_STREAM, 1, &get()), last(0)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.10",
            "CONTINUATION behind a whole header block",
            &[whole(), last(1)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.10",
            "CONTINUATION behind the last one",
            &[headers(END_STREAM, 1, &get()), last(1), last(1)],
            GoAway(PROTOCOL),
        ),
        case(
            "6.10",
            "CONTINUATION behind DATA",
            &[opened(), frame(DATA, NO_FLAGS, 1, b"x"), last(1)],
            GoAway(PROTOCOL),
        ),
        case(
            "7",
            "GOAWAY with an unknown code",
            &[frame(GOAWAY, NO_FLAGS, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])],
            GoAway(&[NO_ERROR]),
        ),
        case(
            "7",
            "RST_STREAM with an unknown code",
            &[opened(), reset(1, 0xff)],
            Served,
        ),
    ]
}
