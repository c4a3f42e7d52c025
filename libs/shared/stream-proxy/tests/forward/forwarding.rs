//! Requests and responses pass unchanged, and connections are reused.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use stream_proxy::{Outbound, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Upstream, exchange, next, read_request, request, text};

#[tokio::test]
async fn request_and_response_are_forwarded() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (url, request) = (upstream.url(), request(r#"{"model":"x"}"#));
    let (answer, seen) = tokio::join!(proxy.forward(&url, &request, Timeouts::default()), async {
        let mut stream = upstream.accept().await;
        let seen = read_request(&mut stream, r#"{"model":"x"}"#).await;
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-Mine: 1\r\n\
              Keep-Alive: timeout=5\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        seen
    });
    let seen = seen.to_ascii_lowercase();
    assert!(
        seen.starts_with("post /base/v1/chat/completions?x=1 http/1.1\r\n"),
        "{seen}"
    );
    assert!(
        seen.contains(&format!("host: {}\r\n", url.authority())),
        "{seen}"
    );
    assert!(
        !seen.contains("x-secret-hop") && !seen.contains("public.example"),
        "{seen}"
    );
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["x-mine"], "1");
    assert!(!answer.headers().contains_key("keep-alive"));
    assert_eq!(text(answer.into_body()).await, "ok");
}

// spec: PATH-2
#[tokio::test]
async fn ready_tokens_leave_at_once_and_together() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (answer, mut stream) = exchange(
        &proxy,
        &upstream,
        Timeouts::default(),
        async |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na1\r\n")
                .await
                .unwrap();
            stream
        },
    )
    .await;
    let mut body = answer.unwrap().into_body();
    // The first token arrives before the rest of the response exists.
    assert_eq!(next(&mut body).await.unwrap(), "a1");
    stream
        .write_all(b"2\r\na2\r\n2\r\na3\r\n2\r\na4\r\n")
        .await
        .unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "a2a3a4");
    stream.write_all(b"2\r\na5\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(text(body).await, "a5");
}

#[tokio::test]
async fn an_open_connection_is_reused_and_a_closed_one_is_not() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (url, request) = (upstream.url(), request("{}"));
    let once = async || {
        text(
            proxy
                .forward(&url, &request, Timeouts::default())
                .await
                .unwrap()
                .into_body(),
        )
        .await
    };
    let (answers, ()) = tokio::join!(
        async { [once().await, once().await, once().await] },
        async {
            // The second request comes on the first connection; then it is closed, and the third
            // needs a new one.
            let mut stream = upstream.accept().await;
            for _ in 0..2 {
                read_request(&mut stream, "{}").await;
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
                    .await
                    .unwrap();
            }
            drop(stream);
            let mut stream = upstream.accept().await;
            read_request(&mut stream, "{}").await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
                .await
                .unwrap();
        }
    );
    assert_eq!(answers, ["old", "old", "new"]);
}

// spec: PATH-19
#[tokio::test]
async fn an_idle_connection_is_reused_until_its_timeout() {
    for (idle, is_kept) in [(Duration::from_secs(60), true), (Duration::ZERO, false)] {
        let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
        let (url, request) = (upstream.url(), request("{}"));
        let timeouts = Timeouts {
            idle,
            ..Timeouts::default()
        };
        let once = async || {
            text(
                proxy
                    .forward(&url, &request, timeouts)
                    .await
                    .unwrap()
                    .into_body(),
            )
            .await
        };
        let serve = async |stream: &mut TcpStream, answer: &str| {
            read_request(stream, "{}").await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{answer}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (answers, ()) = tokio::join!(async { [once().await, once().await] }, async {
            let mut stream = upstream.accept().await;
            serve(&mut stream, "one").await;
            if !is_kept {
                assert_eq!(
                    stream.read(&mut [0; 16]).await.unwrap(),
                    0,
                    "closed, not used again"
                );
                stream = upstream.accept().await;
            }
            serve(&mut stream, "two").await;
        });
        assert_eq!(answers, ["one", "two"], "{idle:?}");
    }
}

// spec: PATH-7
#[tokio::test]
async fn dropping_the_body_closes_the_connection() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (answer, mut stream) = exchange(
        &proxy,
        &upstream,
        Timeouts::default(),
        async |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na1\r\n")
                .await
                .unwrap();
            stream
        },
    )
    .await;
    drop(answer.unwrap());
    assert_eq!(
        stream.read(&mut [0; 16]).await.unwrap_or(0),
        0,
        "the upstream sees the end of the connection"
    );
}

#[tokio::test]
async fn dropping_the_request_closes_the_connection() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (url, request) = (upstream.url(), request("{}"));
    let (_, mut stream) = tokio::select! {
        _ = proxy.forward(&url, &request, Timeouts::default()) => panic!("no upstream responds"),
        stream = async {
            let mut stream = upstream.accept().await;
            (read_request(&mut stream, "{}").await, stream)
        } => stream,
    };
    assert_eq!(
        stream.read(&mut [0; 16]).await.unwrap_or(0),
        0,
        "the upstream sees the end of the connection"
    );
}

#[tokio::test]
async fn concurrent_requests_get_their_own_responses() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let url = upstream.url();
    let ask = |proxy: StreamProxy, n: usize| {
        let url = url.clone();
        async move {
            let body = Bytes::from(format!("{n:04}"));
            let mut request = request("");
            request
                .headers
                .insert("content-length", HeaderValue::from(4));
            let answer = proxy
                .forward(&url, &Outbound { body, ..request }, Timeouts::default())
                .await
                .unwrap();
            assert_eq!(text(answer.into_body()).await, format!("{n:04}").repeat(3));
        }
    };
    let server = async {
        loop {
            let mut stream = upstream.accept().await;
            let echo = async move {
                let mut seen = Vec::new();
                while stream.read_buf(&mut seen).await.unwrap() > 0 {
                    let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else {
                        continue;
                    };
                    let Some(body) = seen.get(end + 4..end + 8) else {
                        continue;
                    };
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                         4\r\n{body}\r\n4\r\n{body}\r\n4\r\n{body}\r\n0\r\n\r\n"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    seen.clear();
                }
            };
            drop(tokio::task::spawn_local(echo));
        }
    };
    let local = tokio::task::LocalSet::new();
    let asking = async {
        for round in 0..4 {
            let asked: Vec<_> = (0..64)
                .map(|n| tokio::task::spawn_local(ask(proxy.clone(), round * 64 + n)))
                .collect();
            for asked in asked {
                asked.await.unwrap();
            }
        }
    };
    local
        .run_until(async {
            tokio::select! {
                () = server => {}
                () = asking => {}
            }
        })
        .await;
}
