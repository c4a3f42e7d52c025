//! The log lines about requests: they name node, engine and request, and contain no content.

use captured_log::Log;
use fake_engine::{FakeEngine, Script};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tracing::Level;

use crate::support::{CHAT, Node};

/// No line may contain this.
const PROMPT: &str = "canary-prompt-4711";
const TOKEN: &str = "canary-token-4711";
/// A word of the engine's response.
const COMPLETION: &str = "sixteen";

/// The targets of lines about requests.
const REQUEST_TARGETS: [&str; 4] = ["node_api", "engine_probe", "pool_registry", "request"];

/// The field `name` of a line or of a span around it.
fn field<'l>(line: &'l Value, name: &str) -> Option<&'l str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    let mut all = std::iter::once(line)
        .chain(std::iter::once(&line["span"]))
        .chain(spans);
    all.find_map(|place| place[name].as_str())
}

/// One unreachable engine, another that serves, and an operator who drains it.
async fn log_all_kinds_of_lines() {
    let gone = FakeEngine::start(Script::default()).unwrap();
    let serving = FakeEngine::start(Script::default()).unwrap();
    // Like the agent: inside the span that names the node.
    let agent = tracing::error_span!("node", node_id = "gpu-1");
    let node = agent.in_scope(|| Node::over(&[&gone, &serving]));
    gone.stop();
    let token = format!("Bearer {TOKEN}");
    let headers = [
        ("x-request-id", "asked"),
        ("x-llorch-model", "tiny"),
        ("authorization", &token),
    ];
    let body = format!(r#"{{"model":"tiny","stream":true,"messages":[{{"content":"{PROMPT}"}}]}}"#);
    // The engines take turns, until the unreachable one is taken out.
    for _ in 0..10 {
        let answer = node.send(Method::POST, CHAT, &headers, &body).await;
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    }
    let drain = "/v2/pools/pool-0/replicas/r1/drain";
    let answer = node.send(Method::POST, drain, &headers, "").await;
    assert_eq!(answer.status(), 200);
}

// spec: SEE-17, SEE-19, AUTH-4, AUTH-5
#[tokio::test]
async fn every_line_names_its_node_and_request_and_contains_no_content() {
    let did_not = "an engine did not respond";
    let not_ready = "Engine is not ready and gets no requests";
    let drained = "Drain changed";
    for (level, expected) in [
        (Level::WARN, &[not_ready][..]),
        (Level::INFO, &[did_not, not_ready, drained]),
        (Level::TRACE, &[did_not, not_ready, drained]),
    ] {
        let (log, _guard) = Log::json_of_this_thread(level);
        log_all_kinds_of_lines().await;
        let text = log.text();
        for secret in [PROMPT, TOKEN, COMPLETION] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in a line");
        }
        let lines = log.json_lines(&REQUEST_TARGETS);
        // The line of a new span does not show the spans around it.
        for line in lines.iter().filter(|line| line["message"] != "new") {
            assert_eq!(field(line, "node_id"), Some("gpu-1"), "{line}");
            assert_eq!(field(line, "request_id"), Some("asked"), "{line}");
        }
        for expected in expected {
            let begins = |line: &&Value| line["message"].as_str().unwrap().starts_with(expected);
            let line = lines.iter().find(begins);
            let line = line.unwrap_or_else(|| panic!("no {expected:?} at {level} in {text}"));
            assert_eq!(line["pool_id"], "pool-0", "{line}");
            assert!(line["replica_id"].is_string(), "{line}");
            if *expected != drained {
                assert_eq!(field(line, "model"), Some("tiny"), "{line}");
            }
        }
    }
}

// spec: SEE-18
#[tokio::test]
async fn a_request_has_spans_at_debug_level_only() {
    let span_names = async |level| {
        let (log, _guard) = Log::json_of_this_thread(level);
        log_all_kinds_of_lines().await;
        let mut names: Vec<String> = log
            .json_lines(&REQUEST_TARGETS)
            .iter()
            .filter(|line| line["target"] == telemetry::REQUEST)
            .map(|line| line["span"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(span_names(Level::INFO).await, [""; 0]);
    assert_eq!(
        span_names(Level::DEBUG).await,
        ["admission", "dispatch", "request", "stream"]
    );
}
