//! Answers the control plane when it connects back while the machine joins.

use std::{
    io::{self, ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use pool_registry_types::Challenge;

use crate::error::JoinError;

/// How long a peer may take to read a line. One that does not is not the control plane.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the thread is given to notice its end, which a connection tells it.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// A listener at the address of the node, until it is dropped. `pool-managerd` listens there
/// afterwards.
#[derive(Debug)]
pub(crate) struct Reachable {
    challenge: Challenge,
    at: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether someone has read the line.
    was_asked: AtomicBool,
    is_over: AtomicBool,
}

impl Reachable {
    /// Listens at `address`. `None` if the machine has no such address: it is behind one that
    /// another machine translates.
    ///
    /// # Errors
    /// When the port is taken, or the system gives no random numbers or no thread.
    pub(crate) fn listen(address: SocketAddr) -> Result<Option<Self>, JoinError> {
        let not_listening = |source| JoinError::NotListening { address, source };
        let listener = match TcpListener::bind(address) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return Ok(None),
            Err(error) => return Err(not_listening(error)),
        };
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| not_listening(io::Error::from(error)))?;
        let challenge = Challenge::new(random);
        let at = listener.local_addr().map_err(not_listening)?;
        let shared = Arc::new(Shared::default());
        let (line, with) = (challenge.line(), Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("join-reachable".to_owned())
            .spawn(move || answer(&listener, &line, &with))
            .map_err(not_listening)?;
        Ok(Some(Self {
            challenge,
            at,
            shared,
            thread: Some(thread),
        }))
    }

    /// What it says to a client that connects.
    pub(crate) fn challenge(&self) -> Challenge {
        self.challenge.clone()
    }

    /// Whether someone has connected.
    pub(crate) fn was_asked(&self) -> bool {
        self.shared.was_asked.load(Ordering::Acquire)
    }
}

impl Drop for Reachable {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        let mut at = self.at;
        if at.ip().is_unspecified() {
            at.set_ip(match at.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        // It wakes the thread. One that is not woken ends with the process.
        let woken = TcpStream::connect_timeout(&at, WAKE_TIMEOUT);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn answer(listener: &TcpListener, line: &str, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        let sent = stream
            .set_write_timeout(Some(WRITE_TIMEOUT))
            .and_then(|()| stream.write_all(line.as_bytes()));
        if sent.is_ok() {
            shared.was_asked.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    // spec: JOIN-36
    #[test]
    fn a_client_that_connects_gets_the_line_and_the_port_is_free_afterwards() {
        let reachable = Reachable::listen(ANY_PORT).unwrap().unwrap();
        let at = reachable.at;
        assert!(!reachable.was_asked());
        let mut line = String::new();
        let mut stream = TcpStream::connect(at).unwrap();
        stream.read_to_string(&mut line).unwrap();
        assert_eq!(line, reachable.challenge().line());
        assert!(reachable.was_asked());
        let taken = Reachable::listen(at).unwrap_err();
        let text = taken.to_string();
        assert!(text.starts_with(&format!("{at}: cannot listen")), "{text}");
        drop(reachable);
        assert!(TcpStream::connect(at).is_err(), "the port is free");
    }

    // spec: JOIN-36
    #[test]
    fn an_address_of_another_machine_cannot_be_listened_at() {
        // TEST-NET-1 of RFC 5737, which no machine has.
        let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
        assert!(Reachable::listen(foreign).unwrap().is_none());
    }
}
