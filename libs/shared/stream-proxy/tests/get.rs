//! Probes against real sockets whose other end is scripted byte by byte.

#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use pool_registry_types::HttpUrl;
use stream_proxy::{ForwardError, GetError, StreamError, get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Longer than any response here takes.
const LONG: Duration = Duration::from_secs(60);
/// More bytes than any response here has, except in the tests of the limit.
const AMPLE: usize = 1024;

type Got = Result<(StatusCode, Bytes), GetError>;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn url(text: &str) -> HttpUrl {
    HttpUrl::new(text).unwrap()
}

fn path() -> PathAndQuery {
    PathAndQuery::from_static("/health?x=1")
}

/// Accepts one connection, reads the request and writes `bytes`; the connection stays open.
async fn serve(listener: &TcpListener, bytes: &str) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let count = stream.read_buf(&mut seen).await.unwrap();
        assert_ne!(count, 0, "closed in the middle of the request");
    }
    stream.write_all(bytes.as_bytes()).await.unwrap();
    (
        String::from_utf8(seen).unwrap().to_ascii_lowercase(),
        stream,
    )
}

/// Sends a probe to a server that writes `bytes` and then keeps the connection open, or closes it.
async fn ask(bytes: &str, keep: bool, limit: Duration, max_bytes: usize) -> Got {
    let (listener, address) = listen().await;
    let url = url(&format!("http://{address}"));
    let serving = async {
        let (_, stream) = serve(&listener, bytes).await;
        keep.then_some(stream)
    };
    let (got, _open) = tokio::join!(get(&url, path(), limit, max_bytes), serving);
    got
}

/// As [`ask`], with a server that stays silent. Once all bytes are read, time is advanced.
async fn ask_silent_server(bytes: &str) -> GetError {
    let (listener, address) = listen().await;
    let url = url(&format!("http://{address}"));
    let serving = async {
        let (_, stream) = serve(&listener, bytes).await;
        // Each yield lets the runtime poll its sockets.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        stream
    };
    let (got, _open) = tokio::join!(get(&url, path(), LONG, AMPLE), serving);
    tokio::time::resume();
    got.unwrap_err()
}

#[tokio::test]
async fn a_complete_response_closes_its_connection() {
    let (listener, address) = listen().await;
    let url = url(&format!("http://{address}/base"));
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (got, (seen, mut stream)) =
        tokio::join!(get(&url, path(), LONG, AMPLE), serve(&listener, answer));
    assert_eq!(got.unwrap(), (StatusCode::OK, Bytes::from_static(b"ok")));
    assert!(
        seen.starts_with("get /base/health?x=1 http/1.1\r\n"),
        "{seen}"
    );
    for field in [
        format!("host: {address}\r\n"),
        "accept: application/json\r\n".to_owned(),
        "user-agent: llorch/".to_owned(),
    ] {
        assert!(seen.contains(&field), "{field} in {seen}");
    }
    assert_eq!(
        stream.read(&mut [0; 16]).await.unwrap_or(0),
        0,
        "the connection is not kept"
    );
}

#[tokio::test]
async fn each_framing_ends_a_body() {
    for (answer, keep) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nbody", false),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody",
            false,
        ),
    ] {
        let (status, body) = ask(answer, keep, LONG, AMPLE).await.unwrap();
        assert_eq!(
            (status.as_u16(), &body[..]),
            (200, &b"body"[..]),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_error_status_or_a_redirect_is_a_response() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = elsewhere.local_addr().unwrap();
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{address}/\r\ncontent-length: 0\r\n\r\n");
    for (answer, expected, text) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno",
            503,
            "no",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (&redirect, 302, ""),
    ] {
        let (status, body) = ask(answer, true, LONG, AMPLE).await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (expected, text.as_bytes()));
    }
    // A followed redirect would have connected before the response was returned.
    elsewhere.set_nonblocking(true).unwrap();
    let followed = elsewhere.accept().map_err(|error| error.kind());
    assert_eq!(
        followed.unwrap_err(),
        std::io::ErrorKind::WouldBlock,
        "the redirect was followed"
    );
}

#[tokio::test]
async fn a_response_beyond_its_limit_is_refused() {
    for head in ["content-length: 5\r\n\r\n", "connection: close\r\n\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}12345");
        let (_, body) = ask(&answer, false, LONG, 5).await.unwrap();
        assert_eq!(&body[..], b"12345");
        let error = ask(&answer, true, LONG, 4).await.unwrap_err();
        assert!(matches!(error, GetError::TooLarge(4)), "{error:?}");
        assert_eq!(error.with_causes(), "the answer has more than 4 bytes");
    }
}

#[tokio::test]
async fn a_hanging_server_is_abandoned_at_the_limit() {
    for begun in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
    ] {
        let error = ask_silent_server(begun).await;
        assert!(
            matches!(
                error,
                GetError::Forward(ForwardError::Deadline { .. } | ForwardError::FirstByte { .. })
            ),
            "{begun:?}: {error:?}"
        );
    }
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo";
    let error = ask_silent_server(begun).await;
    assert!(
        matches!(
            error,
            GetError::Broken(StreamError::Deadline | StreamError::Stalled(_))
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_error_names_its_cause_once() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = get(&url(&format!("http://{address}")), path(), LONG, AMPLE)
        .await
        .unwrap_err();
    let said = error.with_causes();
    assert!(
        said.starts_with(&format!(
            "cannot connect to http://{address}: Connection refused"
        )),
        "{said}"
    );
    assert_eq!(said.matches("Connection refused").count(), 1, "{said}");

    let said = ask("SSH-2.0-x\r\n\r\n", true, LONG, AMPLE)
        .await
        .unwrap_err()
        .with_causes();
    assert!(
        said.contains("broke off before it answered: the response is not HTTP: "),
        "{said}"
    );

    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo";
    let said = ask(cut, false, LONG, AMPLE)
        .await
        .unwrap_err()
        .with_causes();
    assert!(
        said.starts_with(
            "the answer broke off: the upstream broke off in the middle of its answer: "
        ),
        "{said}"
    );
}

#[tokio::test]
async fn localhost_is_resolved_locally() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    // `localhost` is tried as IPv4 and then as IPv6.
    for (bind, host) in [
        ("127.0.0.1:0", "localhost"),
        ("[::1]:0", "[::1]"),
        ("[::1]:0", "localhost"),
    ] {
        let Ok(listener) = TcpListener::bind(bind).await else {
            assert!(bind.starts_with('['), "there is no IPv4 loopback");
            // This machine has no IPv6.
            continue;
        };
        let authority = format!("{host}:{}", listener.local_addr().unwrap().port());
        let url = url(&format!("http://{authority}"));
        let (got, (seen, _open)) =
            tokio::join!(get(&url, path(), LONG, AMPLE), serve(&listener, answer));
        assert_eq!(&got.unwrap().1[..], b"ok", "{authority}");
        assert!(seen.contains(&format!("host: {authority}\r\n")), "{seen}");
    }
}

// spec: PATH-42
#[tokio::test(start_paused = true)]
async fn a_late_process_does_not_blame_the_upstream() {
    // The test accepts nothing; the kernel completes the handshake.
    let (_listener, address) = listen().await;
    let url = url(&format!("http://{address}"));
    let (got, ()) = tokio::join!(
        biased;
        get(&url, path(), LONG, AMPLE),
        // As if the process had been stopped until long after the limit.
        tokio::time::advance(3 * LONG),
    );
    let error = got.unwrap_err();
    assert!(error.is_own(), "{error:?}");
    let late = format!("{} ms late", (2 * LONG).as_millis());
    assert!(error.to_string().contains(&late), "{error}");
    let (got, ()) =
        tokio::join!(biased; get(&url, path(), LONG, AMPLE), tokio::time::advance(LONG));
    let error = got.unwrap_err();
    assert!(!error.is_own(), "{error:?}");
}
