//! An engine of the cluster, which can be killed and started again on its port.

use std::path::PathBuf;

use anyhow::{Context, Result};

use llama_server::{EngineOptions, LlamaServer};
use test_client::Client;

/// An engine with a name and a number of slots.
#[derive(Debug)]
pub struct Engine {
    name: String,
    program: PathBuf,
    logs: PathBuf,
    options: EngineOptions,
    starts: u32,
    server: Option<LlamaServer>,
}

impl Engine {
    /// Starts an engine with these options.
    pub(super) fn start(
        name: String,
        program: PathBuf,
        logs: PathBuf,
        options: EngineOptions,
    ) -> Result<Self> {
        let mut engine = Self {
            name,
            program,
            logs,
            options,
            starts: 0,
            server: None,
        };
        engine.restart()?;
        Ok(engine)
    }

    /// Its URL without a final slash, with the name that operators write.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.options.port)
    }

    /// How many requests it serves at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.options.slots
    }

    /// A client that talks to it directly.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.options.port))
    }

    /// The running engine.
    ///
    /// # Errors
    /// When it was killed.
    pub fn server(&mut self) -> Result<&mut LlamaServer> {
        self.server
            .as_mut()
            .with_context(|| format!("{} does not run", self.name))
    }

    /// How many requests it computes; 0 when it does not run. Call it at most twice a second.
    #[must_use]
    pub fn busy_slots(&self) -> u32 {
        self.server
            .as_ref()
            .and_then(|server| server.busy_slots().ok())
            .unwrap_or(0)
    }

    /// How many requests wait in it for a slot; 0 when it does not run. Call it at most twice a
    /// second.
    #[must_use]
    pub fn deferred(&self) -> u64 {
        self.server
            .as_ref()
            .and_then(|server| server.deferred().ok())
            .unwrap_or(0)
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Kills it when it runs, and starts it again on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.server = None;
        self.starts += 1;
        let log = self.logs.join(format!("{}-{}.log", self.name, self.starts));
        let server = LlamaServer::start(&self.program, &self.options, &log)?;
        self.options.port = server.port();
        self.server = Some(server);
        Ok(())
    }
}
