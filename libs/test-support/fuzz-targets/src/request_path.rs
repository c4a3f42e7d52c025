//! Which paths of clients go to an engine.
//!
//! Input: the path of a request, as it stands in the request line.
//!
//! * No path that an engine may take for one of its routes of administration goes to an engine,
//!   from the gateway or from a node, however it is disguised: by percent-encoding, case, dots,
//!   slashes.
//! * No path goes from the gateway to an engine that leads out of what is offered to clients.

use http::uri::PathAndQuery;
use inference_gateway::fuzzing::is_forwarded;
use percent_encoding::{percent_decode, percent_decode_str};
use pool_registry_types::engine_path::{EnginePath, classify};

/// Ends of the routes by which engines are administered. The second time that they are written
/// down: a route that is lost there is found here.
const ADMINISTRATION: [&str; 3] = [
    "/load_lora_adapter",
    "/unload_lora_adapter",
    "/chat/completions/control",
];

/// What is offered to clients beside everything below `/v1`.
const BESIDE: [&str; 2] = ["/tokenize", "/detokenize"];

/// See the top of this file.
pub fn request_path(input: &[u8]) {
    let Ok(target) = PathAndQuery::try_from(input) else {
        return;
    };
    let is_offered = is_forwarded(target.path());
    if !is_offered && classify(target.path()) != Ok(EnginePath::Inference) {
        return;
    }
    let once: Vec<u8> = percent_decode_str(target.path()).collect();
    let twice: Vec<u8> = percent_decode(&once).collect();
    assert_eq!(
        once,
        twice,
        "{} is another path when decoded again",
        target.path()
    );
    let meant = as_an_engine_may_read(&once);
    assert!(
        !ADMINISTRATION.iter().any(|end| meant.ends_with(end)),
        "{} goes to an engine as {meant}",
        target.path()
    );
    assert!(
        !is_offered
            || meant.starts_with("/v1/")
            || meant == "/v1"
            || BESIDE.contains(&meant.as_str()),
        "{} leads out to {meant}",
        target.path()
    );
}

/// A decoded path in lower case, without empty parts, dots and what dots remove, and without what
/// follows a NUL, a `;`, a `?` or a `#`.
fn as_an_engine_may_read(decoded: &[u8]) -> String {
    let text = String::from_utf8_lossy(decoded).to_ascii_lowercase();
    let text = text.split(['\0', '?', '#']).next().unwrap_or_default();
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split(['/', '\\']) {
        let part = part.split(';').next().unwrap_or_default();
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
