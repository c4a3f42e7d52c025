//! A case of the conformance tables. They follow the sections of RFC 9113 and RFC 7541, and have
//! the cases of the conformance tester h2spec.
//!
//! An endpoint may name a general error code instead of a special one (section 7), so
//! `PROTOCOL_ERROR` is accepted for wrong sizes and for header blocks that cannot be decoded.

use super::{
    client::{Code, Expected},
    frames::*,
};

pub(super) const PROTOCOL: &[Code] = &[PROTOCOL_ERROR];
pub(super) const FLOW_CONTROL: &[Code] = &[FLOW_CONTROL_ERROR];
pub(super) const FRAME_SIZE: &[Code] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
pub(super) const STREAM_CLOSED: &[Code] = &[STREAM_CLOSED_ERROR, PROTOCOL_ERROR];
pub(super) const COMPRESSION: &[Code] = &[COMPRESSION_ERROR, PROTOCOL_ERROR];
pub(super) const REFUSED: &[Code] = &[REFUSED_STREAM, PROTOCOL_ERROR];

/// What a client does in a case.
pub(super) enum Step {
    Send(Vec<u8>),
    /// It reads the response on this stream to its end.
    Answered(u32),
}

pub(super) struct Case {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    pub(super) expected: Expected,
}

/// A case that sends these frames at once.
pub(super) fn case(section: &str, what: &str, frames: &[Vec<u8>], expected: Expected) -> Case {
    steps(section, what, vec![Step::Send(frames.concat())], expected)
}

pub(super) fn steps(section: &str, what: &str, steps: Vec<Step>, expected: Expected) -> Case {
    Case {
        name: format!("{section}: {what}"),
        steps,
        expected,
    }
}

pub(super) fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

/// A request with a body that has not come yet.
pub(super) fn opened() -> Vec<u8> {
    headers(END_HEADERS, 1, &post())
}
