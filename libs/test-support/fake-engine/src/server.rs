//! The thread, the listener and the handle of an engine.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

use crate::{
    connection::Connection,
    script::Script,
    shared::Shared,
    stats::{Record, Stats},
};

/// The backlog of connections in the kernel: a crowd of thousands that comes at once. Where it is
/// too short, each connection beyond it waits a second, and the first ones reach the idle timeout
/// before the last ones are there.
const BACKLOG: i32 = 4096;

/// Options of the start. Behaviour is in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Whether requests are remembered for [`FakeEngine::records`]; a benchmark has no use for it.
    pub record: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            record: true,
        }
    }
}

/// A running engine. Dropping it closes its port and all its connections.
#[derive(Debug)]
pub struct FakeEngine {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeEngine {
    /// Starts an engine on a free port.
    ///
    /// # Errors
    /// When no socket or thread can be had.
    pub fn start(script: Script) -> io::Result<Self> {
        Self::start_with(script, Options::default())
    }

    /// Starts an engine; it accepts connections when this returns.
    ///
    /// # Errors
    /// When the port is taken or no thread can be had.
    pub fn start_with(script: Script, options: Options) -> io::Result<Self> {
        let listener = listen(options.port)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(script, options.record));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fake-engine".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        _ = accept(listener, for_thread) => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Its URL without a final slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets how it behaves on requests from now on.
    pub fn set(&self, script: Script) {
        self.shared.set(script);
    }

    /// Changes how it behaves on requests from now on.
    pub fn update(&self, change: impl FnOnce(&mut Script)) {
        let mut script = self.script();
        change(&mut script);
        self.set(script);
    }

    /// How it behaves.
    #[must_use]
    pub fn script(&self) -> Script {
        self.shared.prepared().script.clone()
    }

    /// Its counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// The inference requests it got, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.shared.counters.records()
    }

    /// Waits until the counts satisfy `holds`, and returns them. Put a deadline around it.
    pub async fn until(&self, mut holds: impl FnMut(&Stats) -> bool) -> Stats {
        let mut changes = self.shared.counters.changes();
        loop {
            let stats = self.stats();
            // The sender lives as long as `self`, so the wait ends by a change only.
            if holds(&stats) || changes.changed().await.is_err() {
                return stats;
            }
        }
    }

    /// Closes the port and all connections at once, as a crash would, and waits until that is done.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // A port is free again as soon as its engine has stopped.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error concerns one connection, or is temporary.
                let Ok((stream, _)) = accepted else { continue };
                // Without it, tokens wait for acknowledgements.
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                shared.counters.connected();
                connections.spawn(Connection::new(stream, Arc::clone(&shared)).serve());
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
