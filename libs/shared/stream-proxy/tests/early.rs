//! Upstreams that answer while the request is still being sent.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use stream_proxy::{Outbound, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// More than the buffers of a connection hold.
const BODY_BYTES: usize = 16 * 1024 * 1024;

async fn read_head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
    }
}

// spec: PATH-23
#[tokio::test]
async fn an_early_answer_is_passed_on_and_its_connection_is_not_reused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let upstream = async {
        let mut streams = Vec::new();
        for answer in [
            "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
        ] {
            let mut stream = listener.accept().await.unwrap().0;
            // The rest of a large body is never read.
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            streams.push(stream);
        }
        std::future::pending::<()>().await;
    };
    let proxy = StreamProxy::new();
    let path: http::uri::PathAndQuery = "/v1/completions".parse().unwrap();
    let client = async {
        for (bytes, status, text) in [(BODY_BYTES, 413, "big"), (2, 200, "yes")] {
            let body = Bytes::from(vec![b'x'; bytes]);
            let request = Outbound::new(Method::POST, path.clone(), HeaderMap::new(), body);
            let answer = proxy.forward(&url, &request, Timeouts::default()).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), status);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, text);
        }
    };
    tokio::select! {
        () = client => {}
        () = upstream => panic!("the upstream does not end"),
    }
}
