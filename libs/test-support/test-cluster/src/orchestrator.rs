//! A running `orchestratord`.

use std::{net::SocketAddr, process::ExitStatus, time::Duration};

use anyhow::Result;
use serde_json::Value;

use crate::daemon::Daemon;
use child_process::Log;
use test_client::Client;

const ADDR: &str = "ORCHESTRATORD_ADDR";

/// The control plane.
#[derive(Debug)]
pub struct Orchestrator {
    daemon: Daemon,
    address: SocketAddr,
}

impl Orchestrator {
    pub(super) fn start(mut daemon: Daemon) -> Result<Self> {
        if daemon.setting(ADDR).is_none() {
            daemon.set(ADDR, "127.0.0.1:0");
        }
        let address = daemon.start()?;
        // From now on it keeps its port.
        daemon.set(ADDR, &address.to_string());
        Ok(Self { daemon, address })
    }

    /// Its URL without a final slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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

    /// The nodes by the control plane; empty without an answer.
    #[must_use]
    pub fn nodes(&self) -> Vec<Value> {
        let answer = self.client().get_json("/v2/nodes").ok();
        answer
            .and_then(|mut answer| match answer["nodes"].take() {
                Value::Array(nodes) => Some(nodes),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// A node by the control plane.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Value> {
        self.nodes()
            .into_iter()
            .find(|node| node["node_id"] == name)
    }

    /// How many nodes are online with a ready pool.
    #[must_use]
    pub fn ready_nodes(&self) -> usize {
        let nodes = self.nodes();
        nodes.iter().filter(|node| is_ready(node)).count()
    }
}

fn is_ready(node: &Value) -> bool {
    let pools = node["pools"].as_array();
    node["status"] == "online"
        && pools.is_some_and(|pools| pools.iter().any(|pool| pool["ready"] == true))
}
