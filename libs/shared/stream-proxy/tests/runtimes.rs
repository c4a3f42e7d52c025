//! Idle connections with several runtimes, for example one per thread.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it fails"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the upstream's tasks end with the runtime that the test made for it"
)]

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use pool_registry_types::HttpUrl;
use stream_proxy::{Outbound, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::Barrier,
};

/// Timeouts that a slow machine does not reach.
fn long_timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(60),
        idle: Duration::from_secs(600),
        ..Timeouts::default()
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Responds to each request with the number of its connection.
async fn serve(listener: TcpListener) {
    let pair = Arc::new(Barrier::new(2));
    for number in 0_u8.. {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, number, Arc::clone(&pair)));
    }
}

async fn answer(mut stream: TcpStream, number: u8, pair: Arc<Barrier>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while stream.read_buf(&mut request).await? > 0 {
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        if request.starts_with(b"GET /pair ") {
            // Both requests have arrived on separate connections before one gets its response.
            pair.wait().await;
        }
        let is_late = request.starts_with(b"GET /late ");
        request.clear();
        let length = if is_late { 2 } else { 1 };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{number}");
        stream.write_all(answer.as_bytes()).await?;
        if is_late {
            // The requester has read the head before the other request comes.
            pair.wait().await;
            stream.write_all(number.to_string().as_bytes()).await?;
        }
    }
    Ok(())
}

struct Case {
    proxy: StreamProxy,
    upstream: SocketAddr,
    /// The address of the upstream, which runs on its own thread.
    _life: Runtime,
}

impl Case {
    fn new() -> Self {
        let life = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = life.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let upstream = listener.local_addr().unwrap();
        life.spawn(serve(listener));
        Self {
            proxy: StreamProxy::new(),
            upstream,
            _life: life,
        }
    }

    /// The number of the connection that serves a request from `runtime`.
    fn connection(&self, runtime: &Runtime, path: &'static str) -> String {
        let url = HttpUrl::new(&format!("http://{}", self.upstream)).unwrap();
        let path = PathAndQuery::from_static(path);
        let request = Outbound::new(Method::GET, path, HeaderMap::new(), Bytes::new());
        runtime.block_on(async {
            let answer = self.proxy.forward(&url, &request, long_timeouts()).await;
            let body = answer
                .unwrap()
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        })
    }
}

// spec: PATH-20
#[test]
fn each_runtime_prefers_its_own_connections() {
    let case = Case::new();
    let runtimes = [runtime(), runtime()];
    let own = thread::scope(|scope| {
        let pair = runtimes.each_ref();
        let pair = pair.map(|runtime| scope.spawn(|| case.connection(runtime, "/pair")));
        pair.map(|thread| thread.join().unwrap())
    });
    assert_ne!(own[0], own[1]);
    // The newest connection belongs to the other runtime.
    for (runtime, own) in runtimes.iter().zip(&own).cycle().take(4) {
        assert_eq!(case.connection(runtime, "/"), *own);
    }
}

// spec: PATH-20
#[test]
fn a_runtime_without_connections_takes_one_of_another() {
    let case = Case::new();
    let [one, other] = [runtime(), runtime()];
    assert_eq!(case.connection(&one, "/"), "0");
    assert_eq!(case.connection(&other, "/"), "0");
    // The connection has moved, so the runtime that opened it may end.
    drop(one);
    assert_eq!(case.connection(&other, "/"), "0");
}

// spec: PATH-20
#[test]
fn a_connection_stays_with_its_runtime_when_another_reads_the_body() {
    let case = Case::new();
    let [one, other] = [runtime(), runtime()];
    let url = HttpUrl::new(&format!("http://{}", case.upstream)).unwrap();
    let request = Outbound::new(
        Method::GET,
        PathAndQuery::from_static("/late"),
        HeaderMap::new(),
        Bytes::new(),
    );
    let answer = one.block_on(case.proxy.forward(&url, &request, long_timeouts()));
    let read = thread::scope(|scope| {
        scope.spawn(|| case.connection(&runtime(), "/pair"));
        // The runtime that opened the connection must run to wake the reader.
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let one = &one;
        scope.spawn(move || one.block_on(stopped));
        let body = other
            .block_on(answer.unwrap().into_body().collect())
            .unwrap();
        drop(stop);
        body.to_bytes()
    });
    assert_eq!(read, "00");
    drop(other);
    assert_eq!(case.connection(&one, "/"), "0");
}

#[test]
fn a_connection_whose_runtime_has_ended_is_replaced() {
    let case = Case::new();
    let one = runtime();
    assert_eq!(case.connection(&one, "/"), "0");
    drop(one);
    assert_eq!(case.connection(&runtime(), "/"), "1");
}
