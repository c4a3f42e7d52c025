//! Sessions behind authentication, as a browser uses them.

use axum::body::Body;
use bearer_auth::ApiToken;
use bytes::Bytes;
use http::{
    Method, Request,
    header::{AUTHORIZATION, COOKIE, HOST, ORIGIN},
};
use http_body_util::BodyExt as _;
use http_server::{
    AllowedHosts, Authenticated, Caller, HttpService as _, PeerAddr, RequestBody, RequestId,
};
use serde_json::Value;

use super::*;

const TOKEN: &str = "a-token-of-tests";

struct Server(Authenticated<axum::Router>);

impl Server {
    fn new() -> Self {
        let token: ApiToken = TOKEN.parse().unwrap();
        let policy = AuthPolicy::new(Some(token), false).unwrap();
        let routes = SessionApi::new(policy.clone()).routes();
        // Stands for any change.
        let routes = routes.post("/v2/change", Access::OPERATOR, async || "changed");
        let hosts = AllowedHosts::new([], "HOSTS");
        Self(Authenticated::new(policy, hosts, routes.into_router()))
    }

    async fn send(
        &self,
        (method, path): (Method, &str),
        headers: &[(http::HeaderName, &str)],
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let caller = Caller {
            peer: Some(PeerAddr("192.0.2.7:9".parse().unwrap())),
            id: RequestId::random(),
        };
        let body = RequestBody::from(Bytes::new()).sent_by(caller);
        let respond = self.0.clone().respond(request.body(body).unwrap());
        respond.await.map(Body::new)
    }

    /// Signs in, and gives the cookie.
    async fn sign_in(&self) -> String {
        let token = format!("Bearer {TOKEN}");
        let signing_in = (Method::POST, "/v2/session");
        let answer = self.send(signing_in, &[(AUTHORIZATION, &token)]).await;
        assert_eq!(answer.status(), 200);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        for part in [
            "; Path=/;",
            "; Max-Age=43200;",
            "; HttpOnly",
            "; SameSite=Strict",
        ] {
            assert!(cookie.contains(part), "{cookie}");
        }
        cookie.split(';').next().unwrap().to_owned()
    }
}

async fn json(response: Response) -> Value {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap_or_default()
}

// spec: AUTH-60, AUTH-61
#[tokio::test]
async fn a_cookie_stands_for_the_token_on_pages_of_this_server() {
    let server = Server::new();
    let cookie = server.sign_in().await;
    let host = (HOST, "llorch.example:8080");
    let own = (ORIGIN, "https://llorch.example:8080");
    let (show, change) = ((Method::GET, "/v2/session"), (Method::POST, "/v2/change"));
    let answer = server
        .send(show.clone(), &[host.clone(), (COOKIE, &cookie)])
        .await;
    assert_eq!(answer.status(), 200);
    let answer = json(answer).await;
    assert_eq!(
        (&answer["who"], &answer["is_session"]),
        (&"the API token".into(), &true.into())
    );
    assert_eq!(answer["scopes"].as_array().map(Vec::len), Some(4));
    for (what, headers, status) in [
        (
            change.clone(),
            vec![host.clone(), own.clone(), (COOKIE, &cookie)],
            200,
        ),
        // A page of another port of this host, of another site, and a program that hides its page.
        (
            change.clone(),
            vec![
                host.clone(),
                (ORIGIN, "https://llorch.example:3000"),
                (COOKIE, &cookie),
            ],
            403,
        ),
        (
            show.clone(),
            vec![
                host.clone(),
                (ORIGIN, "https://evil.example"),
                (COOKIE, &cookie),
            ],
            403,
        ),
        (change.clone(), vec![host.clone(), (COOKIE, &cookie)], 403),
        (change, vec![host.clone(), own], 401),
    ] {
        let named = format!("{what:?} {headers:?}");
        assert_eq!(
            server.send(what, &headers).await.status(),
            status,
            "{named}"
        );
    }
}

// spec: AUTH-60
#[tokio::test]
async fn signing_out_ends_the_session() {
    let server = Server::new();
    let cookie = server.sign_in().await;
    let headers = [
        (HOST, "llorch.example"),
        (ORIGIN, "https://llorch.example"),
        (COOKIE, cookie.as_str()),
    ];
    let answer = server.send((Method::DELETE, "/v2/session"), &headers).await;
    assert_eq!(answer.status(), 204);
    let removed = answer.headers()[SET_COOKIE].to_str().unwrap();
    assert!(removed.starts_with("llorch_session=; ") && removed.contains("Max-Age=0;"));
    let answer = server.send((Method::GET, "/v2/session"), &headers).await;
    assert_eq!(answer.status(), 401);
    let message = json(answer).await["error"]["message"].clone();
    assert_eq!(message, "the session has ended: sign in again");
}

#[tokio::test]
async fn over_tls_only_tls_gets_the_cookie() {
    assert!(
        cookie(None, true)[SET_COOKIE]
            .to_str()
            .unwrap()
            .ends_with("; Secure")
    );
    assert!(
        !cookie(None, false)[SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Secure")
    );
}
