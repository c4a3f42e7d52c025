//! How a response is framed on each side.

use bytes::Bytes;
use stream_proxy::{ForwardError, ResponseError, StreamProxy, Timeouts};
use tokio::io::AsyncWriteExt;

use crate::support::{Upstream, exchange, next, text};

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
