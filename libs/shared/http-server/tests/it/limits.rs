//! Requests that are too large or malformed are refused.

use std::io;

use axum::{Router, routing::post};
use http_server::{ApiError, Limits, read_body};

use crate::support::{Reply, Server, hello};

fn counting() -> Router {
    Router::new().route(
        "/",
        post(async |request: axum::extract::Request| {
            let body = read_body(request, usize::MAX).await?;
            Ok::<_, ApiError>(body.len().to_string())
        }),
    )
}

fn small_bodies() -> Limits {
    Limits {
        max_body_bytes: 100,
        ..Limits::default()
    }
}

// spec: DOOR-5
#[tokio::test]
async fn an_announced_body_over_the_cap_is_refused_unread() {
    let server = Server::start(small_bodies(), counting());
    let mut client = server.connect();
    // `Expect` would get a 100 before the first read, which never happens.
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 101\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.status, reply.error().1.as_str()),
        (413, "PAYLOAD_TOO_LARGE")
    );
    assert_eq!(client.until_closed().await, b"");
}

// spec: DOOR-5
#[tokio::test]
async fn a_chunked_body_over_the_cap_is_refused_when_it_gets_there() {
    let server = Server::start(small_bodies(), counting());
    let mut client = server.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..11 {
        client.send("a\r\n0123456789\r\n").await;
    }
    assert_eq!(client.reply().await.error().1, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn bodies_up_to_the_cap_are_read() {
    let server = Server::start(small_bodies(), counting());
    let mut client = server.connect();
    assert_eq!(client.post("/", &"x".repeat(100)).await.text(), "100");
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..10 {
        client.send("a\r\n0123456789\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "100");
    assert_eq!(client.post("/", "").await.text(), "0");
}

// spec: DOOR-6
#[tokio::test]
async fn one_header_too_many() {
    let server = Server::start(Limits::default(), hello());
    for (count, status) in [(100, 200), (101, 431)] {
        let mut client = server.connect();
        let headers: String = (1..count).map(|i| format!("x-{i}: y\r\n")).collect();
        client
            .send(format!("GET / HTTP/1.1\r\nhost: h\r\n{headers}\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{count} headers");
        if status == 431 {
            is_explained(&reply);
            client.until_closed().await;
        }
    }
}

/// The response to a header that is too large says what is allowed.
fn is_explained(reply: &Reply) {
    let (_, code, message) = reply.error();
    assert_eq!(code, "HEADER_TOO_LARGE");
    let allowed = "a request may have 100 headers, and 65536 bytes of request line and headers";
    assert_eq!(message, allowed);
    assert!(reply.headers.contains_key("x-request-id"));
    assert!(reply.headers.contains_key("date"));
    assert_eq!(reply.headers["connection"], "close");
}

// spec: DOOR-6
#[tokio::test]
async fn a_refusal_after_a_response_follows_it() {
    let server = Server::start(Limits::default(), hello());
    let many: String = (0..101).map(|i| format!("x-{i}: y\r\n")).collect();
    let good = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    let bad = format!("GET / HTTP/1.1\r\nhost: h\r\n{many}\r\n");
    // In one piece, and one after the other.
    for is_pipelined in [true, false] {
        let mut client = server.connect();
        let first = if is_pipelined {
            format!("{good}{bad}")
        } else {
            good.to_owned()
        };
        client.send(&first).await;
        assert_eq!(client.reply().await.text(), "hello");
        if !is_pipelined {
            client.send(&bad).await;
        }
        is_explained(&client.reply().await);
        assert_eq!(client.until_closed().await, b"");
    }
}

// spec: DOOR-6
#[tokio::test]
async fn a_header_too_long() {
    let limits = Limits::default();
    let server = Server::start(limits, hello());
    for (length, status) in [
        (limits.max_header_bytes - 100, 200),
        (limits.max_header_bytes, 431),
    ] {
        let mut client = server.connect();
        let value = "y".repeat(length);
        // The server may close before it has read everything.
        let _ = client
            .try_send(format!(
                "GET / HTTP/1.1\r\nhost: h\r\nx-long: {value}\r\n\r\n"
            ))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{length} bytes");
        if status == 431 {
            is_explained(&reply);
        }
        // The same in the request line.
        let mut client = server.connect();
        let _ = client
            .try_send(format!("GET /?{value} HTTP/1.1\r\nhost: h\r\n\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "a target of {length} bytes");
        if status == 431 {
            is_explained(&reply);
        }
    }
}

#[tokio::test]
async fn nonsense_is_a_bad_request() {
    let server = Server::start(Limits::default(), hello());
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / / HTTP/1.1\r\n\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(nonsense).await;
        let shown = String::from_utf8_lossy(nonsense);
        let reply = client.reply().await;
        assert_eq!(reply.status, 400, "{shown:?}");
        assert_eq!(reply.error().1, "INVALID_REQUEST", "{shown:?}");
        client.until_closed().await;
    }
    assert_eq!(server.connect().get("/").await.text(), "hello");
    assert!(!server.shutdown.is_requested());
}

// spec: DOOR-14
#[tokio::test]
async fn one_host_exactly() {
    let server = Server::start(Limits::default(), hello());
    for (headers, path) in [
        ("", "/v2/x"),
        ("host: a\r\nhost: a\r\n", "/v1/x"),
        ("host: a\r\nhost: b\r\n", "/"),
    ] {
        let mut client = server.connect();
        client
            .send(format!("GET {path} HTTP/1.1\r\n{headers}\r\n"))
            .await;
        let reply = client.reply().await;
        assert_eq!(
            (reply.status, reply.error().1.as_str()),
            (400, "INVALID_REQUEST"),
            "{headers:?}"
        );
        assert_eq!(reply.json()["error"]["type"].is_string(), path == "/v1/x");
        assert!(reply.headers.contains_key("x-request-id"));
        client.until_closed().await;
    }
    // HTTP/1.0 has no Host.
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "hello");
}

// spec: DOOR-14
#[tokio::test]
async fn two_lengths_are_the_end_of_the_connection() {
    let server = Server::start(Limits::default(), counting());
    let mut client = server.connect();
    client
        .send(
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 20\r\n\
             transfer-encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.text(), reply.headers["connection"].as_str()),
        ("0", "close")
    );
    assert_eq!(client.until_closed().await, b"");
}

// spec: DOOR-7
#[tokio::test]
async fn a_connection_too_many_is_refused_and_room_is_used_again() {
    let limits = Limits {
        max_connections: 2,
        ..Limits::default()
    };
    let server = Server::start(limits, hello());
    let mut first = server.connect();
    let mut second = server.connect();
    first.get("/").await;
    second.get("/").await;

    let mut third = server.connect();
    let reply = third.get("/").await;
    assert_eq!(
        (reply.status, reply.error().1.as_str()),
        (503, "TOO_MANY_CONNECTIONS")
    );
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(third.until_closed().await, b"");

    drop(first);
    // The server frees the permit in its own time; each attempt awaits a condition.
    loop {
        if server.connect().get("/").await.status == 200 {
            break;
        }
    }
    assert_eq!(second.get("/").await.text(), "hello");
}

// spec: DOOR-8
#[tokio::test(start_paused = true)]
async fn errors_while_accepting_stop_nothing() {
    let server = Server::start(Limits::default(), hello());
    let mut before = server.connect();
    before.get("/").await;
    for _ in 0..3 {
        // EMFILE: "too many open files".
        server.fail_accepting(io::Error::from_raw_os_error(24));
        server.fail_accepting(io::ErrorKind::ConnectionAborted.into());
    }
    let start = tokio::time::Instant::now();
    assert_eq!(before.get("/").await.text(), "hello");
    assert_eq!(start.elapsed().as_millis(), 0);
    assert_eq!(server.connect().get("/").await.text(), "hello");
    // Three pauses of 50 ms, for the three errors that concern all connections.
    assert!(
        (150..160).contains(&start.elapsed().as_millis()),
        "{:?}",
        start.elapsed()
    );
}
