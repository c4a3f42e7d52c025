//! The log lines about requests: they name their request and contain no content.

use std::collections::BTreeSet;

use captured_log::Log;
use fake_engine::{Fault, Script};
use http::Method;
use inference_gateway::GatewayConfig;
use serde_json::Value;
use tracing::Level;

use crate::harness::{NODE_TOKEN, Service, endpoint, engines, over_tcp, table, text, until};

/// No line may contain this.
const PROMPT: &str = "canary-prompt-4711";
const CLIENT_TOKEN: &str = "canary-client-4711";
/// Words of the engine's responses: the third token, and the last one of a whole response.
const COMPLETIONS: [&str; 2] = ["three", "sixteen"];

/// The targets of lines about requests. The client of these tests logs nothing.
const REQUEST_TARGETS: [&str; 5] = [
    "inference_gateway",
    "access",
    "admission",
    "placement",
    "request",
];

/// The messages about one request. Each line names the request's endpoint.
fn messages(log: &Log, id: &str, replica: &str) -> Vec<String> {
    let lines = log.json_lines(&REQUEST_TARGETS).into_iter();
    let of_request = lines.filter(|line| line["request_id"] == id && line["message"] != "request");
    of_request
        .map(|line| {
            assert_eq!(
                [
                    &line["model"],
                    &line["node"],
                    &line["pool"],
                    &line["replica"]
                ],
                ["tiny", "node-1", "pool-0", replica],
                "{line}"
            );
            line["message"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn chat(service: &Service, id: &str, model: &str, stream: bool) {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},
            "messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#
    );
    let token = format!("Bearer {CLIENT_TOKEN}");
    let headers = [("x-request-id", id), ("authorization", &token)];
    let answer = service
        .send(Method::POST, "/v1/chat/completions", &headers, &body)
        .await;
    text(answer).await;
}

fn failing(fault: Fault) -> Script {
    Script {
        fault: Some(fault),
        ..Script::default()
    }
}

/// Requests that are served, retried, refused and broken off.
async fn log_all_kinds_of_lines() {
    let all = engines([Script::default(), Script::default()]);
    let service = Service::over(&all).await;
    let [gone, _serving] = all;
    gone.stop();
    chat(&service, "retried", "tiny", false).await;
    chat(&service, "unknown", "unknown-model", false).await;
    let engine = engines([failing(Fault::Cut(3))]);
    let service = Service::with(GatewayConfig::default(), Default::default(), table(&engine)).await;
    chat(&service, "broken", "tiny", false).await;
    chat(&service, "cut", "tiny", true).await;
    let engine = engines([Script::default()]);
    let stranger = over_tcp(endpoint(&engine[0], "r0"));
    let service = Service::with(GatewayConfig::default(), Default::default(), vec![stranger]).await;
    chat(&service, "stranger", "tiny", false).await;
}

/// Whether the access log has the request.
fn is_over(log: &Log, id: &str) -> bool {
    let mut lines = log.json_lines(&REQUEST_TARGETS).into_iter();
    lines.any(|line| line["target"] == "access" && line["request_id"] == id)
}

fn assert_no_content(log: &Log) {
    let text = log.text();
    for secret in [PROMPT, CLIENT_TOKEN, NODE_TOKEN]
        .into_iter()
        .chain(COMPLETIONS)
    {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in a line");
    }
}

// spec: SEE-17, AUTH-4, AUTH-5
#[tokio::test]
async fn every_line_names_its_request_and_contains_no_content() {
    for level in [Level::INFO, Level::TRACE] {
        let (log, _guard) = Log::json_of_this_thread(level);
        log_all_kinds_of_lines().await;
        for id in ["retried", "unknown", "broken", "cut", "stranger"] {
            until("each request has its last line", || is_over(&log, id)).await;
        }
        assert_no_content(&log);
        for (id, expected) in [
            ("retried", "an attempt failed"),
            ("broken", "a response broke off before its first byte"),
            ("cut", "a response broke off after its first byte"),
            (
                "stranger",
                "a response did not come from a node's data path",
            ),
        ] {
            let messages = messages(&log, id, "r0");
            assert!(
                messages.iter().any(|message| message.starts_with(expected)),
                "{expected:?} of {id} at {level} in {messages:?}"
            );
        }
        for line in log.json_lines(&REQUEST_TARGETS) {
            // At the default level there are no spans, so the line itself names the request.
            let in_spans = line["spans"].as_array().into_iter().flatten();
            let spans = std::iter::once(&line["span"]).chain(in_spans);
            let names = |fields: &Value| fields["request_id"].is_string();
            assert!(
                names(&line) || (level == Level::TRACE && spans.into_iter().any(names)),
                "{line} names no request"
            );
        }
    }
}

// spec: SEE-18
#[tokio::test]
async fn a_request_has_spans_at_debug_level_only() {
    let names = |log: &Log| -> BTreeSet<String> {
        let lines = log.json_lines(&REQUEST_TARGETS).into_iter();
        let started = lines.filter(|line| line["target"] == telemetry::REQUEST);
        started
            .map(|line| line["span"]["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let serve = async |level| {
        let (log, _guard) = Log::json_of_this_thread(level);
        let engines = engines([Script::default()]);
        let service = Service::over(&engines).await;
        chat(&service, "served", "tiny", true).await;
        until("it is over", || is_over(&log, "served")).await;
        log
    };
    assert_eq!(names(&serve(Level::INFO).await), BTreeSet::new());
    let log = serve(Level::DEBUG).await;
    let all = ["admission", "dispatch", "placement", "request", "stream"];
    assert_eq!(names(&log), BTreeSet::from(all.map(str::to_owned)));
    for line in log
        .json_lines(&REQUEST_TARGETS)
        .into_iter()
        .filter(|line| line["message"] == "new")
    {
        let parents = line["spans"].as_array().unwrap();
        let is_below = parents.iter().any(|span| span["request_id"] == "served");
        assert!(is_below || line["span"]["name"] == "request", "{line}");
    }
}
