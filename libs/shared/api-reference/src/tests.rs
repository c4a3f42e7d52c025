//! What every route gets, and what the page may load.

use axum::body::{Body, to_bytes};
use http::Request;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

const ABOUT: About = About {
    title: "demo <1>",
    version: "0.0.0",
    description: "A demo.",
};

/// The body of the route.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only described")]
struct Taken {
    /// How many.
    count: u32,
}

/// A route with a body.
#[utoipa::path(post, path = "/v2/things/{id}", params(("id" = String, Path)), request_body = Taken,
    responses((status = 200, description = "Done."), (status = 404, description = "UNKNOWN_NODE")))]
#[expect(dead_code, reason = "only described")]
fn change() {}

/// A route of OpenAI's.
#[utoipa::path(
    post, path = "/v1/things",
    responses((status = 200, description = "Done."), (status = 503, description = "POOL_BUSY"))
)]
#[expect(dead_code, reason = "only described")]
fn forwarded() {}

#[derive(utoipa::OpenApi)]
#[openapi(paths(change, forwarded))]
struct Parts;

fn reference() -> Reference {
    Reference::new(ABOUT, [http_server::openapi as Part, Parts::openapi])
}

fn document() -> Value {
    serde_json::from_str(reference().json()).unwrap()
}

// spec: WIRE-9
#[test]
fn every_route_lists_the_common_errors() {
    let document = document();
    let change = &document["paths"]["/v2/things/{id}"]["post"];
    assert_eq!(change["operationId"], "post_v2_things_id");
    let statuses: Vec<&String> = change["responses"].as_object().unwrap().keys().collect();
    assert_eq!(
        statuses,
        [
            "200", "400", "401", "403", "404", "408", "413", "500", "503"
        ]
    );
    let shape = |operation: &Value, status: &str| {
        operation["responses"][status]["content"]["application/json"]["schema"]["$ref"].clone()
    };
    for status in ["400", "401", "404", "413", "503"] {
        assert_eq!(
            shape(change, status),
            "#/components/schemas/ErrorEnvelope",
            "{status}"
        );
    }
    let forwarded = &document["paths"]["/v1/things"]["post"];
    assert_eq!(shape(forwarded, "401"), "#/components/schemas/OpenAiError");
    assert_eq!(
        forwarded["responses"]["503"]["description"],
        "POOL_BUSY, SHUTTING_DOWN, TOO_MANY_CONNECTIONS"
    );
    for status in ["408", "413"] {
        assert!(
            forwarded["responses"].get(status).is_none(),
            "it takes no body"
        );
    }
    assert_eq!(
        document["paths"]["/health"]["get"]["security"],
        serde_json::json!([])
    );
    assert_eq!(document["security"][0]["token"], serde_json::json!([]));
    assert_eq!(
        document["components"]["schemas"]["Taken"]["properties"]["count"]["maximum"],
        u32::MAX
    );
}

// spec: WIRE-10
#[tokio::test]
async fn the_page_loads_nothing_and_runs_nothing() {
    let router = reference().routes().into_router();
    for (path, kind) in [
        ("/openapi.json", "application/json"),
        ("/docs/api", "text/html; charset=utf-8"),
        ("/docs/api.css", "text/css; charset=utf-8"),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["content-type"]
            ),
            (200, &kind.parse().unwrap())
        );
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';"),
            "{policy}"
        );
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        if path == "/docs/api" {
            assert!(body.contains("<title>demo &lt;1&gt;</title>"), "{body}");
            assert!(
                body.contains("<code>/v2/things/{id}</code> A route with a body."),
                "{body}"
            );
            assert!(body.contains("<details id=\"Taken\">"), "{body}");
            for not in ["<script", "style=\"", "://", "onclick"] {
                assert!(!body.contains(not), "{not}");
            }
        }
    }
}

// spec: WIRE-9
#[test]
fn its_own_routes_are_in_it() {
    let document = document();
    let routes = reference().routes();
    let paths: Vec<&str> = routes.mounted().iter().map(|(_, path)| *path).collect();
    assert_eq!(paths, OPEN_PATHS);
    for (method, path) in routes.mounted() {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        assert_eq!(
            operation["security"],
            serde_json::json!([]),
            "{method} {path}"
        );
        assert!(
            operation["responses"].get("401").is_none(),
            "{method} {path}"
        );
    }
}
