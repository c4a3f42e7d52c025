//! The engine of the tests: a process that is ready as soon as it listens. A shell in front of it
//! makes it misbehave.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

/// The process exits after this time, so that a failed test leaves nothing behind.
const LIFETIME: Duration = Duration::from_secs(120);

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let port: u16 =
        port.ok_or_else(|| io::Error::other("usage: engine-provisioner-test-engine PORT"))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let (failed, failure) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            if let Err(error) = connection.and_then(answer) {
                let _ = failed.send(error);
            }
        }
    });
    // A client that disconnects is no failure. The end of the listener or of the lifetime ends the
    // program.
    while failure.recv_timeout(LIFETIME).is_ok() {}
    Ok(())
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    let mut request = [0; 1024];
    let _length = connection.read(&mut request)?;
    let body = r#"{"object":"list","data":[{"id":"tiny","object":"model"}]}"#;
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    )
}
