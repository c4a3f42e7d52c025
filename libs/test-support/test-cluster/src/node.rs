//! A running `pool-managerd` and its handoff directory.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{daemon::Daemon, engine::Engine, port::free_port, supervised};
use child_process::Log;
use test_client::Client;

const ADDR: &str = "POOL_MANAGERD_ADDR";
const ADDRESS: &str = "POOL_MANAGERD_ADDRESS";
/// A node with a certificate registers with an `https` address.
const CERTIFICATE: &str = "POOL_MANAGERD_TLS_CERT_FILE";

/// The directory of handoff files, from the directory of the daemon.
pub(super) const RUNTIME_DIR: &str = ".runtime/engines";

/// How often another port is tried when another process has taken the free one.
const PORT_ATTEMPTS: u32 = 5;

/// A node.
#[derive(Debug)]
pub struct Node {
    daemon: Daemon,
    address: SocketAddr,
}

impl Node {
    /// Chooses the port first, because a node registers its address before it listens.
    pub(super) fn start(mut daemon: Daemon) -> Result<Self> {
        let mut attempts_left = PORT_ATTEMPTS;
        loop {
            attempts_left -= 1;
            let port = free_port()?;
            daemon.set(ADDR, &format!("127.0.0.1:{port}"));
            let scheme = match daemon.setting(CERTIFICATE) {
                Some(_) => "https",
                None => "http",
            };
            daemon.set(ADDRESS, &format!("{scheme}://127.0.0.1:{port}"));
            match daemon.start() {
                Ok(address) => return Ok(Self { daemon, address }),
                Err(error) if attempts_left > 0 && is_conflict(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Its URL without a final slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its node id.
    #[must_use]
    pub fn name(&self) -> &str {
        self.daemon.name()
    }

    /// A client without a token.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    /// The daemon: its settings, directory and process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// The log of the last start.
    ///
    /// # Errors
    /// When it does not run.
    pub fn log(&self) -> Result<Log> {
        self.daemon.log()
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it still runs after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.daemon.terminate(grace)
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Kills it when it runs, and starts it again on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.kill();
        self.address = self.daemon.start()?;
        Ok(())
    }

    /// Writes the handoff of an engine.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_handoff(&self, pool: &str, replica: &str, engine: &Engine) -> Result<()> {
        write_handoff(self.daemon.directory(), &handoff(pool, replica, engine)).map(|_| ())
    }

    /// The port of a replica's engine by its handoff; `None` without a handoff.
    #[must_use]
    pub fn announced_port(&self, pool: &str, replica: &str) -> Option<u16> {
        supervised::announced_port(&self.handoff_path(pool, replica))
    }

    fn handoff_path(&self, pool: &str, replica: &str) -> PathBuf {
        let name = format!("{pool}_{replica}.json");
        self.daemon.directory().join(RUNTIME_DIR).join(name)
    }

    /// Removes a handoff.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove_handoff(&self, pool: &str, replica: &str) -> Result<()> {
        let path = self.handoff_path(pool, replica);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}").to_lowercase();
    text.contains("address already in use") || text.contains("address in use")
}

/// The content of an engine's handoff file.
#[must_use]
pub fn handoff(pool: &str, replica: &str, engine: &Engine) -> Value {
    json!({
        "pool_id": pool,
        "replica_id": replica,
        "engine": "llamacpp",
        "url": engine.url(),
        "engine_version": "b10434",
        "slots": engine.slots(),
        "models": ["tiny"],
    })
}

/// Writes a handoff for the daemon that runs in `directory`: to a temporary name first, so that no
/// reader sees a part of it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_handoff(directory: &Path, handoff: &Value) -> Result<PathBuf> {
    let runtime = directory.join(RUNTIME_DIR);
    std::fs::create_dir_all(&runtime)
        .with_context(|| format!("cannot create {}", runtime.display()))?;
    let name = |key: &str| {
        handoff[key]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {key}"))
    };
    let path = runtime.join(format!("{}_{}.json", name("pool_id")?, name("replica_id")?));
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, handoff.to_string())?;
    std::fs::rename(&temporary, &path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
