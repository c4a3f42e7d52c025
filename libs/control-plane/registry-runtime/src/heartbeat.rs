//! Heartbeats in JSON. One that repeats the last one is recognised without parsing its lists.

use std::{borrow::Cow, fmt};

use pool_registry_types::HeartbeatRequest;
use serde::{
    Deserialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use service_registry::{HeartbeatHeader, RegistryError, ReportDigest};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// Why a heartbeat was not taken in.
#[derive(Debug, Error)]
pub enum HeartbeatError {
    /// The body is no heartbeat. The error names the field.
    #[error(transparent)]
    Invalid(#[from] serde_path_to_error::Error<serde_json::Error>),
    /// The body has more bytes after a heartbeat.
    #[error(transparent)]
    Trailing(serde_json::Error),
    /// The registry refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] RegistryError),
}

/// The header of a heartbeat. Its digest covers every other field, so that no field can change
/// unnoticed; only the timestamp is left out, because it differs each time and decides nothing.
struct ParsedHeader(HeartbeatHeader);

impl<'de> Deserialize<'de> for ParsedHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = ParsedHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a heartbeat")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ParsedHeader, A::Error> {
        let (mut timestamp, mut incarnation, mut seq) = (None, None, None);
        let mut digest = Xxh3::new();
        while let Some(name) = fields.next_key::<Text<'de>>()? {
            match &*name.0 {
                "timestamp" => set(&mut timestamp, fields.next_value::<Text<'de>>()?)?,
                "incarnation" => set(&mut incarnation, fields.next_value()?)?,
                "seq" => set(&mut seq, fields.next_value()?)?,
                name => {
                    let value: &RawValue = fields.next_value()?;
                    // JSON text has no zero byte, so it separates names from values.
                    for part in [name, "\0", value.get(), "\0"] {
                        digest.update(part.as_bytes());
                    }
                }
            }
        }
        timestamp.ok_or_else(|| A::Error::missing_field("timestamp"))?;
        Ok(ParsedHeader(HeartbeatHeader {
            incarnation: incarnation.flatten(),
            seq: seq.flatten(),
            digest: ReportDigest(digest.digest128()),
        }))
    }
}

fn set<T, E: serde::de::Error>(field: &mut Option<T>, value: T) -> Result<(), E> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a field is there twice")),
    }
}

/// The header and digest of a heartbeat; `None` when the body must be parsed to find what is wrong.
pub(crate) fn parse_header(body: &[u8]) -> Option<HeartbeatHeader> {
    let ParsedHeader(header) = serde_json::from_slice(body).ok()?;
    Some(header)
}

/// The whole heartbeat.
pub(crate) fn parse_heartbeat(body: &[u8]) -> Result<HeartbeatRequest, HeartbeatError> {
    // Tracking the path of a field costs as much as reading it, so only refused bodies are tracked.
    serde_json::from_slice(body).or_else(|error| {
        let mut json = serde_json::Deserializer::from_slice(body);
        let _: HeartbeatRequest = serde_path_to_error::deserialize(&mut json)?;
        Err(HeartbeatError::Trailing(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(body: &str) -> Option<ReportDigest> {
        parse_header(body.as_bytes()).map(|header| header.digest)
    }

    // spec: LIVE-41
    #[test]
    fn the_digest_covers_every_field_but_the_header() {
        let same = [
            r#"{"timestamp":"1","pools":[],"seq":1,"gpus":[]}"#,
            r#"{"timestamp":"2","pools":[],"seq":2,"gpus":[]}"#,
            r#"{"seq":3,"timestamp":"3","incarnation":null,"pools":[],"gpus":[]}"#,
        ];
        assert!(same.iter().all(|body| digest(body) == digest(same[0])));
        assert!(digest(same[0]).is_some());
        for other in [
            r#"{"timestamp":"1","pools":[ ],"seq":1,"gpus":[]}"#,
            r#"{"timestamp":"1","pools":[],"seq":1}"#,
            r#"{"timestamp":"1","pools":[],"seq":1,"gpus":null}"#,
            r#"{"timestamp":"1","pools":[],"seq":1,"gpus":[],"of_a_later_version":1}"#,
            r#"{"timestamp":"1","pools":[],"seq":1,"gpus":[],"of_a_later_version":2}"#,
        ] {
            assert_ne!(digest(other), digest(same[0]), "{other}");
        }
        let later = |value: u32| {
            digest(&format!(
                r#"{{"timestamp":"1","pools":[],"of_a_later_version":{value}}}"#
            ))
        };
        assert_ne!(later(1), later(2));
    }

    #[test]
    fn a_header_that_is_wrong_is_left_to_the_parser_of_the_whole() {
        for wrong in [
            "",
            "[]",
            r#"{"pools":[]}"#,
            r#"{"timestamp":1,"pools":[]}"#,
            r#"{"timestamp":"1","seq":-1,"pools":[]}"#,
            r#"{"timestamp":"1","seq":1,"seq":1,"pools":[]}"#,
            r#"{"timestamp":"1","pools":[]} x"#,
        ] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }
}
