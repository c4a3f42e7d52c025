//! A client that leaves cancels its request.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{channel::Channel, combinators::BoxBody};
use http_server::{BodyError, Limits, RequestBody};
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::support::{Answering, Client, Noticed, Server, full, notice, once};

const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}";

/// How long the server may take to notice.
const SOON: Duration = Duration::from_millis(100);

/// What clients send after their request: nothing, the line break that some append to a body, a
/// part of a pipelined request, or a complete one.
const AFTERTHOUGHTS: [&str; 4] = ["", "\r\n", "POST / HT", GET];

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Closes,
    /// Closes its sending side only. Engines take that for leaving, and so does the server.
    HalfCloses,
}

/// A client that sends too much and leaves.
#[derive(Debug, Clone, Copy)]
struct Case {
    request: &'static str,
    extra: &'static str,
    in_one_piece: bool,
    leaving: Leaving,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for request in [GET, POST] {
            for extra in AFTERTHOUGHTS {
                for in_one_piece in [false, true] {
                    for leaving in [Leaving::Closes, Leaving::HalfCloses] {
                        all.push(Self {
                            request,
                            extra,
                            in_one_piece,
                            leaving,
                        });
                    }
                }
            }
        }
        all
    }

    async fn begin(self, client: &mut Client<DuplexStream>) {
        let rest = if self.in_one_piece { self.extra } else { "" };
        client.send(format!("{}{rest}", self.request)).await;
    }

    /// Leaves, and asserts that the other end of `dropped` is dropped soon.
    async fn leave(self, mut client: Client<DuplexStream>, dropped: oneshot::Receiver<()>) {
        if !self.in_one_piece {
            client.send(self.extra).await;
        }
        // The paused clock advances only when all tasks wait, so the server has read everything.
        sleep(Duration::from_millis(1)).await;
        let _open = match self.leaving {
            Leaving::Closes => {
                drop(client);
                None
            }
            Leaving::HalfCloses => {
                client.half_close().await;
                Some(client)
            }
        };
        match timeout(SOON, dropped).await {
            Ok(told) => assert!(told.is_err()),
            Err(_) => unreachable!("not noticed: {self:?}"),
        }
    }
}

// spec: DOOR-10
#[tokio::test(start_paused = true)]
async fn while_the_answer_is_pending() {
    for case in Case::all() {
        let (sender, dropped) = notice();
        let sender = Arc::new(once(sender));
        let (started, mut is_started) = mpsc::unbounded_channel();
        let server = Server::start(
            Limits::default(),
            Answering(move |request: Request<RequestBody>| {
                let guard = sender();
                let started = started.clone();
                async move {
                    let _guard = guard;
                    request.into_body().read_all(100).await.unwrap();
                    started.send(()).unwrap();
                    std::future::pending().await
                }
            }),
        );
        let mut client = server.connect();
        case.begin(&mut client).await;
        is_started.recv().await.unwrap();
        case.leave(client, dropped).await;
    }
}

// spec: DOOR-10
#[tokio::test(start_paused = true)]
async fn while_the_answer_is_streaming_and_silent() {
    for case in Case::all() {
        let (sender, dropped) = notice();
        let sender = Arc::new(once(sender));
        // Kept, so that the server does not end the body.
        let (keep, mut kept) = mpsc::unbounded_channel();
        let server = Server::start(
            Limits::default(),
            Answering(move |request: Request<RequestBody>| {
                let (mut out, body) = Channel::new(1);
                let body = BoxBody::new(Noticed::new(body, sender()));
                let keep = keep.clone();
                async move {
                    request.into_body().read_all(100).await.unwrap();
                    out.send_data(Bytes::from_static(b"token")).await.unwrap();
                    keep.send(out).unwrap();
                    Response::new(body)
                }
            }),
        );
        let mut client = server.connect();
        case.begin(&mut client).await;
        client.head().await;
        assert_eq!(client.chunk().await, b"token");
        let _out = kept.recv().await.unwrap();
        case.leave(client, dropped).await;
    }
}

// spec: DOOR-10
#[tokio::test(start_paused = true)]
async fn while_its_body_is_not_read() {
    for sent in ["", "12345"] {
        let (sender, dropped) = notice();
        let sender = Arc::new(once(sender));
        let (started, mut is_started) = mpsc::unbounded_channel();
        let server = Server::start(
            Limits::default(),
            Answering(move |request: Request<RequestBody>| {
                let guard = sender();
                started.send(()).unwrap();
                async move {
                    let _guard = guard;
                    drop(request);
                    std::future::pending().await
                }
            }),
        );
        let mut client = server.connect();
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n{sent}"
            ))
            .await;
        is_started.recv().await.unwrap();
        sleep(Duration::from_millis(1)).await;
        drop(client);
        assert!(timeout(SOON, dropped).await.expect("not noticed").is_err());
    }
}

// spec: DOOR-10
#[tokio::test(start_paused = true)]
async fn a_pipelining_client_is_served() {
    let (go, may_go) = oneshot::channel::<()>();
    let may_go = Arc::new(once(may_go));
    let server = Server::start(
        Limits::default(),
        Answering(move |request: Request<RequestBody>| {
            let wait = (request.uri().path() == "/wait").then(|| may_go());
            async move {
                if let Some(go) = wait {
                    go.await.unwrap();
                }
                Response::new(full(request.uri().path().to_owned()))
            }
        }),
    );
    let mut client = server.connect();
    client.send("GET /wait HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // More than hyper's buffer and the pipe hold, in pieces that end anywhere.
    let requests: String = (0..500)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: h\r\n\r\n"))
        .collect();
    for piece in requests.as_bytes().chunks(997) {
        client.send(piece).await;
        sleep(Duration::from_millis(1)).await;
    }
    go.send(()).unwrap();
    assert_eq!(client.reply().await.text(), "/wait");
    for n in 0..500 {
        assert_eq!(client.reply().await.text(), format!("/{n}"));
    }
}

// spec: DOOR-10
#[tokio::test]
async fn in_the_middle_of_its_body() {
    let (report, mut reported) = mpsc::unbounded_channel();
    let server = Server::start(
        Limits::default(),
        Answering(move |request: Request<RequestBody>| {
            let report = report.clone();
            async move {
                report
                    .send(request.into_body().read_all(100).await)
                    .unwrap();
                std::future::pending().await
            }
        }),
    );
    let mut client = server.connect();
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n12345")
        .await;
    drop(client);
    assert!(matches!(
        reported.recv().await.unwrap(),
        Err(BodyError::Broken(_))
    ));
}
