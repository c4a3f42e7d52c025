//! Slow clients are disconnected exactly at their limits, and others are not.

use std::{sync::Arc, time::Duration};

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, channel::Channel, combinators::BoxBody};
use http_server::{ApiError, HttpService, Limits, RequestBody};
use tokio::time::{Instant, sleep};

use crate::support::{
    Answering, Noticed, READ_BYTES, Server, assert_elapsed, full, hello, notice, once,
};

const LIMITS: Limits = Limits {
    max_connections: 4096,
    unauthenticated: None,
    first_byte: Duration::from_secs(7),
    header: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    body_progress: Duration::from_secs(12),
    body_bytes_per_sec: 1000,
    write_progress: Duration::from_secs(30),
    max_header_bytes: 64 * 1024,
    max_body_bytes: 1024 * 1024,
};

/// Reads the body and returns its length, or its error.
fn reading() -> impl HttpService {
    Answering(async |request: Request<RequestBody>| {
        match request.into_body().read_all(1024 * 1024).await {
            Ok(body) => Response::new(full(body.len().to_string())),
            Err(error) => {
                let response = ApiError::from(error).into_response();
                let (parts, body) = response.into_parts();
                Response::from_parts(parts, full(body.collect().await.unwrap().to_bytes()))
            }
        }
    })
}

// spec: DOOR-1
#[tokio::test(start_paused = true)]
async fn half_sent_headers_are_closed_while_a_good_client_is_served() {
    let server = Server::start(LIMITS, hello());
    let mut slow = Vec::new();
    for i in 0..1000 {
        let mut client = server.connect();
        client
            .send(&b"GET / HTTP/1.1\r\nhost: h\r\nx-slow: "[..i % 30 + 1])
            .await;
        slow.push(client);
    }
    let mut good = server.connect();
    assert_eq!(good.get("/").await.text(), "hello");
    assert_eq!(server.handle.connections(), 1001);

    // One byte per second does not help: the deadline is for the whole header.
    let start = Instant::now();
    for second in 1..10 {
        sleep(Duration::from_secs(1)).await;
        if second % 3 == 0 {
            assert_eq!(good.get("/").await.text(), "hello");
        }
        for client in slow.iter_mut().take(100) {
            client.send(b"x").await;
        }
    }
    for client in &mut slow {
        assert_eq!(client.until_closed().await, b"");
    }
    assert_elapsed(start, LIMITS.header);
    assert_eq!(good.get("/").await.text(), "hello");
    assert_eq!(server.handle.connections(), 1);
}

// spec: DOOR-1
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let server = Server::start(LIMITS, hello());
    let start = Instant::now();
    assert_eq!(server.connect().until_closed().await, b"");
    assert_elapsed(start, LIMITS.first_byte);
}

// spec: DOOR-2
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let server = Server::start(LIMITS, hello());
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "hello");
        sleep(LIMITS.idle - Duration::from_millis(10)).await;
    }
    assert_eq!(client.get("/").await.text(), "hello");
    let start = Instant::now();
    assert_eq!(client.until_closed().await, b"");
    assert_elapsed(start, LIMITS.idle);
}

#[tokio::test(start_paused = true)]
async fn the_second_request_has_its_own_header_deadline() {
    let server = Server::start(LIMITS, hello());
    let mut client = server.connect();
    client.get("/").await;
    sleep(Duration::from_secs(60)).await;
    let start = Instant::now();
    client.send("GET / HT").await;
    assert_eq!(client.until_closed().await, b"");
    assert_elapsed(start, LIMITS.header);
}

// spec: DOOR-1
#[tokio::test(start_paused = true)]
async fn half_a_pipelined_header_has_the_header_deadline() {
    for (request, rest) in [
        ("GET / HTTP/1.1\r\nhost: h\r\n\r\n", "GET / HTTP/1.1\r\n"),
        (
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}",
            "GET",
        ),
    ] {
        let server = Server::start(LIMITS, reading());
        let mut client = server.connect();
        let start = Instant::now();
        client.send(format!("{request}{rest}")).await;
        assert_eq!(client.reply().await.status, 200);
        assert_eq!(client.until_closed().await, b"");
        assert_elapsed(start, LIMITS.header);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_its_time() {
    let server = Server::start(
        LIMITS,
        Answering(|_| async {
            sleep(Duration::from_secs(3600)).await;
            Response::new(full("at last"))
        }),
    );
    assert_eq!(server.connect().get("/").await.text(), "at last");
}

// spec: DOOR-3
#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_answered_408() {
    let server = Server::start(LIMITS, reading());
    let mut client = server.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n12345")
        .await;
    let start = Instant::now();
    let reply = client.reply().await;
    assert_elapsed(start, LIMITS.body_progress);
    let (status, code, message) = reply.error();
    assert_eq!((status, code.as_str()), (408, "REQUEST_TIMEOUT"));
    assert!(message.contains("12s"), "{message}");
    assert_eq!(reply.headers["connection"], "close");
    client.until_closed().await;
}

// spec: DOOR-3
#[tokio::test(start_paused = true)]
async fn a_slow_body_that_makes_progress_is_read() {
    let server = Server::start(LIMITS, reading());
    let mut client = server.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 60000\r\n\r\n")
        .await;
    for _ in 0..5 {
        sleep(LIMITS.body_progress - Duration::from_millis(10)).await;
        client.send(vec![b'x'; 12_000]).await;
    }
    assert_eq!(client.reply().await.text(), "60000");
    assert_eq!(client.post("/", "again").await.text(), "5");
}

// spec: DOOR-13
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_answered_408() {
    let server = Server::start(LIMITS, reading());
    let mut client = server.connect();
    let start = Instant::now();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 60000\r\n\r\n")
        .await;
    // Four seconds' worth, and then almost nothing.
    client.send(vec![b'x'; 4000]).await;
    for _ in 0..15 {
        sleep(Duration::from_secs(1)).await;
        client.send(b"x").await;
    }
    let (status, code, _) = client.reply().await.error();
    assert_eq!((status, code.as_str()), (408, "REQUEST_TIMEOUT"));
    assert_elapsed(start, LIMITS.body_progress + Duration::from_millis(4015));
}

#[tokio::test(start_paused = true)]
async fn time_without_a_reader_does_not_count() {
    // A handler that reads late, for example after queueing, does not blame the client for it.
    let server = Server::start(
        LIMITS,
        Answering(async |request: Request<RequestBody>| {
            sleep(LIMITS.body_progress * 3).await;
            let body = request.into_body().read_all(1024).await.unwrap();
            Response::new(full(body))
        }),
    );
    assert_eq!(server.connect().post("/", "slow").await.text(), "slow");
}

// spec: DOOR-4
#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_cut() {
    let (sender, dropped) = notice();
    let sender = Arc::new(once(sender));
    let server = Server::start(
        LIMITS,
        Answering(move |_| {
            let (mut out, body) = Channel::new(2);
            let body = BoxBody::new(Noticed::new(body, sender()));
            async move {
                // More than the pipe and hyper's buffer hold.
                let data = Bytes::from(vec![b'x'; 1024 * 1024]);
                out.send_data(data).await.unwrap();
                out.send_data(Bytes::from_static(b"end")).await.unwrap();
                Response::new(body)
            }
        }),
    );
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let start = Instant::now();
    assert!(dropped.await.is_err());
    assert_elapsed(start, LIMITS.write_progress);
    assert!(client.until_closed().await.len() < 1024 * 1024);
}

// spec: DOOR-4
#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_makes_progress_is_not_cut() {
    let body = Bytes::from(vec![b'x'; 20_000]);
    let server = Server::start(
        LIMITS,
        Answering(move |_| std::future::ready(Response::new(full(body.clone())))),
    );
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (status, _) = client.head().await;
    assert_eq!(status, 200);
    for _ in 0..12 {
        sleep(LIMITS.write_progress - Duration::from_millis(10)).await;
        // As much as the client reads from the pipe at a time: each round is progress.
        client.read_exact(READ_BYTES).await;
    }
    client.read_exact(20_000 - 12 * READ_BYTES).await;
    assert_eq!(client.get("/").await.body.len(), 20_000);
}
