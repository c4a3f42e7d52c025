//! The table of what a client must not do: frames as such, and the states of streams (RFC 9113,
//! sections 3 to 5).

use super::{
    cases::{
        COMPRESSION, Case, FRAME_SIZE, PROTOCOL, REFUSED, STREAM_CLOSED, Step, case, headers,
        opened, steps,
    },
    client::Expected,
    frames::*,
};

pub(super) fn all() -> Vec<Case> {
    use Expected::{GoAway, Reset, Served};
    let too_long = vec![0; MAX_FRAME_BYTES + 1];
    let half = headers(END_STREAM, 1, &get());
    let whole = |stream| headers(WHOLE, stream, &get());
    let continued = |stream| frame(CONTINUATION, END_HEADERS, stream, &get());
    let ping = || frame(PING, NO_FLAGS, 0, &[0; 8]);
    let mut padded = vec![0; MAX_FRAME_BYTES - get().len()];
    padded.splice(..0, get());
    vec![
        case(
            "4.1",
            "an unknown kind of frame",
            &[frame(UNKNOWN, 0xff, 0, b"x")],
            Served,
        ),
        case(
            "4.1",
            "an unknown flag",
            &[frame(PING, 0x16, 0, &[0; 8])],
            Served,
        ),
        case(
            "4.1",
            "the reserved bit",
            &[frame(PING, NO_FLAGS, 1 << 31, &[0; 8])],
            Served,
        ),
        case(
            "4.2",
            "the longest DATA",
            &[
                opened(),
                frame(DATA, END_STREAM, 1, &vec![0; MAX_FRAME_BYTES]),
            ],
            Served,
        ),
        case(
            "4.2",
            "DATA that is too long",
            &[opened(), frame(DATA, END_STREAM, 1, &too_long)],
            GoAway(FRAME_SIZE),
        ),
        case(
            "4.2",
            "HEADERS that are too long",
            &[headers(WHOLE, 1, &too_long)],
            GoAway(FRAME_SIZE),
        ),
        case(
            "4.3",
            "a field of the table that is not there",
            &[headers(WHOLE, 1, &[get(), vec![0xff, 0xff, 0x7f]].concat())],
            GoAway(COMPRESSION),
        ),
        case(
            "4.3",
            "PRIORITY within a header block",
            &[
                half.clone(),
                frame(PRIORITY, NO_FLAGS, 1, &dependency(0)),
                continued(1),
            ],
            GoAway(PROTOCOL),
        ),
        case(
            "4.3",
            "another stream within a header block",
            &[half.clone(), whole(3)],
            GoAway(PROTOCOL),
        ),
        case(
            "5.1",
            "DATA on an idle stream",
            &[frame(DATA, END_STREAM, 1, b"x")],
            GoAway(PROTOCOL),
        ),
        case(
            "5.1",
            "RST_STREAM on an idle stream",
            &[reset(1, CANCEL)],
            GoAway(PROTOCOL),
        ),
        case(
            "5.1",
            "WINDOW_UPDATE on an idle stream",
            &[window_update(1, 100)],
            GoAway(PROTOCOL),
        ),
        case(
            "5.1",
            "CONTINUATION on an idle stream",
            &[continued(1)],
            GoAway(PROTOCOL),
        ),
        case(
            "5.1",
            "DATA behind the end of a request",
            &[whole(1), frame(DATA, END_STREAM, 1, b"x")],
            GoAway(STREAM_CLOSED),
        ),
        case(
            "5.1",
            "HEADERS behind the end of a request",
            &[whole(1), whole(1)],
            GoAway(STREAM_CLOSED),
        ),
        case(
            "5.1",
            "CONTINUATION behind the end of a request",
            &[whole(1), continued(1)],
            GoAway(PROTOCOL),
        ),
        case(
            "5.1",
            "DATA behind a reset",
            &[opened(), reset(1, CANCEL), frame(DATA, END_STREAM, 1, b"x")],
            Reset(1, STREAM_CLOSED),
        ),
        case(
            "5.1",
            "HEADERS behind a reset",
            &[opened(), reset(1, CANCEL), whole(1)],
            GoAway(STREAM_CLOSED),
        ),
        case(
            "5.1",
            "CONTINUATION behind a reset",
            &[opened(), reset(1, CANCEL), continued(1)],
            GoAway(PROTOCOL),
        ),
        steps(
            "5.1",
            "DATA on a stream that is closed",
            vec![
                Step::Send(whole(1)),
                Step::Answered(1),
                Step::Send(frame(DATA, END_STREAM, 1, b"x")),
            ],
            Reset(1, STREAM_CLOSED),
        ),
        steps(
            "5.1",
            "HEADERS on a stream that is closed",
            vec![
                Step::Send(whole(1)),
                Step::Answered(1),
                Step::Send(whole(1)),
            ],
            GoAway(STREAM_CLOSED),
        ),
        steps(
            "5.1",
            "CONTINUATION on a stream that is closed",
            vec![
                Step::Send(whole(1)),
                Step::Answered(1),
                Step::Send(continued(1)),
            ],
            GoAway(PROTOCOL),
        ),
        case("5.1.1", "an even stream", &[whole(2)], GoAway(PROTOCOL)),
        case(
            "5.1.1",
            "a stream below the last one",
            &[whole(5), whole(3)],
            GoAway(STREAM_CLOSED),
        ),
        case(
            "5.1.2",
            "a request too many",
            &[(0..=MAX_STREAMS)
                .map(|count| headers(END_HEADERS, 2 * count + 1, &post()))
                .collect::<Vec<_>>()
                .concat()],
            Reset(2 * MAX_STREAMS + 1, REFUSED),
        ),
        case(
            "5.3.1",
            "a stream that depends on itself",
            &[headers(
                WHOLE | HAS_PRIORITY,
                1,
                &[dependency(1), get()].concat(),
            )],
            Reset(1, PROTOCOL),
        ),
        case(
            "5.5",
            "an unknown frame within a header block",
            &[half, frame(UNKNOWN, NO_FLAGS, 0, b"x"), continued(1)],
            GoAway(PROTOCOL),
        ),
        case(
            "5.5",
            "an unknown setting",
            &[settings(&[(0x16, 1)]), ping()],
            Served,
        ),
    ]
}
