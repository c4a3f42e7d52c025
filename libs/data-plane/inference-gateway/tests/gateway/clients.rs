//! What clients send that engines and other servers take: encoded names, other paths, encoded
//! bodies, headers of their own.

use std::io::Write as _;

use bytes::Bytes;
use fake_engine::{FakeEngine, Record, Script};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Response, header::CONTENT_ENCODING};
use inference_gateway::GatewayConfig;
use stream_proxy::{Outbound, ProxyBody, StreamProxy, Timeouts};

use crate::harness::{Service, endpoint, engines, error_of, header, table, text};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#;

fn recording(models: &[&str]) -> FakeEngine {
    FakeEngine::start(Script {
        models: models.iter().map(|&model| model.to_owned()).collect(),
        ..Script::default()
    })
    .unwrap()
}

fn last(engine: &FakeEngine) -> Record {
    engine.records().pop().unwrap()
}

/// Sends `body`, which need not be text.
async fn send_bytes(
    service: &Service,
    coding: Option<&'static str>,
    body: impl Into<Bytes>,
) -> Response<ProxyBody> {
    let mut headers = HeaderMap::new();
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    let request = Outbound::new(Method::POST, CHAT.parse().unwrap(), headers, body.into());
    StreamProxy::new()
        .forward(&service.url, &request, Timeouts::default())
        .await
        .unwrap()
}

// spec: PATH-102
#[tokio::test]
async fn a_model_is_found_by_its_encoded_name() {
    let engine = recording(&["org/name", "llama3.2:3b", "größe", "100%"]);
    let service = Service::over(&[engine]).await;
    for (path, id) in [
        ("/v1/models/org/name", "org/name"),
        ("/v1/models/org%2Fname", "org/name"),
        ("/v1/models/org%2fname/", "org/name"),
        ("/v1/models/llama3.2:3b", "llama3.2:3b"),
        ("/v1/models/llama3.2%3A3b", "llama3.2:3b"),
        ("/v1/models/gr%C3%B6%C3%9Fe", "größe"),
        ("/v1/models/100%25", "100%"),
        ("/models/org%2Fname", ""),
    ] {
        let answer = service.send(Method::GET, path, &[], "").await;
        if id.is_empty() {
            assert_eq!(answer.status(), 404, "{path}");
            continue;
        }
        assert_eq!(answer.status(), 200, "{path}");
        let model: serde_json::Value = serde_json::from_str(&text(answer).await.0).unwrap();
        assert_eq!(model["id"], id, "{path}");
    }
    // Decoded once: this names a model whose name holds `%2F`.
    for (path, status) in [("/v1/models/org%252Fname", 404), ("/v1/models/%FF", 400)] {
        let answer = service.send(Method::GET, path, &[], "").await;
        assert_eq!(answer.status(), status, "{path}");
    }
}

// spec: PATH-101
#[tokio::test]
async fn short_forms_and_final_slashes_mean_the_route() {
    let engine = recording(&["tiny"]);
    let service = Service::over(std::slice::from_ref(&engine)).await;
    for (path, for_engine) in [
        ("/v1/chat/completions/", CHAT),
        ("/chat/completions", CHAT),
        ("/chat/completions/", CHAT),
        ("/completions?x=1", "/v1/completions?x=1"),
        ("/embeddings", "/v1/embeddings"),
    ] {
        let body = r#"{"model":"tiny","messages":[],"prompt":"hi","input":"hi"}"#;
        let answer = service.send(Method::POST, path, &[], body).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(last(&engine).path, for_engine, "{path}");
    }
    for path in ["/models", "/v1/models/", "/models/"] {
        let answer = service.send(Method::GET, path, &[], "").await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(text(answer).await.0.contains(r#""id":"tiny""#), "{path}");
    }
}

// spec: PATH-101
#[tokio::test]
async fn native_routes_reach_the_engine_of_the_one_model_that_can_be_meant() {
    let engine = recording(&["tiny"]);
    let service = Service::over(std::slice::from_ref(&engine)).await;
    for path in [
        "/infill",
        "/completion",
        "/apply-template",
        "/rerank",
        "/score",
        "/pooling",
    ] {
        let answer = service
            .send(Method::POST, path, &[], r#"{"prompt":"hi"}"#)
            .await;
        // The stand-in does not have them, and says so.
        assert_eq!(header(&answer, "x-llorch-replica"), "r0", "{path}");
        assert!(text(answer).await.0.contains("File Not Found"), "{path}");
    }
    let answer = service.send(Method::GET, "/props", &[], "").await;
    assert_eq!(answer.status(), 200);
    assert!(text(answer).await.0.contains("total_slots"));
    let answer = service.send(Method::POST, "/props", &[], "{}").await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "allow")),
        (405, "GET")
    );
    // With two models, the request must name one.
    let other = recording(&["other"]);
    service.add(&[endpoint(&other, "r1")]);
    let answer = service.send(Method::GET, "/props", &[], "").await;
    assert_eq!(answer.status(), 400);
    let answer = service
        .send(Method::GET, "/props?model=other", &[], "")
        .await;
    assert_eq!(header(&answer, "x-llorch-replica"), "r1");
    assert!(text(answer).await.0.contains("other"));
    let answer = service.send(Method::POST, "/infill", &[], "{}").await;
    assert_eq!(error_of(&text(answer).await.0)["param"], "model");
}

// spec: PATH-101
#[tokio::test]
async fn an_unknown_path_names_the_nearest_route() {
    let service = Service::over(&engines([Script::default()])).await;
    for (method, path, nearest) in [
        (Method::POST, "/v1/v1/chat/completions", CHAT),
        (Method::POST, "/api/v1/chat/completions", CHAT),
        (Method::GET, "/v1/model", "/v1/models"),
        (Method::POST, "/chat/completion", "/chat/completions"),
    ] {
        let answer = service.send(method, path, &[], BODY).await;
        assert_eq!(answer.status(), 404, "{path}");
        let message = error_of(&text(answer).await.0)["message"].to_string();
        assert!(
            message.contains(&format!("did you mean {nearest}?")),
            "{message}"
        );
    }
    let answer = service.send(Method::GET, "/v2/node", &[], "").await;
    assert!(!text(answer).await.0.contains("did you mean"));
}

// spec: PATH-103
#[tokio::test]
async fn no_redirect_of_an_engine_reaches_a_client() {
    let all = engines([Script::default()]);
    let service = Service::over(&all).await;
    for status in [301, 302, 307, 308] {
        let answer = service.chat(false, &format!("status={status}")).await;
        assert_eq!(answer.status(), 502);
        assert!(!answer.headers().contains_key("location"));
        let error = error_of(&text(answer).await.0);
        assert!(
            error["message"].to_string().contains("redirects"),
            "{error}"
        );
    }
    // This one answers a conditional request.
    assert_eq!(service.chat(false, "status=304").await.status(), 304);
    // It says nothing about the health of the endpoint.
    assert_eq!(service.chat(false, "").await.status(), 200);
    service.all_slots_back().await;
}

// spec: PATH-106
#[tokio::test]
async fn a_body_may_begin_with_a_byte_order_mark() {
    let engine = recording(&["tiny"]);
    let service = Service::over(std::slice::from_ref(&engine)).await;
    let answer = send_bytes(&service, None, format!("\u{feff}{BODY}")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(last(&engine).body_len, BODY.len());
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

// spec: DOOR-31, PATH-106
#[tokio::test]
async fn an_encoded_body_reaches_the_engine_decoded() {
    let engine = recording(&["tiny"]);
    let config = GatewayConfig {
        max_body_bytes: 100_000,
        ..GatewayConfig::default()
    };
    let table = table(std::slice::from_ref(&engine));
    let service = Service::with(config, Default::default(), table).await;
    let answer = send_bytes(&service, Some("gzip"), gzip(BODY.as_bytes())).await;
    assert_eq!(answer.status(), 200);
    let seen = last(&engine);
    assert_eq!(
        (seen.body_len, seen.header("content-encoding")),
        (BODY.len(), None)
    );

    let large = gzip(&vec![b' '; 200_000]);
    for (coding, body, status, code) in [
        ("br", gzip(BODY.as_bytes()), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("gzip", BODY.as_bytes().to_vec(), 400, "INVALID_REQUEST"),
        ("gzip", large, 413, "PAYLOAD_TOO_LARGE"),
    ] {
        let answer = send_bytes(&service, Some(coding), body).await;
        assert_eq!(answer.status(), status);
        let is_unknown = status == 415;
        assert_eq!(
            header(&answer, "accept-encoding"),
            if is_unknown { "gzip, zstd" } else { "" }
        );
        assert_eq!(error_of(&text(answer).await.0)["code"], code);
    }
}

// spec: PATH-105
#[tokio::test]
async fn what_describes_the_clients_hop_ends_here() {
    let engine = recording(&["tiny"]);
    let service = Service::over(std::slice::from_ref(&engine)).await;
    let ends = [
        ("origin", "http://localhost"),
        ("referer", "http://localhost/page"),
        ("cookie", "session=secret"),
        ("authorization", "Bearer secret"),
        ("x-api-key", "secret"),
        ("api-key", "secret"),
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-anything", "x"),
        ("x-real-ip", "192.0.2.1"),
    ];
    let headers = [
        &ends[..],
        &[("x-session-id", "s"), ("anthropic-version", "x")],
    ]
    .concat();
    let path = "/v1/chat/completions?a=1&api_key=secret";
    let answer = service.send(Method::POST, path, &headers, BODY).await;
    assert_eq!(answer.status(), 200);
    let seen = last(&engine);
    assert_eq!(seen.path, "/v1/chat/completions?a=1");
    for (name, _) in ends {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-session-id"), Some("s"));
    assert_eq!(seen.header("anthropic-version"), Some("x"));
}

// spec: PATH-100
#[tokio::test]
async fn errors_of_anthropics_routes_have_its_shape_and_header() {
    let service = Service::over(&engines([Script::default()])).await;
    for (method, path, body, status, kind) in [
        (
            Method::POST,
            "/v1/messages",
            r#"{"model":"none"}"#,
            404,
            "not_found_error",
        ),
        (
            Method::POST,
            "/v1/messages/",
            "{",
            400,
            "invalid_request_error",
        ),
        (Method::POST, "/messages", "{", 400, "invalid_request_error"),
        (
            Method::GET,
            "/v1/messages",
            "",
            405,
            "invalid_request_error",
        ),
        (
            Method::POST,
            "/v1/messages/batches",
            "{}",
            404,
            "not_found_error",
        ),
        (
            Method::GET,
            "/v1/messages/batches/1",
            "",
            404,
            "not_found_error",
        ),
        (
            Method::POST,
            "/v1/messages/count_tokens",
            "{",
            400,
            "invalid_request_error",
        ),
    ] {
        let headers = [("x-request-id", "asked-4711")];
        let answer = service.send(method, path, &headers, body).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(header(&answer, "request-id"), "asked-4711", "{path}");
        let body: serde_json::Value = serde_json::from_str(&text(answer).await.0).unwrap();
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(body["error"]["type"], kind, "{body}");
        assert_eq!(body["request_id"], "asked-4711", "{body}");
    }
}

// spec: PATH-107
#[tokio::test]
async fn the_realtime_api_is_refused_with_the_reason() {
    let service = Service::over(&engines([Script::default()])).await;
    for (method, path) in [
        (Method::GET, "/v1/realtime?model=tiny"),
        (Method::POST, "/v1/realtime/client_secrets"),
    ] {
        let answer = service.send(method, path, &[], "").await;
        assert_eq!(answer.status(), 404);
        let error = error_of(&text(answer).await.0);
        assert!(
            error["message"].to_string().contains("no realtime API"),
            "{error}"
        );
    }
}

// spec: PATH-104
#[tokio::test]
async fn a_stored_response_that_is_not_known_is_not_found() {
    let all = engines([Script::default()]);
    let service = Service::over(&all).await;
    for (method, path) in [
        (Method::GET, "/v1/responses/resp_1"),
        (Method::DELETE, "/v1/responses/resp_1"),
        (Method::POST, "/v1/responses/resp_1/cancel"),
        (Method::GET, "/v1/responses/resp_1/input_items"),
    ] {
        let answer = service.send(method, path, &[], "").await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(error_of(&text(answer).await.0)["param"], "response_id");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/v1/responses/resp_1", "GET, DELETE"),
        (Method::DELETE, "/v1/responses/resp_1/input_items", "GET"),
        (Method::GET, "/v1/responses/resp_1/cancel", "POST"),
    ] {
        let answer = service.send(method, path, &[], "").await;
        assert_eq!(answer.status(), 405, "{path}");
        assert_eq!(header(&answer, "allow"), allowed, "{path}");
    }
    assert_eq!(all[0].stats().requests, 0);
}

async fn ollama(service: &Service, path: &str, body: &str) -> (u16, String, String) {
    let method = if body.is_empty() {
        Method::GET
    } else {
        Method::POST
    };
    let answer = service.send(method, path, &[], body).await;
    let status = answer.status().as_u16();
    let kind = header(&answer, "content-type").to_owned();
    (status, kind, text(answer).await.0)
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

// spec: PATH-109
#[tokio::test]
async fn ollamas_clients_are_served_by_any_engine() {
    let engine = recording(&["tiny"]);
    let service = Service::over(std::slice::from_ref(&engine)).await;
    let chat = r#"{"model":"tiny:latest","messages":[{"role":"user","content":"hi"}],
        "options":{"num_predict":3}}"#;
    let (status, kind, said) = ollama(&service, "/api/chat", chat).await;
    assert_eq!((status, kind.as_str()), (200, "application/x-ndjson"));
    let said = lines(&said);
    let words: String = said
        .iter()
        .filter_map(|line| line["message"]["content"].as_str())
        .collect();
    assert_eq!(words.split_whitespace().count(), 3, "{said:?}");
    let last = said.last().unwrap();
    assert_eq!(
        (&last["done"], &last["eval_count"]),
        (&true.into(), &3.into()),
        "{last}"
    );
    assert_eq!(last["model"], "tiny:latest");

    let whole = r#"{"model":"tiny","prompt":"hi","stream":false,"options":{"num_predict":3}}"#;
    let (status, kind, said) = ollama(&service, "/api/generate", whole).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert_eq!(lines(&said)[0]["eval_count"], 3, "{said}");

    let input = r#"{"model":"tiny","input":["a","b"]}"#;
    let (_, _, said) = ollama(&service, "/api/embed", input).await;
    assert_eq!(lines(&said)[0]["embeddings"].as_array().unwrap().len(), 2);
    service.all_slots_back().await;
}

// spec: PATH-109
#[tokio::test]
async fn ollamas_questions_about_models_are_answered() {
    let service = Service::over(&engines([Script::default()])).await;
    let (_, _, tags) = ollama(&service, "/api/tags", "").await;
    assert_eq!(lines(&tags)[0]["models"][0]["name"], "tiny");
    let (_, _, running) = ollama(&service, "/api/ps", "").await;
    assert_eq!(lines(&running)[0]["models"][0]["model"], "tiny");
    let (_, _, version) = ollama(&service, "/api/version", "").await;
    assert!(lines(&version)[0]["version"].is_string());
    for (body, status) in [
        (r#"{"model":"tiny"}"#, 200),
        (r#"{"name":"tiny"}"#, 200),
        (r#"{"model":"tiny","name":"tiny"}"#, 200),
        (r#"{"model":"none"}"#, 404),
        ("{}", 400),
        ("7", 400),
    ] {
        assert_eq!(
            ollama(&service, "/api/show", body).await.0,
            status,
            "{body}"
        );
    }
    let (_, _, loaded) = ollama(&service, "/api/chat", r#"{"model":"tiny"}"#).await;
    assert_eq!(lines(&loaded)[0]["done_reason"], "load");
    // No model is loaded that no node has.
    let (status, _, said) = ollama(&service, "/api/chat", r#"{"model":"none"}"#).await;
    assert_eq!(status, 404, "{said}");
}

// spec: PATH-109
#[tokio::test]
async fn errors_of_ollamas_routes_have_its_shape() {
    let service = Service::over(&engines([Script::default()])).await;
    for (path, body, status, part) in [
        (
            "/api/chat",
            r#"{"model":"none","messages":[{"role":"user"}]}"#,
            404,
            "\"none\"",
        ),
        ("/api/chat", "{", 400, "the body is not valid"),
        (
            "/api/generate",
            r#"{"model":"tiny","prompt":"a","suffix":"b"}"#,
            400,
            "`suffix`",
        ),
        ("/api/pull", r#"{"model":"x"}"#, 403, "not managed here"),
        ("/api/tags", "{}", 405, "only GET"),
        ("/api/unknown", "{}", 404, "no such route"),
    ] {
        let (found, _, said) = ollama(&service, path, body).await;
        assert_eq!(found, status, "{path}: {said}");
        let error = lines(&said)[0]["error"].as_str().unwrap().to_owned();
        assert!(error.contains(part), "{error}");
    }
}

// spec: PATH-109
#[tokio::test]
async fn a_broken_stream_ends_with_ollamas_error() {
    let all = engines([Script {
        fault: Some(fake_engine::Fault::Cut(2)),
        tokens: 5,
        ..Script::default()
    }]);
    let service = Service::over(&all).await;
    let chat = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#;
    let (status, _, said) = ollama(&service, "/api/chat", chat).await;
    assert_eq!(status, 200, "{said}");
    let said = lines(&said);
    assert!(said.last().unwrap()["error"].is_string(), "{said:?}");
}
