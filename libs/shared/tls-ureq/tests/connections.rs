//! The connector against a TLS server on loopback.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
    time::Duration,
};

use test_certificates::Authority;
use tls_config::{
    ClientTls, IdentityFiles, ServerFiles, ServerTls, Trust,
    rustls::{ServerConnection, StreamOwned},
};
use tls_ureq::TlsConnector;
use ureq::{
    Agent, Error,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

fn server_tls(directory: &Path, ca: &Authority, names: &[&str]) -> ServerTls {
    let files = ca.issue(names).unwrap().write(directory).unwrap();
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

fn agent(directory: &Path, ca: &Authority, timeout: Duration) -> Agent {
    let file = directory.join("ca.pem");
    std::fs::write(&file, ca.certificate()).unwrap();
    let tls = ClientTls::load(Trust::CaFile(file), None).unwrap();
    agent_with(tls, timeout)
}

fn agent_with(tls: ClientTls, timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .build();
    let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(tls));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// Answers one request, over TLS when there is a configuration for it.
fn answer_one(listener: TcpListener, tls: Option<ServerTls>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        match tls {
            Some(tls) => {
                let connection = ServerConnection::new(tls.config()).unwrap();
                let mut stream = StreamOwned::new(connection, socket);
                // A client that refuses the certificate ends the handshake.
                if stream.read(&mut head).is_ok() {
                    stream.write_all(ANSWER).unwrap();
                    stream.conn.send_close_notify();
                    stream.flush().unwrap();
                }
            }
            None => {
                assert!(socket.read(&mut head).unwrap() > 0);
                socket.write_all(ANSWER).unwrap();
            }
        }
    })
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Longer than a handshake takes on any machine.
const LONG: Duration = Duration::from_secs(60);

// spec: TLS-21
#[test]
fn https_is_answered_over_tls_and_http_without() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let agent = agent(directory.path(), &ca, LONG);
    for is_tls in [true, false] {
        let (listener, address) = listener();
        let tls = is_tls.then(|| server_tls(directory.path(), &ca, &["127.0.0.1"]));
        let server = answer_one(listener, tls);
        let scheme = if is_tls { "https" } else { "http" };
        let mut answer = agent.get(format!("{scheme}://{address}/")).call().unwrap();
        assert_eq!(answer.body_mut().read_to_string().unwrap(), "ok");
        server.join().unwrap();
    }
}

// spec: TLS-21
#[test]
fn a_server_with_another_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let (listener, address) = listener();
    let server = answer_one(
        listener,
        Some(server_tls(directory.path(), &ca, &["10.0.0.7"])),
    );
    let agent = agent(directory.path(), &ca, LONG);
    let error = agent.get(format!("https://{address}/")).call().unwrap_err();
    assert!(error.to_string().contains("10.0.0.7"), "{error}");
    server.join().unwrap();
}

// spec: TLS-30
#[test]
fn a_server_with_the_certificate_of_another_holder_gets_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, ca.certificate()).unwrap();
    let tls = ClientTls::load(Trust::CaFile(file), None).unwrap();
    let agent = agent_with(tls.expecting("spiffe://llorch/control-plane"), LONG);
    for (holder, is_wanted) in [("control-plane", true), ("node/evil", false)] {
        let (listener, address) = listener();
        let holder = format!("spiffe://llorch/{holder}");
        let tls = server_tls(directory.path(), &ca, &["127.0.0.1", &holder]);
        let server = thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(tls.config()).unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap_or(0);
            let _ = stream.write_all(ANSWER);
            stream.conn.send_close_notify();
            let _ = stream.flush();
            read
        });
        let answer = agent.get(format!("https://{address}/")).call();
        assert_eq!(answer.is_ok(), is_wanted);
        if let Err(error) = answer {
            let text = tls_ureq::explain(&error).unwrap();
            assert!(
                text.contains("is that of spiffe://llorch/node/evil"),
                "{text}"
            );
        }
        assert_eq!(server.join().unwrap() > 0, is_wanted);
    }
}

#[test]
fn a_server_that_never_shakes_hands_ends_with_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new().unwrap();
    let (listener, address) = listener();
    let agent = agent(directory.path(), &ca, Duration::from_millis(50));
    let error = agent.get(format!("https://{address}/")).call().unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    drop(listener);
}
