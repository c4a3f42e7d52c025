//! The generator over TLS, with a token.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::Result;
use load_gen::{Expected, Plan, Requests, run};
use test_certificates::Authority;
use tls_config::{
    ClientTls, Trust,
    rustls::{
        ServerConfig, ServerConnection, StreamOwned,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const REQUESTS: usize = 3;

/// Answers `REQUESTS` requests of one connection, tells them, and closes it.
fn serve(listener: &TcpListener, config: ServerConfig, told: &mpsc::Sender<String>) -> Result<()> {
    let (socket, _) = listener.accept()?;
    let session = ServerConnection::new(Arc::new(config))?;
    let mut stream = StreamOwned::new(session, socket);
    for _ in 0..REQUESTS {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer)?;
        let request = buffer.get(..length).unwrap_or_default();
        told.send(String::from_utf8_lossy(request).into_owned())?;
        stream.write_all(ANSWER)?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

#[test]
fn requests_with_a_token_pass_over_tls() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let ca = Authority::new()?;
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, ca.certificate())?;
    let issued = ca.issue(&["localhost"])?;
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (told, requests) = mpsc::channel();
    let server = thread::spawn(move || serve(&listener, config, &told));
    let outcome = run(&Plan {
        targets: vec![address],
        tls: Some(ClientTls::load(Trust::CaFile(ca_file), None)?),
        connections: 1,
        requests: Requests::Post {
            path: "/v1/chat/completions".to_owned(),
            body: "{}".to_owned(),
            token: Some("secret".to_owned()),
        },
        expected: Expected::Whole,
        warm_up: Duration::ZERO,
        measure: Duration::from_secs(60),
        drain: Duration::ZERO,
    });
    server.join().unwrap()?;
    // The server is gone, so the next connection cannot be made.
    assert!(outcome.is_err(), "{outcome:?}");
    let requests: Vec<String> = requests.iter().collect();
    assert_eq!(requests.len(), REQUESTS);
    for request in requests {
        assert!(
            request.contains("\r\nauthorization: Bearer secret\r\n"),
            "{request}"
        );
        assert!(request.ends_with("{}"), "{request}");
    }
    Ok(())
}
