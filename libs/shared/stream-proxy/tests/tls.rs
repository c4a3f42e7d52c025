//! Upstreams with TLS.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use pool_registry_types::{HttpUrl, NodeId};
use stream_proxy::{ForwardError, Outbound, StreamProxy, Timeouts, get_as};
use test_certificates::Authority;
use tls_config::{ClientTls, Fingerprint, IdentityFiles, ServerFiles, ServerTls, Trust, explain};
use tls_stream::ServerStream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn server_tls(ca: &Authority, directory: &Path) -> ServerTls {
    server_named(ca, directory, &["127.0.0.1"])
}

fn server_named(ca: &Authority, directory: &Path, names: &[&str]) -> ServerTls {
    let issued = ca.issue(names).unwrap().followed_by(ca);
    let files = issued.write(directory).unwrap();
    ServerTls::load(ServerFiles {
        identity: IdentityFiles {
            certificate: files.certificate,
            key: files.key,
        },
        client_ca: None,
        name: None,
    })
    .unwrap()
}

fn pinned(ca: &Authority) -> ClientTls {
    ClientTls::load(Trust::Pinned(Fingerprint::of(ca.der())), None).unwrap()
}

fn url(scheme: &str, address: SocketAddr) -> HttpUrl {
    HttpUrl::new(&format!("{scheme}://{address}")).unwrap()
}

fn request(body: &'static [u8]) -> Outbound {
    Outbound::new(
        Method::POST,
        "/".parse().unwrap(),
        HeaderMap::new(),
        Bytes::from_static(body),
    )
}

/// Accepts one connection, and answers each request on it with the number of bytes so far.
async fn serve(listener: &TcpListener, tls: &ServerTls) -> std::io::Result<()> {
    let (socket, _) = listener.accept().await?;
    answer(tls_stream::accept(tls, socket).await?.stream).await
}

async fn answer(mut stream: ServerStream<TcpStream>) -> std::io::Result<()> {
    let mut seen = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        seen += count;
        if buffer[..count].ends_with(b"end") {
            let body = seen.to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await?;
            stream.flush().await?;
        }
    }
}

// spec: TLS-21
#[tokio::test]
async fn a_connection_with_tls_is_opened_once_and_reused() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let tls = server_tls(&ca, directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = url("https", listener.local_addr().unwrap());
    let proxy = StreamProxy::with_tls(pinned(&ca));
    let long: &'static [u8] = Box::leak([vec![b'x'; 300_000], b"end".to_vec()].concat().into());
    let requests = async {
        let mut sizes = Vec::new();
        for body in [b"end", long, b"end"] {
            let sent = request(body);
            let response = proxy.forward(&target, &sent, Timeouts::default());
            let body = response.await.unwrap().into_body().collect().await.unwrap();
            let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
            sizes.push(text.parse::<usize>().unwrap());
        }
        sizes
    };
    tokio::select! {
        ended = serve(&listener, &tls) => panic!("the connection ended: {ended:?}"),
        sizes = requests => {
            assert!(sizes[1] > sizes[0] + 300_000 && sizes[2] > sizes[1], "{sizes:?}");
        }
    }
}

// spec: TLS-5, TLS-21
#[tokio::test]
async fn a_server_that_is_not_trusted_gets_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let tls = server_tls(&ca, directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = url("https", listener.local_addr().unwrap());
    let proxy = StreamProxy::with_tls(pinned(&other));
    let sent = request(b"end");
    let (response, served) = tokio::join!(
        proxy.forward(&target, &sent, Timeouts::default()),
        serve(&listener, &tls)
    );
    assert!(served.is_err());
    let error = response.map(drop).unwrap_err();
    assert!(matches!(error, ForwardError::Connect { .. }), "{error}");
    assert!(explain(&error).unwrap().contains("not trusted"), "{error}");
}

// spec: TLS-21
#[tokio::test]
async fn a_probe_trusts_as_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let tls = server_tls(&ca, directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = url("https", listener.local_addr().unwrap());
    let trusted = pinned(&ca);
    let path = "/health?end".parse().unwrap();
    let limit = Duration::from_secs(60);
    let answering = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = tls_stream::accept(&tls, socket).await.unwrap().stream;
        let mut buffer = vec![0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..count].starts_with(b"GET /health"));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let proxy = StreamProxy::with_tls(trusted);
    let node = NodeId::new("gpu-1").unwrap();
    let getting = get_as(&proxy, &node, &target, path, limit, 1000);
    let (got, _open) = tokio::join!(getting, answering);
    assert_eq!(&got.unwrap().1[..], b"ok");
}

// spec: TLS-31
#[tokio::test]
async fn a_node_with_the_certificate_of_another_gets_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let names = ["127.0.0.1", "spiffe://llorch/node/evil"];
    let tls = server_named(&ca, directory.path(), &names);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = url("https", listener.local_addr().unwrap());
    let proxy = StreamProxy::with_tls(pinned(&ca));
    let (evil, victim) = (NodeId::new("evil").unwrap(), NodeId::new("victim").unwrap());
    let sent = request(b"end");
    let requests = async {
        // The connection of one node is idle when the other is called at the same address.
        let response = proxy.forward_to(Some(&evil), &target, &sent, Timeouts::default());
        let body = response.await.unwrap().into_body().collect().await.unwrap();
        assert!(!body.to_bytes().is_empty());
        let mut errors = Vec::new();
        for _ in 0..2 {
            let response = proxy.forward_to(Some(&victim), &target, &sent, Timeouts::default());
            let error = response.await.map(drop).unwrap_err();
            assert!(matches!(error, ForwardError::Connect { .. }), "{error}");
            errors.push(explain(&error).unwrap());
        }
        let limit = Duration::from_secs(60);
        let probe = get_as(
            &proxy,
            &victim,
            &target,
            "/health?end".parse().unwrap(),
            limit,
            1000,
        );
        errors.push(probe.await.unwrap_err().with_causes());
        errors
    };
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        let first = answer(tls_stream::accept(&tls, socket).await.unwrap().stream);
        let others = async {
            for _ in 0..3 {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = tls_stream::accept(&tls, socket).await.unwrap().stream;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                assert_eq!(rest, b"", "a request for another node");
            }
        };
        tokio::join!(first, others)
    };
    tokio::select! {
        _ = serving => panic!("the server has ended"),
        errors = requests => {
            for error in errors {
                let expected = "is that of spiffe://llorch/node/evil, and not that of \
                                spiffe://llorch/node/victim";
                assert!(error.contains(expected), "{error}");
            }
        }
    }
}
