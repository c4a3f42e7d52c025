//! Many connections at once to an upstream whose queue of new connections is short.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use socket2::{Domain, Socket, Type};
use stream_proxy::{ForwardError, Outbound, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Longer than the queue of the upstream by far.
const REQUESTS: usize = 400;

/// An upstream whose queue holds `backlog` connections.
fn listen(backlog: i32) -> (TcpListener, HttpUrl) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(backlog).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, HttpUrl::new(&url).unwrap())
}

fn request() -> Outbound {
    let path = "/v1/models".parse().unwrap();
    Outbound::new(Method::GET, path, HeaderMap::new(), Bytes::new())
}

async fn answer(stream: &mut TcpStream, headers: &str) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
    }
    let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nok");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

async fn send(proxy: &StreamProxy, url: &HttpUrl) -> Result<(), ForwardError> {
    let answer = proxy.forward(url, &request(), Timeouts::default()).await?;
    answer.into_body().collect().await.unwrap();
    Ok(())
}

// spec: PATH-80
#[tokio::test]
async fn a_burst_beyond_the_queue_of_an_upstream_is_served() {
    let (listener, url) = listen(4);
    let upstream = async {
        let mut streams = Vec::new();
        // Every connection stays open until all are there, so that each request needs its own.
        while streams.len() < REQUESTS {
            streams.push(listener.accept().await.unwrap().0);
            // The requests connect faster than this upstream accepts.
            tokio::task::yield_now().await;
        }
        join_all(streams.iter_mut().map(|stream| answer(stream, ""))).await;
    };
    let proxy = StreamProxy::new();
    let requests = try_join_all((0..REQUESTS).map(|_| send(&proxy, &url)));
    tokio::try_join!(requests, async {
        upstream.await;
        Ok(())
    })
    .unwrap();
}

// spec: PATH-80
#[tokio::test]
async fn an_upstream_that_accepts_nothing_is_busy_and_not_gone() {
    // The listener is never asked for a connection, so its queue fills.
    let (_listener, url) = listen(1);
    let timeouts = Timeouts {
        connect: Duration::from_millis(300),
        first_byte: Duration::from_millis(1500),
        ..Timeouts::default()
    };
    let proxy = StreamProxy::new();
    let path = request();
    let requests = join_all((0..8).map(|_| proxy.forward(&url, &path, timeouts)));
    let results = requests.await;
    let full = results
        .iter()
        .filter(|result| matches!(result, Err(ForwardError::AcceptQueueFull { .. })))
        .count();
    // Those in the queue count as connected.
    assert!(full >= 4, "{results:?}");
    let unreachable = |result: &Result<_, ForwardError>| {
        matches!(
            result,
            Err(ForwardError::ConnectTimeout { .. } | ForwardError::Connect { .. })
        )
    };
    assert!(!results.iter().any(unreachable), "{results:?}");
}

// spec: PATH-81
#[tokio::test]
async fn a_connection_is_not_kept_longer_than_the_upstream_announces() {
    for (headers, connections) in [
        ("Keep-Alive: timeout=5, max=100\r\n", 1),
        ("Keep-Alive: timeout=1\r\n", 2),
        ("Keep-Alive: timeout=5, max=0\r\n", 2),
        ("Connection: close\r\n", 2),
    ] {
        let (listener, url) = listen(8);
        let upstream = async {
            let mut accepted = 0;
            let mut answered = 0;
            while answered < 2 {
                let mut stream = listener.accept().await.unwrap().0;
                accepted += 1;
                let per_connection = if connections == 1 { 2 } else { 1 };
                for _ in 0..per_connection {
                    answer(&mut stream, headers).await;
                    answered += 1;
                }
            }
            accepted
        };
        let proxy = StreamProxy::new();
        let client = async {
            send(&proxy, &url).await.unwrap();
            send(&proxy, &url).await.unwrap();
        };
        let (accepted, ()) = tokio::join!(upstream, client);
        assert_eq!(accepted, connections, "{headers:?}");
    }
}
