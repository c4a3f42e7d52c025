//! A control plane with one real node; the rest of the fleet is simulated.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;
use child_process::Group;
use test_client::Client;
use test_clock::wait_for;
use test_cluster::{Daemon, free_port, write_handoff};
use workspace_build::Binaries;

use crate::{engines::Engines, processes::memory};

/// How long anything may take before the measurement fails.
pub(super) const DEADLINE: Duration = Duration::from_secs(300);
/// How long a daemon may take to end.
const GRACE: Duration = Duration::from_secs(30);
/// Without a line for each node that joins: logging is not what is measured.
const LOG_FILTER: &str = "warn,daemon=info,orchestratord=info,pool_managerd=info,access=off";

pub(super) struct Cluster {
    control: Daemon,
    node: Daemon,
    address: SocketAddr,
    client: Client,
    /// Dropped last.
    _directory: tempfile::TempDir,
}

/// The nodes that the control plane knows, by their state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeCounts {
    pub(super) online: u64,
    pub(super) lost: u64,
}

impl Cluster {
    /// Starts both daemons and waits until the node is online.
    pub(super) fn start(daemons: &Binaries, engines: &Engines) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("llorch-bench-registry-")
            .tempdir()?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let settings = [
            ("ORCHESTRATORD_ADDR", listen.as_str()),
            ("ORCHESTRATORD_CLOUD_PROFILE", "true"),
        ];
        let program = &daemons.orchestratord;
        let mut control = daemon("orchestratord", program, directory.path(), &settings)?;
        let address = control.start()?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let (own_url, url) = (format!("http://{listen}"), format!("http://{address}"));
        let settings = [
            ("POOL_MANAGERD_ADDR", listen.as_str()),
            ("POOL_MANAGERD_ADDRESS", &own_url),
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("POOL_MANAGERD_NODE_ID", "a-real-node"),
            ("ORCHESTRATORD_URL", &url),
        ];
        let program = &daemons.pool_managerd;
        let mut node = daemon("pool-managerd", program, directory.path(), &settings)?;
        for handoff in engines.handoffs() {
            write_handoff(node.directory(), &handoff)?;
        }
        node.start()?;
        let cluster = Self {
            control,
            node,
            address,
            client: Client::new(&url),
            _directory: directory,
        };
        cluster.wait_for_nodes(1)?;
        Ok(cluster)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The resident memory of the control plane, in bytes.
    pub(super) fn memory(&mut self) -> Result<u64> {
        let pid = self.control.process()?.pid();
        Ok(memory(pid).unwrap_or_default())
    }

    pub(super) fn stop_control_plane(&mut self) -> Result<()> {
        self.control.terminate(GRACE).map(|_| ())
    }

    /// Starts the control plane and waits for the first routed answer.
    pub(super) fn start_control_plane(&mut self) -> Result<()> {
        self.control.start()?;
        wait_for("the first routed answer", DEADLINE, || {
            self.client.chat(1).is_ok_and(|answer| answer.status == 200)
        })
    }

    pub(super) fn counts(&self) -> Option<NodeCounts> {
        let status = self.client.get_json("/v2/status").ok()?;
        let count = |key: &str| status["nodes"][key].as_u64().unwrap_or_default();
        Some(NodeCounts {
            online: count("online"),
            lost: count("offline") + count("unreachable"),
        })
    }

    pub(super) fn lost(&self) -> u64 {
        self.counts().unwrap_or_default().lost
    }

    pub(super) fn wait_for_nodes(&self, nodes: u64) -> Result<()> {
        wait_for("all nodes", DEADLINE, || {
            self.counts().is_some_and(|counts| counts.online >= nodes)
        })
    }

    /// The routable endpoints of simulated nodes.
    pub(super) fn routable(&self) -> u64 {
        let status = self.client.get_json("/v2/status").unwrap_or_default();
        let models = status["models"].as_array().into_iter().flatten();
        let simulated = models.filter(|model| {
            model["model"]
                .as_str()
                .is_some_and(|name| name.starts_with("sim-"))
        });
        simulated
            .filter_map(|model| model["endpoints"].as_u64())
            .sum()
    }
}

impl Drop for Cluster {
    /// Stops the node first, so that it can deregister.
    fn drop(&mut self) {
        // A daemon that does not stop in time is killed when it is dropped.
        let _ = self.node.terminate(GRACE);
        let _ = self.control.terminate(GRACE);
    }
}

fn daemon(
    name: &str,
    program: &Path,
    directory: &Path,
    settings: &[(&str, &str)],
) -> Result<Daemon> {
    let own = directory.join(name);
    std::fs::create_dir_all(&own)?;
    let mut daemon = Daemon::new(name, program, &own, directory, Group::Ours);
    daemon.set("RUST_LOG", LOG_FILTER);
    for (variable, value) in settings {
        daemon.set(variable, value);
    }
    Ok(daemon)
}
