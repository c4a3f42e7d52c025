//! A client that leaves takes its work with it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{channel::Channel, combinators::BoxBody};
use http_server::{BodyError, Limits, RequestBody};
use tokio::sync::mpsc;

use crate::support::{Answering, Noticed, Server, notice, once};

// spec: DOOR-10
#[tokio::test]
async fn while_the_answer_is_pending() {
    let (sender, dropped) = notice();
    let sender = Arc::new(once(sender));
    let (started, mut is_started) = mpsc::unbounded_channel();
    let server = Server::start(
        Limits::default(),
        Answering(move |_| {
            let guard = sender();
            started.send(()).unwrap();
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }),
    );
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    is_started.recv().await.unwrap();
    drop(client);
    assert!(dropped.await.is_err());
}

// spec: DOOR-10
#[tokio::test]
async fn while_the_answer_is_streaming_and_silent() {
    let (sender, dropped) = notice();
    let sender = Arc::new(once(sender));
    // Kept, so that the body is not ended from the other side.
    let (keep, mut kept) = mpsc::unbounded_channel();
    let server = Server::start(
        Limits::default(),
        Answering(move |_| {
            let (mut out, body) = Channel::new(1);
            let body = BoxBody::new(Noticed::new(body, sender()));
            let keep = keep.clone();
            async move {
                out.send_data(Bytes::from_static(b"token")).await.unwrap();
                keep.send(out).unwrap();
                Response::new(body)
            }
        }),
    );
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.chunk().await, b"token");
    let _out = kept.recv().await.unwrap();
    drop(client);
    assert!(dropped.await.is_err());
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
                report.send(request.into_body().read_all(100).await).unwrap();
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
