//! The registry and what it remembers, and in HOME the node in this process that reports to it.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use admission::Admission;
use anyhow::Context as _;
use daemon::Daemon;
use event_log::EventLog;
use local_node::{InProcessAgent, Node, NodeIdentity, Registrar, RegistrarError};
use pool_registry_types::{HeartbeatRequest, HttpUrl, MachineId, NodeId, RegisterRequest};
use registry_runtime::RegistryHandle;
use registry_store::{FileStore, MemoryStore, RegistryStore, StoreError};
use service_registry::{NodeFilter, RegistryError};
use service_runtime::Latch;
use state_file::{DirectoryLock, lock_directory};

/// The name of the control plane's lock, and what people call it.
const LOCK: (&str, &str) = ("control-plane", "the control plane");

/// The registry, and the lock on where it is kept.
pub(crate) struct Registered {
    pub(crate) registry: RegistryHandle,
    /// `None` where nothing is kept.
    pub(crate) _lock: Option<DirectoryLock>,
}

/// Where the registry is kept.
pub(crate) enum Keeping<'a> {
    /// There, or nothing is started.
    Required(&'a Path),
    /// There where that is possible; otherwise drains are forgotten with the process, which is a
    /// warning.
    Optional(&'a Path),
}

/// Takes up what is remembered, and runs the registry, which tells `admission` of endpoints and
/// `events` of what happens.
pub(crate) fn start(
    config: registry_runtime::Config,
    keeping: &Keeping<'_>,
    admission: &Admission,
    events: &EventLog,
    daemon: &Daemon,
) -> anyhow::Result<Registered> {
    let (store, lock) = open(keeping)?;
    let built = registry_runtime::build(config, store, Arc::new(admission.clone()))?;
    let (tasks, parts) = (&daemon.tasks, &daemon.parts);
    tasks.spawn(
        "registry",
        built.task.telling(events.clone()).run(parts.clone()),
    );
    tasks.spawn("registry-keeper", built.keeper.run());
    if let Some(prober) = built.prober {
        tasks.spawn("node-probe", prober.run(parts.clone()));
    }
    Ok(Registered {
        registry: built.handle,
        _lock: lock,
    })
}

fn open(keeping: &Keeping<'_>) -> anyhow::Result<(Arc<dyn RegistryStore>, Option<DirectoryLock>)> {
    let (Keeping::Required(dir) | Keeping::Optional(dir)) = keeping;
    let is_optional = matches!(keeping, Keeping::Optional(_));
    if let Err(error) = state_file::create_directory(dir)
        && is_optional
    {
        return Ok((in_memory(dir, &error), None));
    }
    let lock = lock_directory(dir, LOCK.0, LOCK.1).context("see ORCHESTRATORD_STATE_DIR")?;
    match FileStore::open(dir) {
        Ok(store) => Ok((Arc::new(store), lock)),
        Err(error @ StoreError::Unusable { .. }) if is_optional => {
            Ok((in_memory(dir, &error), None))
        }
        Err(error) => Err(error.into()),
    }
}

fn in_memory(dir: &Path, error: &(dyn std::error::Error + 'static)) -> Arc<dyn RegistryStore> {
    tracing::warn!(
        dir = %dir.display(), error,
        "the state directory cannot be used: drains are forgotten when this process ends; see ORCHESTRATORD_STATE_DIR"
    );
    Arc::new(MemoryStore::default())
}

/// Has `node` report to the registry of this process, as `node_id` at the address that this process
/// listens on. `known` is released when the registry knows all of its engines.
pub(crate) fn join(
    node: &Node,
    node_id: &NodeId,
    addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
    registry: &RegistryHandle,
    known: Latch,
    daemon: &Daemon,
) -> anyhow::Result<()> {
    let Some(local) = node.local() else {
        return Ok(());
    };
    forget_others(registry, node_id);
    let address = own_url(addr)?;
    let identity = NodeIdentity {
        node_id: node_id.clone(),
        machine_id: MachineId::new(node_id.as_str())?,
        metrics_address: metrics_addr.and_then(|bound| address.beside(bound)),
        address,
        version: env!("CARGO_PKG_VERSION"),
    };
    let registrar = Arc::new(OwnRegistry(registry.clone()));
    let agent = InProcessAgent::new(local.clone(), identity, registrar);
    daemon
        .tasks
        .spawn("agent", agent.run(known, daemon.parts.clone()));
    Ok(())
}

/// A machine that was called otherwise before is no other machine.
fn forget_others(registry: &RegistryHandle, node_id: &NodeId) {
    let known = registry.page(None, usize::MAX, &NodeFilter::default());
    for other in known.nodes.iter().filter(|other| other.node_id != *node_id) {
        // One that has gone in the meantime is what is wanted.
        let _ = registry.deregister(&other.node_id, None);
        tracing::info!(node_id = %other.node_id, "forgotten: this machine has another name now");
    }
}

/// Where this machine reaches this process.
fn own_url(addr: SocketAddr) -> anyhow::Result<HttpUrl> {
    let ip = match addr {
        _ if !addr.ip().is_unspecified() => addr.ip(),
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let url = format!("http://{}", SocketAddr::new(ip, addr.port()));
    HttpUrl::new(&url).context("the address of this process")
}

/// The registry of this process, for the node in it.
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
