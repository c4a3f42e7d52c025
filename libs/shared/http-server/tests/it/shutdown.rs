//! A server stops in three phases, and finishes what it can.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body_util::{
    channel::{Channel, Sender},
    combinators::BoxBody,
};
use http_server::{HttpService, Limits};
use tokio::{sync::mpsc, time::Instant};

use crate::support::{Answering, Server, assert_elapsed, hello};

type Out = Sender<Bytes, std::convert::Infallible>;

/// Hands the sending end of each response to the test.
fn streaming() -> (impl HttpService, mpsc::UnboundedReceiver<Out>) {
    let (hand_over, outs) = mpsc::unbounded_channel();
    let hand_over = Arc::new(hand_over);
    let service = Answering(move |_| {
        let (out, body) = Channel::new(1);
        hand_over.send(out).unwrap();
        std::future::ready(Response::new(BoxBody::new(body)))
    });
    (service, outs)
}

const TOKEN: Bytes = Bytes::from_static(b"token");

// spec: STOP-3
#[tokio::test]
async fn draining_finishes_a_stream_and_closes_idle_connections() {
    let (service, mut outs) = streaming();
    let server = Server::start(Limits::default(), service);
    let mut idle = server.connect();
    let mut unused = server.connect();
    let mut busy = server.connect();

    idle.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    drop(outs.recv().await.unwrap());
    idle.reply().await;

    busy.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut out = outs.recv().await.unwrap();
    out.send_data(TOKEN).await.unwrap();
    busy.head().await;
    assert_eq!(busy.chunk().await, TOKEN);

    server.shutdown.request();
    server.stopped_accepting().await;
    assert_eq!(idle.until_closed().await, b"");
    assert_eq!(unused.until_closed().await, b"");

    out.send_data(TOKEN).await.unwrap();
    assert_eq!(busy.chunk().await, TOKEN);
    drop(out);
    assert_eq!(busy.chunk().await, b"");
    assert_eq!(busy.until_closed().await, b"");
    assert_eq!(server.handle.close(Duration::from_secs(3600)).await, 0);
    server.tasks.join(Duration::from_secs(3600)).await.unwrap();
}

#[tokio::test]
async fn not_accepting_leaves_open_connections_alone() {
    let server = Server::start(Limits::default(), hello());
    let mut open = server.connect();
    open.get("/").await;
    server.handle.stop_accepting();
    server.stopped_accepting().await;
    assert_eq!(open.get("/").await.text(), "hello");

    server.handle.drain();
    assert_eq!(open.until_closed().await, b"");
    server.handle.finished().await;
}

// spec: STOP-3
#[tokio::test]
async fn a_request_during_the_drain_is_the_last_of_its_connection() {
    let (service, mut outs) = streaming();
    let server = Server::start(Limits::default(), service);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let out = outs.recv().await.unwrap();
    client.head().await;
    client.send("GET /next HTTP/1.1\r\nhost: h\r\n\r\n").await;
    server.handle.drain();
    drop(out);
    assert_eq!(client.until_closed().await, b"0\r\n\r\n");
    assert!(outs.try_recv().is_err());
}

// spec: STOP-4
#[tokio::test(start_paused = true)]
async fn remaining_connections_are_dropped_at_the_deadline() {
    let (service, mut outs) = streaming();
    let server = Server::start(Limits::default(), service);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut out = outs.recv().await.unwrap();
    client.head().await;

    let start = Instant::now();
    assert_eq!(server.handle.close(Duration::from_secs(120)).await, 1);
    assert_elapsed(start, Duration::from_secs(120));
    assert_eq!(client.until_closed().await, b"");
    assert!(out.send_data(TOKEN).await.is_err());
    server.tasks.join(Duration::ZERO).await.unwrap();
}

// spec: DOOR-11
#[tokio::test]
async fn a_panic_in_a_handler_ends_one_connection() {
    let server = Server::start(
        Limits::default(),
        Answering(|request: http::Request<_>| async move {
            assert_ne!(request.uri().path(), "/panic");
            Response::new(crate::support::full("fine"))
        }),
    );
    let mut unlucky = server.connect();
    unlucky.send("GET /panic HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(unlucky.until_closed().await, b"");
    assert_eq!(server.connect().get("/").await.text(), "fine");
    assert!(!server.shutdown.is_requested());
}
