//! The HOME profile: a node in this process, which reports to the registry of this process.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use daemon::{Daemon, Listeners};
use local_node::{InProcessAgent, Node, NodeConfig, NodeIdentity, Registrar, RegistrarError};
use pool_registry_types::{HeartbeatRequest, HttpUrl, MachineId, NodeId, RegisterRequest};
use registry_runtime::RegistryHandle;
use service_registry::{NodeFilter, RegistryError};
use service_runtime::Latch;
use state_export::NODE_ID_FILE;

use crate::control_plane::ControlPlane;

/// What a damaged file means. It continues "so ".
const NODE_ID_LOST: &str = "this machine takes its node id from the registry or the hostname";

/// Starts the node. It refuses a handoff with an address of this process.
pub(crate) fn start_node(
    mut config: NodeConfig,
    listeners: &Listeners,
    daemon: &Daemon,
) -> anyhow::Result<Node> {
    config.watch.own_addresses = listeners.addresses();
    Node::start(config, daemon.proxy(), &daemon.tasks, &daemon.shutdown)
        .context("start the node; see ORCHESTRATORD_RUNTIME_DIR and ORCHESTRATORD_STATE_DIR")
}

/// Makes `node` report to the registry, with the listen address of this process. Releases `known`
/// when the registry knows all engines of the node.
pub(crate) fn join(
    node: &Node,
    control_plane: &ControlPlane,
    listeners: &Listeners,
    known: Latch,
    daemon: &Daemon,
) -> anyhow::Result<()> {
    let Some(local) = node.local() else {
        return Ok(());
    };
    let registry = control_plane.registry.clone();
    let node_id = node_id(control_plane)?;
    forget_other_nodes(&registry, &node_id);
    let address = own_url(listeners.addr())?;
    let identity = NodeIdentity {
        machine_id: MachineId::new(node_id.as_str())?,
        node_id,
        metrics_address: listeners
            .metrics_addr()
            .and_then(|bound| address.beside(bound)),
        address,
        version: env!("CARGO_PKG_VERSION"),
    };
    let agent = InProcessAgent::new(local.clone(), identity, Arc::new(OwnRegistry(registry)));
    daemon
        .tasks
        .spawn("agent", agent.run(known, daemon.shutdown.clone()));
    Ok(())
}

/// The node id of this machine. It stays the same when the hostname changes, because drains belong
/// to it.
fn node_id(control_plane: &ControlPlane) -> anyhow::Result<NodeId> {
    let new_id = || known_id(&control_plane.registry).unwrap_or_else(hostname_id);
    match &control_plane.directory {
        Some(directory) => stored_id(directory, new_id),
        None => Ok(new_id()),
    }
}

/// The id in the state directory. Without one, stores `new_id`.
fn stored_id(directory: &Path, new_id: impl FnOnce() -> NodeId) -> anyhow::Result<NodeId> {
    let file = directory.join(NODE_ID_FILE);
    let parse = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        NodeId::new(text.trim_end())
    };
    if let Some(node_id) = state_file::recover(&file, parse, NODE_ID_LOST)? {
        return Ok(node_id);
    }
    let node_id = new_id();
    if let Err(error) = state_file::write(&file, format!("{node_id}\n").as_bytes()) {
        tracing::warn!(
            file = %file.display(), %error,
            "the node id cannot be saved: if the hostname changes, drains of this machine are lost"
        );
    }
    Ok(node_id)
}

/// The id of the only node in the registry: an earlier version stored no id of its own.
fn known_id(registry: &RegistryHandle) -> Option<NodeId> {
    let known = registry.page(None, 2, &NodeFilter::default());
    match known.nodes.as_slice() {
        [node] => Some(node.node_id.clone()),
        _ => None,
    }
}

fn hostname_id() -> NodeId {
    let hostname = gpu_inventory::hostname().ok();
    let node_id = hostname.and_then(|name| NodeId::new(&name).ok());
    node_id.unwrap_or_else(NodeId::localhost)
}

/// HOME has one node. Others in the store are earlier names of this machine.
fn forget_other_nodes(registry: &RegistryHandle, node_id: &NodeId) {
    let known = registry.page(None, usize::MAX, &NodeFilter::default());
    for other in known.nodes.iter().filter(|other| other.node_id != *node_id) {
        // An error means that the node is gone already.
        let _ = registry.deregister(&other.node_id, None);
        tracing::info!(node_id = %other.node_id, "forgotten: this machine has another node id");
    }
}

/// The URL of this process on this machine.
fn own_url(addr: SocketAddr) -> anyhow::Result<HttpUrl> {
    let ip = match addr {
        _ if !addr.ip().is_unspecified() => addr.ip(),
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let url = format!("http://{}", SocketAddr::new(ip, addr.port()));
    HttpUrl::new(&url).context("the address of this process")
}

/// The registry of this process, as the node in it reaches it.
#[derive(Debug)]
struct OwnRegistry(RegistryHandle);

impl Registrar for OwnRegistry {
    fn register(&self, request: RegisterRequest) -> Result<Duration, RegistrarError> {
        self.0.register(request).map_err(refused)?;
        Ok(self.0.pace().next_heartbeat)
    }

    fn report(
        &self,
        node_id: &NodeId,
        request: HeartbeatRequest,
    ) -> Result<Duration, RegistrarError> {
        self.0.heartbeat(node_id, request).map_err(refused)?;
        Ok(self.0.pace().next_heartbeat)
    }
}

fn refused(error: RegistryError) -> RegistrarError {
    match error {
        RegistryError::UnknownNode { .. } => RegistrarError::Unknown,
        RegistryError::StaleIncarnation { known, .. } => RegistrarError::Stale { known },
        other => RegistrarError::Refused(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEEP-33
    #[test]
    fn the_node_id_outlives_a_change_of_the_hostname() {
        let directory = tempfile::tempdir().unwrap();
        let id = |name: &str| stored_id(directory.path(), || name.parse().unwrap()).unwrap();
        assert_eq!(id("first-name").as_str(), "first-name");
        assert_eq!(id("second-name").as_str(), "first-name");
        // A damaged file is set aside.
        std::fs::write(directory.path().join(NODE_ID_FILE), "not an id\n").unwrap();
        assert_eq!(id("second-name").as_str(), "second-name");
        assert_eq!(id("third-name").as_str(), "second-name");
    }

    // spec: CLOUD-12104
    #[test]
    fn a_node_in_the_same_process_has_the_address_of_that() {
        for (addr, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("192.0.2.1:80", "http://192.0.2.1:80"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(
                own_url(addr.parse().unwrap()).unwrap(),
                HttpUrl::new(url).unwrap()
            );
        }
    }
}
