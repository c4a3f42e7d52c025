//! An upstream that refuses, is silent or breaks off.

use std::net::SocketAddr;

use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use stream_proxy::{ForwardError, StreamError, StreamProxy, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::support::{LIMIT, Upstream, exchange, next, request};

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
