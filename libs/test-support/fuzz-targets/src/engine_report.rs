//! What engines answer to probes.
//!
//! Input: the kind of engine, a line feed and the body of an answer.
//!
//! * Whatever an engine writes, reading it goes on.
//! * What is said of its trouble is short.
//! * What a server is that answers so is said in a few words.

use engine_probe::fuzzing::{identity, read};
use http::StatusCode;
use pool_registry_types::EngineKind;

/// The most characters of an engine's own words.
const MAX_WORDS: usize = 200;

/// See the top of this file.
pub fn engine_report(input: &[u8]) {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (kind, body) = input.split_at(end);
    let Some(kind) = std::str::from_utf8(kind)
        .ok()
        .and_then(|kind| EngineKind::new(kind).ok())
    else {
        return;
    };
    for status in [
        StatusCode::OK,
        StatusCode::UNAUTHORIZED,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        let identity = identity(status, body.get(1..).unwrap_or_default());
        assert!(identity.chars().count() <= MAX_WORDS, "{identity}");
    }
    let report = read(&kind, body.get(1..).unwrap_or_default());
    if let Some(error) = report.error {
        assert!(error.chars().count() <= MAX_WORDS);
    }
}
