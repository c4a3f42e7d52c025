//! A request on a reused connection that is closed without a byte of an answer: sent again, once.

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
use stream_proxy::{Clocks, ForwardError, Outbound, ProxyBody, StreamProxy};
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

type Answered = Result<Response<ProxyBody>, ForwardError>;

/// Sends a first request, which is answered, and then `second` on the same connection. The upstream
/// treats that one as `reused` says and each one on a later connection as `fresh` says. Gives back
/// what came of the second request, and how often the upstream had it.
async fn second_request(
    second: &Outbound,
    clocks: Clocks,
    reused: impl AsyncFn(&mut TcpStream),
    fresh: impl AsyncFn(&mut TcpStream),
) -> (Answered, usize) {
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
            .forward(&url, &request(), Clocks::default())
            .await
            .unwrap();
        answer.into_body().collect().await.unwrap();
        proxy.forward(&url, second, clocks).await
    };
    tokio::select! {
        answered = client => (answered, executions.get()),
        () = upstream => panic!("the upstream does not end"),
    }
}

async fn close(_: &mut TcpStream) {}

async fn answer(stream: &mut TcpStream) {
    stream.write_all(ANSWER).await.unwrap();
}

// spec: PATH-27
#[tokio::test(start_paused = true)]
async fn a_close_is_made_up_for_however_late_it_is_seen() {
    for after in [0, 30, 90_000].map(Duration::from_millis) {
        let late = async |_: &mut TcpStream| sleep(after).await;
        let second = request();
        let (answered, executions) = second_request(&second, Clocks::default(), late, answer).await;
        assert_eq!(answered.unwrap().status(), 200, "{after:?}");
        assert_eq!(
            (executions, second.resend.was_used()),
            (2, true),
            "{after:?}"
        );
    }
}

// spec: PATH-27
#[tokio::test]
async fn a_second_close_is_final() {
    let second = request();
    let (answered, executions) = second_request(&second, Clocks::default(), close, close).await;
    assert!(
        matches!(answered, Err(ForwardError::Reset { .. })),
        "{answered:?}"
    );
    assert_eq!(executions, 2);
}

// spec: PATH-27
#[tokio::test]
async fn a_caller_can_forbid_it() {
    let second = request();
    second.resend.forbid();
    let (answered, executions) = second_request(&second, Clocks::default(), close, answer).await;
    assert!(
        matches!(answered, Err(ForwardError::Reset { .. })),
        "{answered:?}"
    );
    assert_eq!((executions, second.resend.was_used()), (1, false));
}

// spec: PATH-27
#[tokio::test]
async fn it_is_not_sent_again_once_a_byte_of_an_answer_was_seen() {
    for begun in ["H", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
        let begin =
            async |stream: &mut TcpStream| stream.write_all(begun.as_bytes()).await.unwrap();
        let (answered, executions) =
            second_request(&request(), Clocks::default(), begin, answer).await;
        assert!(
            matches!(answered, Err(ForwardError::Reset { .. })),
            "{begun:?}: {answered:?}"
        );
        assert_eq!(executions, 1, "{begun:?}");
    }
}

// spec: PATH-27
#[tokio::test(start_paused = true)]
async fn both_sendings_together_have_the_time_of_one() {
    let half = Clocks::default().first_byte / 2;
    let late = async |_: &mut TcpStream| sleep(half).await;
    let never = async |_: &mut TcpStream| std::future::pending().await;
    for deadline in [None, Some(half + Duration::from_secs(1))] {
        let start = Instant::now();
        let clocks = Clocks {
            deadline: deadline.map(|deadline| start + deadline),
            ..Clocks::default()
        };
        let (answered, executions) = second_request(&request(), clocks, late, never).await;
        let expected = deadline.unwrap_or(clocks.first_byte);
        let is_late = match &answered {
            Err(ForwardError::FirstByte { .. }) => deadline.is_none(),
            Err(ForwardError::Deadline { .. }) => deadline.is_some(),
            _ => false,
        };
        assert!(is_late, "{deadline:?}: {answered:?}");
        assert_eq!(executions, 2);
        // Timers fire within a millisecond of their time.
        let took = start.elapsed();
        assert!(
            took >= expected && took < expected + Duration::from_millis(50),
            "{took:?}"
        );
    }
}
