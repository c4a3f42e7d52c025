//! HTTP/2: what a client can do slowly or too often.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn};
use h2::{
    Reason,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Method, Request, Response, header::COOKIE};
use http_body_util::{channel::Channel, combinators::BoxBody};
use http_server::{HttpService, Limits, RequestBody, UnauthenticatedLimits};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

use crate::{
    support::{Answering, Noticed, Server, assert_elapsed, full, hello, notice, once},
    tls_support::Pki,
};

type Sender = SendRequest<Bytes>;

/// A connection of a client that is driven by a task of `server`. The receiver ends with it.
async fn connect(
    pki: &Pki,
    server: &Server,
    builder: &Builder,
) -> (Sender, tokio::sync::oneshot::Receiver<Option<h2::Error>>) {
    let tls = pki.connect(server.pipe(), b"h2", None).await;
    let (sender, connection) = builder.handshake::<_, Bytes>(tls).await.unwrap();
    let (ended, end) = tokio::sync::oneshot::channel();
    server.tasks.spawn_here("client", async move {
        let _ = ended.send(connection.await.err());
    });
    (sender.ready().await.unwrap(), end)
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("https://h{path}")).body(()).unwrap()
}

fn get(sender: &mut Sender, path: &str) -> ResponseFuture {
    sender.send_request(request(path), true).unwrap().0
}

async fn text(response: ResponseFuture) -> String {
    text_of(response.await.unwrap()).await
}

async fn text_of(response: Response<h2::RecvStream>) -> String {
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    String::from_utf8(all).unwrap()
}

/// Says what it was asked, and the length of the body.
fn echo() -> impl HttpService {
    Answering(async |request: Request<RequestBody>| {
        let header = |name| request.headers()[name].to_str().unwrap().to_owned();
        let shown = format!("{} {}", header("host"), header("cookie"));
        let body = request.into_body().read_all(1024 * 1024).await.unwrap();
        Response::new(full(format!("{shown} {}", body.len())))
    })
}

// spec: TLS-14
#[tokio::test]
async fn a_request_arrives_as_from_http1() {
    let pki = Pki::new();
    let server = pki.start(Limits::default(), echo());
    let (mut sender, _) = connect(&pki, &server, &Builder::new()).await;
    let request = Request::builder()
        .method(Method::POST)
        .uri("https://h/v1/models")
        .header(COOKIE, "a=1")
        .header(COOKIE, "b=2")
        .body(())
        .unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(vec![b'x'; 100_000].into(), true).unwrap();
    assert_eq!(text(response).await, "h a=1; b=2 100000");
}

// spec: TLS-14
#[tokio::test]
async fn long_responses_pass_beside_one_another() {
    let pki = Pki::new();
    let long = "x".repeat(1_000_000);
    let sent = long.clone();
    let service = Answering(move |_| {
        let body = full(sent.clone());
        async { Response::new(body) }
    });
    let server = pki.start(Limits::default(), service);
    let (mut sender, _) = connect(&pki, &server, &Builder::new()).await;
    let responses: Vec<_> = (0..5).map(|_| get(&mut sender, "/")).collect();
    // Beside one another, because they share the window of the connection.
    for text in join_all(responses.into_iter().map(text)).await {
        assert!(text == long);
    }
}

// spec: TLS-15
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_and_closed() {
    let pki = Pki::new();
    let limits = Limits::default();
    let server = pki.start(limits, hello());
    let (mut sender, end) = connect(&pki, &server, &Builder::new()).await;
    assert_eq!(text(get(&mut sender, "/")).await, "hello");
    let start = Instant::now();
    // Pings of either side do not extend it.
    assert!(end.await.unwrap().is_none());
    assert_elapsed(start, limits.idle);
    assert_eq!(server.handle.connections(), 0);
}

// spec: TLS-15
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let pki = Pki::new();
    let limits = Limits::default();
    let (dropped, mut noticed) = notice();
    let long = vec![b'x'; 1_000_000];
    let first = Arc::new(once(Noticed::new(full(long), dropped)));
    let service = Answering(move |request: Request<RequestBody>| {
        let body = match request.uri().path() {
            "/long" => BoxBody::new(first()),
            _ => full("hello"),
        };
        async { Response::new(body) }
    });
    let server = pki.start(limits, service);
    let mut builder = Builder::new();
    builder.initial_window_size(1000);
    let (mut sender, _) = connect(&pki, &server, &builder).await;
    let stuck = get(&mut sender, "/long").await.unwrap();
    let start = Instant::now();
    let mut body = stuck.into_body();
    assert_eq!(body.data().await.unwrap().unwrap().len(), 1000);
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_elapsed(start, limits.write_progress);
    assert!(noticed.try_recv().is_err());
    assert_eq!(text(get(&mut sender, "/")).await, "hello");
}

// spec: TLS-15
#[tokio::test]
async fn a_client_that_resets_a_stream_cancels_its_request() {
    let pki = Pki::new();
    let (dropped, noticed) = notice();
    let (_events, body) = Channel::<Bytes, std::convert::Infallible>::new(1);
    let first = Arc::new(once(Noticed::new(body, dropped)));
    let service = Answering(move |request: Request<RequestBody>| {
        let body = match request.uri().path() {
            "/stream" => BoxBody::new(first()),
            _ => full("hello"),
        };
        async { Response::new(body) }
    });
    let server = pki.start(Limits::default(), service);
    let (mut sender, _) = connect(&pki, &server, &Builder::new()).await;
    let response = get(&mut sender, "/stream").await.unwrap();
    drop(response);
    noticed.await.unwrap_err();
    assert_eq!(text(get(&mut sender, "/")).await, "hello");
}

// spec: TLS-15
#[tokio::test]
async fn a_client_that_resets_many_streams_is_disconnected() {
    let pki = Pki::new();
    let server = pki.start(Limits::default(), hello());
    let (sender, end) = connect(&pki, &server, &Builder::new()).await;
    let flood = async {
        let (mut sender, mut sent) = (sender, 0);
        // Each stream is reset before it can be answered.
        while let Ok(ready) = sender.ready().await {
            sender = ready;
            let Ok((response, mut stream)) = sender.send_request(request("/"), false) else {
                break;
            };
            stream.send_reset(Reason::CANCEL);
            drop(response);
            sent += 1;
            if sent % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let (error, ()) = tokio::join!(end, flood);
    assert!(error.unwrap().is_some());
    let mut good = server.connect();
    assert_eq!(good.get("/").await.text(), "hello");
}

// spec: TLS-15
#[tokio::test]
async fn headers_are_limited_as_on_http1() {
    let pki = Pki::new();
    let server = pki.start(Limits::default(), hello());
    let (mut sender, _) = connect(&pki, &server, &Builder::new()).await;
    let mut many = request("/");
    for count in 0..101 {
        let name = format!("x-{count}").parse::<http::HeaderName>().unwrap();
        many.headers_mut().insert(name, "1".parse().unwrap());
    }
    let (response, _) = sender.send_request(many, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 431);
    let body: serde_json::Value = serde_json::from_str(&text_of(response).await).unwrap();
    assert_eq!(body["error"]["code"], "HEADER_TOO_LARGE");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("a request may have 100 headers, and 65536 bytes"));
    let mut long = request("/");
    let value = "x".repeat(70_000).parse().unwrap();
    long.headers_mut().insert("x-long", value);
    // The client knows the limit from the server's settings.
    assert!(match sender.send_request(long, true) {
        Ok((response, _)) => response
            .await
            .map_or(true, |response| response.status() == 431),
        Err(_) => true,
    });
    assert_eq!(text(get(&mut sender, "/")).await, "hello");
}

// spec: TLS-15
#[tokio::test]
async fn requests_beyond_the_limit_wait() {
    let pki = Pki::new();
    let service = Answering(|_| std::future::pending());
    let server = pki.start(Limits::default(), service);
    let (mut sender, _) = connect(&pki, &server, &Builder::new()).await;
    let mut running = Vec::new();
    while let Ok(Some(_)) | Ok(None) = poll_fn(|cx| match sender.poll_ready(cx) {
        std::task::Poll::Ready(result) => std::task::Poll::Ready(result.map(Some)),
        std::task::Poll::Pending => std::task::Poll::Ready(Ok(None)),
    })
    .await
    {
        let Ok((response, _)) = sender.send_request(request("/"), true) else {
            break;
        };
        running.push(response);
        tokio::task::yield_now().await;
    }
    assert!((128..=129).contains(&running.len()), "{}", running.len());
}

// spec: TLS-15
#[tokio::test(start_paused = true)]
async fn an_unauthenticated_connection_ends_after_its_life() {
    let pki = Pki::new();
    let share = UnauthenticatedLimits::default();
    let limits = Limits {
        unauthenticated: Some(share),
        ..Limits::default()
    };
    let server = pki.start(limits, hello());
    let (mut sender, end) = connect(&pki, &server, &Builder::new()).await;
    let start = Instant::now();
    while start.elapsed() < share.life / 2 {
        assert_eq!(text(get(&mut sender, "/")).await, "hello");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    // The response in the second half is the last one, and is complete.
    assert_eq!(text(get(&mut sender, "/")).await, "hello");
    assert!(end.await.unwrap().is_none());
    assert!(start.elapsed() < share.life);
}

// spec: TLS-15
#[tokio::test]
async fn a_stop_lets_running_streams_finish() {
    let pki = Pki::new();
    let (mut events, body) = Channel::<Bytes, std::convert::Infallible>::new(1);
    let first = Arc::new(once(body));
    let service = Answering(move |_| {
        let body = BoxBody::new(first());
        async { Response::new(body) }
    });
    let server = pki.start(Limits::default(), service);
    let (mut sender, end) = connect(&pki, &server, &Builder::new()).await;
    let response = get(&mut sender, "/").await.unwrap();
    server.handle.drain();
    events.send_data("last".into()).await.unwrap();
    drop(events);
    assert_eq!(text_of(response).await, "last");
    let error = end.await.unwrap();
    assert!(error.is_none(), "{error:?}");
    server.handle.finished().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

// spec: TLS-16
#[tokio::test]
async fn a_client_that_ignores_the_window_of_a_stream_loses_it() {
    const FRAME_BYTES: usize = 16_384;
    let pki = Pki::new();
    // The service holds the body and never reads it.
    let service = Answering(|request: Request<RequestBody>| async move {
        let response: Response<BoxBody<Bytes, std::convert::Infallible>> =
            std::future::pending().await;
        drop(request);
        response
    });
    let server = pki.start(Limits::default(), service);
    let tls = pki.connect(server.pipe(), b"h2", None).await;
    let (mut reads, mut writes) = tokio::io::split(tls);
    // `:method: POST`, `:scheme: https`, `:path: /` of the static table, and `:authority: h`.
    let head = [0x83, 0x87, 0x84, 0x01, 1, b'h'];
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    sent.extend(frame(4, 1, 0, &[]));
    sent.extend(frame(1, 4, 1, &head));
    for _ in 0..=(256 * 1024 / FRAME_BYTES) {
        sent.extend(frame(0, 0, 1, &[0; FRAME_BYTES]));
    }
    let write = async {
        writes.write_all(&sent).await.unwrap();
        writes.flush().await.unwrap();
    };
    let read = async {
        loop {
            let mut head = [0; 9];
            reads.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            reads.read_exact(&mut payload).await.unwrap();
            match head[3] {
                // RST_STREAM with FLOW_CONTROL_ERROR.
                3 => break assert_eq!((head[8], payload.as_slice()), (1, &[0, 0, 0, 3][..])),
                7 => panic!("GOAWAY {payload:?}"),
                _ => {}
            }
        }
    };
    tokio::join!(write, read);
    assert_eq!(server.handle.connections(), 1);
}
