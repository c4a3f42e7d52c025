//! Who gets past the door.

use bearer_auth::AuthPolicy;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use http_server::{Authenticated, Caller, HttpService, PeerAddr, RequestBody, RequestId};

use crate::support::hello;

const TOKEN: &str = "a-long-enough-token";
/// What the tests open.
const OPEN: &str = "/openapi.json";

/// Asks as a process of this machine.
async fn ask(token: Option<&str>, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let policy = AuthPolicy::new(token.map(|token| token.parse().unwrap()), false).unwrap();
    let caller = Caller {
        peer: Some(PeerAddr("127.0.0.1:4711".parse().unwrap())),
        id: RequestId::random(),
    };
    let body = RequestBody::from(Bytes::new()).sent_by(caller);
    let mut request = Request::post(path).body(body).unwrap();
    *request.headers_mut() = headers
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect::<HeaderMap>();
    let guarded = Authenticated::new(policy, hello()).opening(&[OPEN]);
    let response: Response<_> = guarded.respond(request).await;
    let status = response.status().as_u16();
    let Ok(body) = response.into_body().collect().await else {
        unreachable!("bodies from memory do not fail")
    };
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

fn code(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

// spec: AUTH-6
#[tokio::test]
async fn without_a_token_no_web_page_gets_in() {
    let register = "/v2/nodes/register";
    for origin in [
        "http://evil.example",
        "http://evil.example:8080",
        "http://localhost:3000",
        "http://localhost.evil.example:8080",
        "https://localhost",
        "null",
        "",
        "localhost:8080",
    ] {
        let headers = [
            ("host", "localhost:8080"),
            ("origin", origin),
            ("content-type", "text/plain"),
        ];
        let (status, body) = ask(None, register, &headers).await;
        assert_eq!((status, code(&body).as_str()), (403, "FORBIDDEN"), "{origin:?}");
    }
    // In the shape of the route, with any doubt against the page.
    let doubtful: [&[(&str, &str)]; 3] = [
        &[("origin", "http://localhost:8080")],
        &[
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
            ("origin", "http://evil.example"),
        ],
        &[
            ("host", "localhost:8080"),
            ("host", "evil.example"),
            ("origin", "http://evil.example"),
        ],
    ];
    for headers in doubtful {
        let (status, body) = ask(None, "/v1/chat/completions", headers).await;
        assert_eq!((status, code(&body).as_str()), (403, "FORBIDDEN"), "{headers:?}");
        assert!(body.contains("\"type\""), "{body}");
    }
}

// spec: AUTH-6
#[tokio::test]
async fn our_own_pages_and_programs_do() {
    let own: [&[(&str, &str)]; 4] = [
        &[("host", "localhost:8080")],
        &[("host", "localhost:8080"), ("origin", "http://localhost:8080")],
        &[("host", "LOCALHOST"), ("origin", "https://localhost")],
        &[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")],
    ];
    for headers in own {
        assert_eq!(
            ask(None, "/v2/nodes/register", headers).await.0,
            200,
            "{headers:?}"
        );
    }
    // A page of elsewhere that knows the token was given it.
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("host", "h"),
        ("origin", "http://ui.example"),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(ask(Some(TOKEN), "/v2/nodes/register", &headers).await.0, 200);
    assert_eq!(ask(Some(TOKEN), "/v2/nodes/register", &headers[..2]).await.0, 401);
}

// spec: AUTH-1
#[tokio::test]
async fn what_is_opened_is_open_and_nothing_beside_it() {
    for path in ["/health", OPEN] {
        assert_eq!(ask(Some(TOKEN), path, &[]).await.0, 200, "{path}");
        let page = [("host", "h"), ("origin", "http://evil.example")];
        assert_eq!(ask(None, path, &page).await.0, 200, "{path}");
    }
    for path in [
        "/openapi.json/",
        "/openapi",
        "//openapi.json",
        "/OPENAPI.JSON",
        "/health/",
        "/ready",
        "/",
    ] {
        assert_eq!(ask(Some(TOKEN), path, &[]).await.0, 401, "{path}");
    }
}
