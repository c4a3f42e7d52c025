//! A guard is done when the response is complete, and dropped when it breaks off.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use pool_registry_types::HttpUrl;
use stream_proxy::{BodyGuard, Outbound, ProxyBody, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Dropped,
}

/// Records how it ended.
#[derive(Debug, Default)]
struct Guard {
    is_done: bool,
    ends: Arc<Mutex<Vec<End>>>,
}

impl BodyGuard for Guard {
    fn done(mut self: Box<Self>) {
        self.is_done = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let end = if self.is_done {
            End::Done
        } else {
            End::Dropped
        };
        self.ends.lock().push(end);
    }
}

/// The body of a response whose first bytes are `begin` with a guard, the record of the guard's
/// end, and the upstream's socket.
async fn guarded(begin: &str) -> (ProxyBody, Arc<Mutex<Vec<End>>>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let path = "/v1/x".parse().unwrap();
    let request = Outbound::new(
        Method::POST,
        path,
        HeaderMap::new(),
        Bytes::from_static(b"{}"),
    );
    let proxy = StreamProxy::new();
    let (answer, upstream) =
        tokio::join!(proxy.forward(&url, &request, Timeouts::default()), async {
            let (mut upstream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"{}") {
                upstream.read_buf(&mut seen).await.unwrap();
            }
            upstream.write_all(begin.as_bytes()).await.unwrap();
            upstream
        });
    let mut body = answer.unwrap().into_body();
    let guard = Guard::default();
    let ends = Arc::clone(&guard.ends);
    body.attach(Box::new(guard));
    (body, ends, upstream)
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";

fn seen(ends: &Mutex<Vec<End>>) -> Vec<End> {
    ends.lock().clone()
}

// spec: PATH-60
#[tokio::test]
async fn a_guard_is_done_when_the_response_is_complete() {
    let (mut body, ends, mut upstream) = guarded(CHUNKED).await;
    body.frame().await.unwrap().unwrap();
    assert_eq!(seen(&ends), [], "there may be more");
    upstream.write_all(b"2\r\nde\r\n0\r\n\r\n").await.unwrap();
    let last = body.frame().await.unwrap().unwrap();
    assert_eq!(last.into_data().unwrap(), "de");
    assert_eq!(
        seen(&ends),
        [End::Done],
        "with the last bytes, not with a further look"
    );
    assert!(body.frame().await.is_none());

    let (body, ends, _upstream) = guarded("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!(seen(&ends), [End::Done], "all of it came at once");
    assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    assert_eq!(seen(&ends), [End::Done]);
}

// spec: PATH-60
#[tokio::test]
async fn a_guard_is_dropped_with_a_broken_or_abandoned_response() {
    let (mut body, ends, upstream) = guarded(CHUNKED).await;
    body.frame().await.unwrap().unwrap();
    drop(upstream);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(
        seen(&ends),
        [End::Dropped],
        "at once, not when the body is dropped"
    );

    let (mut body, ends, mut upstream) = guarded(CHUNKED).await;
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(seen(&ends), [End::Dropped]);
    assert_eq!(
        upstream.read(&mut [0; 1]).await.unwrap(),
        0,
        "the connection is closed"
    );
}
