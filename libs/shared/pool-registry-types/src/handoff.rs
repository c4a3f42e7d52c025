//! The handoff file: "this engine is up".

use serde::{Deserialize, Serialize};

use crate::{
    EngineKind, HttpUrl, PoolId, ReplicaId,
    invalid::InvalidField,
    key_file::KeyFile,
    limits::MAX_SLOTS,
    models::{ModelName, check_models},
    text::Text,
};

/// The file `{runtime dir}/{pool_id}_{replica_id}.json`, written by the program that started the
/// engine.
///
/// Write it to a temporary name in the same directory and rename it, so that a reader never sees
/// half of it.
///
/// ```
/// let handoff: pool_registry_types::Handoff = serde_json::from_str(
///     r#"{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp",
///         "url":"http://localhost:8081","slots":4}"#,
/// ).unwrap();
/// assert_eq!(handoff.slots(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UnvalidatedHandoff")]
#[non_exhaustive]
pub struct Handoff {
    /// The pool this engine belongs to.
    pub pool_id: PoolId,
    /// Which of the pool's engines it is.
    pub replica_id: ReplicaId,
    /// What kind of engine answers at `url`.
    pub engine: EngineKind,
    /// Where the engine listens, as seen from its own machine. A `/v1` at its end is removed: every
    /// request brings its own.
    pub url: HttpUrl,
    /// The version that the engine reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<Text>,
    /// How many requests the engine serves at once; 1 to [`MAX_SLOTS`].
    slots: u32,
    /// Which devices it runs on, for example `GPU0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_mask: Option<Text>,
    /// The models it serves; absent means "ask the engine".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelName>>,
    /// The file with the key that the engine demands: an absolute path. The key itself stands in no
    /// handoff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<KeyFile>,
}

impl Handoff {
    /// A handoff with the required fields. `slots` is raised to 1 or reduced to [`MAX_SLOTS`].
    #[must_use]
    pub fn new(
        pool_id: PoolId,
        replica_id: ReplicaId,
        engine: EngineKind,
        url: HttpUrl,
        slots: u32,
    ) -> Self {
        Self {
            pool_id,
            replica_id,
            engine,
            url,
            engine_version: None,
            slots: slots.clamp(1, MAX_SLOTS),
            device_mask: None,
            models: None,
            api_key_file: None,
        }
    }

    /// How many requests the engine serves at once; 1 to [`MAX_SLOTS`].
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Replaces the slots. They are raised to 1 or reduced to [`MAX_SLOTS`].
    pub fn set_slots(&mut self, slots: u32) {
        self.slots = slots.clamp(1, MAX_SLOTS);
    }
}

#[derive(Deserialize)]
struct UnvalidatedHandoff {
    pool_id: PoolId,
    replica_id: ReplicaId,
    engine: EngineKind,
    url: HttpUrl,
    engine_version: Option<String>,
    slots: u32,
    device_mask: Option<String>,
    models: Option<Vec<ModelName>>,
    api_key_file: Option<KeyFile>,
}

/// A text of a file is refused, because its author can correct it.
fn text(field: &'static str, value: Option<String>) -> Result<Option<Text>, InvalidField> {
    let text = value.map(Text::try_from).transpose();
    text.map_err(|error| error.of(field))
}

impl TryFrom<UnvalidatedHandoff> for Handoff {
    type Error = InvalidField;

    fn try_from(raw: UnvalidatedHandoff) -> Result<Self, InvalidField> {
        if !(1..=MAX_SLOTS).contains(&raw.slots) {
            return Err(InvalidField::new(
                "slots",
                format!("must be between 1 and {MAX_SLOTS}, not {}", raw.slots),
            ));
        }
        check_models("models", raw.models.as_deref())?;
        if raw.url.is_https() {
            return Err(InvalidField::new(
                "url",
                format!(
                    "must be a URL such as http://localhost:8081, not {}: the scheme is not http",
                    raw.url
                ),
            ));
        }
        let UnvalidatedHandoff {
            pool_id,
            replica_id,
            engine,
            url,
            engine_version,
            slots,
            device_mask,
            models,
            api_key_file,
        } = raw;
        Ok(Self {
            pool_id,
            replica_id,
            engine,
            url: url.without_api_version(),
            engine_version: text("engine_version", engine_version)?,
            slots,
            device_mask: text("device_mask", device_mask)?,
            models,
            api_key_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Handoff, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())
    }

    // spec: WIRE-2, WIRE-3
    #[test]
    fn the_short_and_the_long_form() {
        let short = parse(
            r#"{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp",
                "url":"http://localhost:8081","engine_version":"v1","slots":4}"#,
        )
        .unwrap();
        assert_eq!(short.models, None);
        let long = parse(
            r#"{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp",
                "url":"http://localhost:8081","slots":4,
                "device_mask":"GPU0","models":["tiny"],"api_key_file":"/etc/llorch/engine.key",
                "from_the_future":{"x":1}}"#,
        )
        .unwrap();
        assert_eq!(long.api_key_file.as_deref(), Some("/etc/llorch/engine.key"));
        assert_eq!(long.models.as_deref(), Some(&["tiny".parse().unwrap()][..]));
        assert_eq!(parse(&serde_json::to_string(&long).unwrap()).unwrap(), long);
    }

    // spec: WIRE-48
    #[test]
    fn a_handoff_is_built_within_its_bounds() {
        let url: HttpUrl = "http://localhost:1".parse().unwrap();
        let ids = ("p".parse().unwrap(), "r".parse().unwrap());
        let mut handoff = Handoff::new(ids.0, ids.1, EngineKind::new("x").unwrap(), url, 0);
        assert_eq!(handoff.slots(), 1);
        handoff.set_slots(u32::MAX);
        assert_eq!(handoff.slots(), MAX_SLOTS);
        let error = KeyFile::new("engine.key").unwrap_err().to_string();
        assert!(
            error.starts_with("api_key_file must be the absolute path"),
            "{error}"
        );
        handoff.api_key_file = Some(KeyFile::new("/etc/llorch/engine.key").unwrap());
        assert_eq!(
            parse(&serde_json::to_string(&handoff).unwrap()),
            Ok(handoff)
        );
    }

    // spec: WIRE-43, WIRE-44
    #[test]
    fn a_known_spelling_and_the_end_v1_are_taken() {
        for (url, expected) in [
            ("http://localhost:8081/v1", "http://localhost:8081"),
            ("http://localhost:8081/v1/", "http://localhost:8081"),
            (
                "http://localhost:8081/openai/v1",
                "http://localhost:8081/openai",
            ),
            (
                "http://localhost:8081/v1beta",
                "http://localhost:8081/v1beta",
            ),
            ("http://localhost:8081/xv1", "http://localhost:8081/xv1"),
        ] {
            let handoff = parse(&format!(
                r#"{{"pool_id":"p","replica_id":"r","engine":"llama.cpp","url":"{url}","slots":1}}"#
            ))
            .unwrap();
            assert_eq!(handoff.url.to_string(), expected, "{url}");
            assert_eq!(handoff.engine.as_str(), "llamacpp");
        }
    }

    // spec: WIRE-4
    #[test]
    fn every_bad_field_is_named() {
        let good = serde_json::json!({
            "pool_id": "p", "replica_id": "r", "engine": "llamacpp",
            "url": "http://localhost:1", "slots": 1,
        });
        for (field, value) in [
            ("pool_id", serde_json::json!("a/b")),
            ("replica_id", serde_json::json!("")),
            ("engine", serde_json::json!("llama cpp")),
            ("url", serde_json::json!("localhost:1")),
            ("url", serde_json::json!(1)),
            ("slots", serde_json::json!(0)),
            ("slots", serde_json::json!(-1)),
            ("slots", serde_json::json!(100_000)),
            ("slots", serde_json::json!("4")),
            ("engine_version", serde_json::json!("v\u{1}")),
            ("device_mask", serde_json::json!("x".repeat(2000))),
            ("models", serde_json::json!([""])),
            ("models", serde_json::json!("tiny")),
            ("api_key_file", serde_json::json!("engine.key")),
            ("api_key_file", serde_json::json!("/a\n")),
            ("api_key_file", serde_json::json!("/a".repeat(1000))),
        ] {
            let mut bad = good.clone();
            bad[field] = value.clone();
            let error = parse(&bad.to_string()).unwrap_err();
            assert!(error.contains(field), "{field}={value}: {error}");
        }
        for missing in ["pool_id", "replica_id", "engine", "url", "slots"] {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(missing);
            let error = parse(&bad.to_string()).unwrap_err();
            assert!(error.contains(missing), "{missing}: {error}");
        }
    }
}
