//! The proxy against real sockets; the tests script each byte of the upstream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use stream_proxy::{
    ForwardError, Outbound, ProxyBody, ResponseError, StreamError, StreamProxy, Timeouts,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// A timeout that a test reaches by advancing the clock.
const LIMIT: Duration = Duration::from_secs(600);

/// An upstream whose every byte the test decides.
struct Upstream {
    listener: TcpListener,
}

impl Upstream {
    async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn url(&self) -> HttpUrl {
        HttpUrl::new(&format!(
            "http://{}/base",
            self.listener.local_addr().unwrap()
        ))
        .unwrap()
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}

async fn read_request(stream: &mut TcpStream, end: &str) -> String {
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

fn request(body: &'static str) -> Outbound {
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

async fn text(body: ProxyBody) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn next(body: &mut ProxyBody) -> Result<String, StreamError> {
    let frame = body.frame().await.expect("a frame")?;
    Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Sends a request and lets `serve` respond.
async fn exchange<S>(
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

// spec: PATH-8
#[tokio::test]
async fn a_refused_connection() {
    let gone: SocketAddr = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = HttpUrl::new(&format!("http://{gone}")).unwrap();
    let error = StreamProxy::new()
        .forward(&url, &request("{}"), Timeouts::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ForwardError::Connect { .. }), "{error:?}");
}

// spec: PATH-8
#[tokio::test]
async fn an_upstream_that_never_answers() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    for head in ["", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] {
        let timeouts = Timeouts {
            first_byte: LIMIT,
            ..Timeouts::default()
        };
        let silent = async |mut stream: TcpStream| {
            stream.write_all(head.as_bytes()).await.unwrap();
            // From here on the clock advances to each timeout.
            tokio::time::pause();
            stream
        };
        let (answer, _open) = exchange(&proxy, &upstream, timeouts, silent).await;
        tokio::time::resume();
        let error = answer.unwrap_err();
        assert!(
            matches!(error, ForwardError::FirstByte { .. }),
            "{head:?}: {error:?}"
        );

        let timeouts = Timeouts {
            first_byte: 2 * LIMIT,
            deadline: Some(Instant::now() + LIMIT),
            ..Timeouts::default()
        };
        let (answer, _open) = exchange(&proxy, &upstream, timeouts, silent).await;
        tokio::time::resume();
        let error = answer.unwrap_err();
        assert!(
            matches!(error, ForwardError::Deadline { .. }),
            "{head:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_before_the_first_byte() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    for sent in [
        "",
        "HTTP/1.1 200 O",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let (answer, ()) = exchange(
            &proxy,
            &upstream,
            Timeouts::default(),
            async |mut stream| {
                stream.write_all(sent.as_bytes()).await.unwrap();
            },
        )
        .await;
        let error = answer.unwrap_err();
        assert!(
            matches!(error, ForwardError::Reset { .. }),
            "{sent:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_broken_stream_keeps_earlier_bytes() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    for head in [
        "Transfer-Encoding: chunked\r\n\r\n2\r\n",
        "Content-Length: 9\r\n\r\n",
    ] {
        let (answer, ()) = exchange(
            &proxy,
            &upstream,
            Timeouts::default(),
            async |mut stream| {
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\n{head}a1").as_bytes())
                    .await
                    .unwrap();
            },
        )
        .await;
        let mut body = answer.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap(), "a1");
        assert!(matches!(
            next(&mut body).await.unwrap_err(),
            StreamError::Broken(_)
        ));
        assert!(body.frame().await.is_none());
    }
}

// spec: PATH-8
#[tokio::test]
async fn a_stream_that_stalls() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    for has_deadline in [false, true] {
        let limits = Timeouts {
            between_frames: LIMIT,
            ..Timeouts::default()
        };
        let timeouts = if has_deadline {
            Timeouts {
                between_frames: 2 * LIMIT,
                deadline: Some(Instant::now() + LIMIT),
                ..limits
            }
        } else {
            limits
        };
        let (answer, mut stream) = exchange(&proxy, &upstream, timeouts, async |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na1\r\n")
                .await
                .unwrap();
            stream
        })
        .await;
        let mut body = answer.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap(), "a1");
        tokio::time::pause();
        match next(&mut body).await.unwrap_err() {
            StreamError::Stalled(limit) => assert_eq!((limit, has_deadline), (LIMIT, false)),
            StreamError::Deadline => assert!(has_deadline),
            StreamError::OwnDelay(late) => panic!("{late:?} late"),
            StreamError::Broken(error) => panic!("{error}"),
        }
        tokio::time::resume();
        assert_eq!(
            stream.read(&mut [0; 16]).await.unwrap_or(0),
            0,
            "the upstream sees the end of the connection"
        );
    }
}

// spec: PATH-42
#[tokio::test]
async fn a_process_stopped_in_the_middle_of_a_response_does_not_blame_the_upstream() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    for (stopped, is_own) in [(3 * LIMIT, true), (LIMIT, false)] {
        let timeouts = Timeouts {
            between_frames: LIMIT,
            ..Timeouts::default()
        };
        let (answer, _open) = exchange(&proxy, &upstream, timeouts, async |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na1\r\n")
                .await
                .unwrap();
            stream
        })
        .await;
        let mut body = answer.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap(), "a1");
        tokio::time::pause();
        let (error, ()) = tokio::join!(biased; next(&mut body), tokio::time::advance(stopped));
        let error = error.unwrap_err();
        assert_eq!(error.is_own(), is_own, "{error:?}");
        tokio::time::resume();
    }
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

// spec: PATH-21
#[tokio::test]
async fn bytes_put_back_are_read_next() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (answer, ()) = exchange(
        &proxy,
        &upstream,
        Timeouts::default(),
        async |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef")
                .await
                .unwrap();
        },
    )
    .await;
    let mut body = answer.unwrap().into_body();
    assert_eq!(next(&mut body).await.unwrap(), "abcdef");
    body.put_back(Bytes::from_static(b"def"));
    body.put_back(Bytes::from_static(b"abc"));
    body.put_back(Bytes::new());
    assert!(!http_body::Body::is_end_stream(&body));
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(6));
    assert_eq!(text(body).await, "abcdef");
}

// spec: PATH-22
#[tokio::test]
async fn a_few_interim_responses_are_skipped_and_a_flood_is_refused() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    for (count, is_answered) in [(16, true), (17, false)] {
        let (answer, ()) = exchange(
            &proxy,
            &upstream,
            Timeouts::default(),
            async |mut stream| {
                let sent = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(count)
                    + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(sent.as_bytes()).await.unwrap();
            },
        )
        .await;
        let is_malformed = matches!(
            &answer,
            Err(ForwardError::Reset {
                source: ResponseError::Protocol(_),
                ..
            })
        );
        assert_eq!(
            (answer.is_ok(), is_malformed),
            (is_answered, !is_answered),
            "{count}: {answer:?}"
        );
    }
}

// spec: PATH-28
#[tokio::test]
async fn a_response_has_the_version_and_framing_of_this_side() {
    let (proxy, upstream) = (StreamProxy::new(), Upstream::new().await);
    let (answer, ()) = exchange(
        &proxy,
        &upstream,
        Timeouts::default(),
        async |mut stream| {
            let sent = "HTTP/1.0 200 OK\r\nConnection: keep-alive, x-mine\r\n\
                    Keep-Alive: timeout=5\r\nX-Mine: 1\r\nUpgrade: h2c\r\nTrailer: x-sum\r\n\
                    Proxy-Authenticate: Basic\r\nAlt-Svc: h3=\":443\"\r\n\r\nbody";
            stream.write_all(sent.as_bytes()).await.unwrap();
        },
    )
    .await;
    let answer = answer.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_11);
    assert!(answer.headers().is_empty(), "{:?}", answer.headers());
    assert_eq!(text(answer.into_body()).await, "body");
}
