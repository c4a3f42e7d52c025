//! An upstream whose every byte a test decides, and requests to it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use stream_proxy::{ForwardError, Outbound, ProxyBody, StreamError, StreamProxy, Timeouts};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

/// A timeout that a test reaches by advancing the clock.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// An upstream whose every byte the test decides.
pub(crate) struct Upstream {
    pub(crate) listener: TcpListener,
}

impl Upstream {
    pub(crate) async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn url(&self) -> HttpUrl {
        HttpUrl::new(&format!(
            "http://{}/base",
            self.listener.local_addr().unwrap()
        ))
        .unwrap()
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

pub(crate) async fn read_request(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        assert_ne!(
            stream.read_buf(&mut seen).await.unwrap(),
            0,
            "closed in the middle of the request"
        );
    }
    String::from_utf8(seen).unwrap()
}

pub(crate) fn request(body: &'static str) -> Outbound {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("content-length", HeaderValue::from(body.len()));
    headers.insert("connection", HeaderValue::from_static("x-secret-hop"));
    headers.insert("x-secret-hop", HeaderValue::from_static("1"));
    headers.insert("host", HeaderValue::from_static("public.example"));
    Outbound::new(
        Method::POST,
        "/v1/chat/completions?x=1".parse().unwrap(),
        headers,
        Bytes::from_static(body.as_bytes()),
    )
}

pub(crate) async fn text(body: ProxyBody) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

pub(crate) async fn next(body: &mut ProxyBody) -> Result<String, StreamError> {
    let frame = body.frame().await.expect("a frame")?;
    Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Sends a request and lets `serve` respond.
pub(crate) async fn exchange<S>(
    proxy: &StreamProxy,
    upstream: &Upstream,
    timeouts: Timeouts,
    serve: impl AsyncFnOnce(TcpStream) -> S,
) -> (Result<Response<ProxyBody>, ForwardError>, S) {
    let (url, request) = (upstream.url(), request("{}"));
    tokio::join!(proxy.forward(&url, &request, timeouts), async {
        let mut stream = upstream.accept().await;
        read_request(&mut stream, "{}").await;
        serve(stream).await
    })
}
