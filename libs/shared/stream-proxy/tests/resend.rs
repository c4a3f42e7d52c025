//! A request is resent once when a reused connection closes without a byte of a response.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use stream_proxy::{ForwardError, Outbound, ProxyBody, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";

fn request() -> Outbound {
    let path = "/v1/completions".parse().unwrap();
    Outbound::new(
        Method::POST,
        path,
        HeaderMap::new(),
        Bytes::from_static(b"{}"),
    )
}

async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"{}") {
        assert_ne!(
            stream.read_buf(&mut seen).await.unwrap(),
            0,
            "closed too early"
        );
    }
}

type Forwarded = Result<Response<ProxyBody>, ForwardError>;

/// Sends a first request, which succeeds, and then `second` on the same connection. The upstream
/// treats `second` with `reused`, and each request on a later connection with `fresh`. Returns the
/// result of `second` and how often the upstream received it.
async fn second_request(
    second: &Outbound,
    timeouts: Timeouts,
    reused: impl AsyncFn(&mut TcpStream),
    fresh: impl AsyncFn(&mut TcpStream),
) -> (Forwarded, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let executions = std::cell::Cell::new(0);
    let upstream = async {
        let mut stream = listener.accept().await.unwrap().0;
        read_request(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        read_request(&mut stream).await;
        executions.set(executions.get() + 1);
        reused(&mut stream).await;
        drop(stream);
        loop {
            let mut stream = listener.accept().await.unwrap().0;
            read_request(&mut stream).await;
            executions.set(executions.get() + 1);
            fresh(&mut stream).await;
        }
    };
    let proxy = StreamProxy::new();
    let client = async {
        let answer = proxy
            .forward(&url, &request(), Timeouts::default())
            .await
            .unwrap();
        answer.into_body().collect().await.unwrap();
        proxy.forward(&url, second, timeouts).await
    };
    tokio::select! {
        result = client => (result, executions.get()),
        () = upstream => panic!("the upstream does not end"),
    }
}

async fn close(_: &mut TcpStream) {}

async fn answer(stream: &mut TcpStream) {
    stream.write_all(ANSWER).await.unwrap();
}

// spec: PATH-27
#[tokio::test(start_paused = true)]
async fn a_late_close_is_resent_too() {
    for after in [0, 30, 90_000].map(Duration::from_millis) {
        let late = async |_: &mut TcpStream| sleep(after).await;
        let second = request();
        let (result, executions) = second_request(&second, Timeouts::default(), late, answer).await;
        assert_eq!(result.unwrap().status(), 200, "{after:?}");
        assert_eq!(
            (executions, second.resend.was_used()),
            (2, true),
            "{after:?}"
        );
    }
}

// spec: PATH-27
#[tokio::test]
async fn a_second_close_is_an_error() {
    let second = request();
    let (result, executions) = second_request(&second, Timeouts::default(), close, close).await;
    assert!(
        matches!(result, Err(ForwardError::Reset { .. })),
        "{result:?}"
    );
    assert_eq!(executions, 2);
}

// spec: PATH-27
#[tokio::test]
async fn a_caller_can_forbid_the_resend() {
    let second = request();
    second.resend.forbid();
    let (result, executions) = second_request(&second, Timeouts::default(), close, answer).await;
    assert!(
        matches!(result, Err(ForwardError::Reset { .. })),
        "{result:?}"
    );
    assert_eq!((executions, second.resend.was_used()), (1, false));
}

// spec: PATH-27
#[tokio::test]
async fn a_request_is_not_resent_after_a_byte_of_a_response() {
    for begun in ["H", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
        let begin =
            async |stream: &mut TcpStream| stream.write_all(begun.as_bytes()).await.unwrap();
        let (result, executions) =
            second_request(&request(), Timeouts::default(), begin, answer).await;
        assert!(
            matches!(result, Err(ForwardError::Reset { .. })),
            "{begun:?}: {result:?}"
        );
        assert_eq!(executions, 1, "{begun:?}");
    }
}

// spec: PATH-27
#[tokio::test(start_paused = true)]
async fn both_attempts_share_one_timeout() {
    let half = Timeouts::default().first_byte / 2;
    let late = async |_: &mut TcpStream| sleep(half).await;
    let never = async |_: &mut TcpStream| std::future::pending().await;
    for deadline in [None, Some(half + Duration::from_secs(1))] {
        let start = Instant::now();
        let timeouts = Timeouts {
            deadline: deadline.map(|deadline| start + deadline),
            ..Timeouts::default()
        };
        let (result, executions) = second_request(&request(), timeouts, late, never).await;
        let expected = deadline.unwrap_or(timeouts.first_byte);
        let is_late = match &result {
            Err(ForwardError::FirstByte { .. }) => deadline.is_none(),
            Err(ForwardError::Deadline { .. }) => deadline.is_some(),
            _ => false,
        };
        assert!(is_late, "{deadline:?}: {result:?}");
        assert_eq!(executions, 2);
        // Timers fire within a millisecond of their time.
        let took = start.elapsed();
        assert!(
            took >= expected && took < expected + Duration::from_millis(50),
            "{took:?}"
        );
    }
}
