//! The front of the registry: methods outside, messages inside.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HeartbeatRequest, NodeId, RegisterRequest};
use routing_table::RoutingTable;
use service_registry::{Config, HeartbeatOutcome, NodesSnapshot, RegisterOutcome, RegistryError, Target};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The registry refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] RegistryError),
    /// The registry's task has ended, because this process is stopping.
    #[error("the registry has stopped")]
    Stopped,
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, RegistryError>>;

/// What can be asked of the registry's task.
#[derive(Debug)]
pub(crate) enum Command {
    Register(Box<RegisterRequest>, Answer<RegisterOutcome>),
    Heartbeat(NodeId, HeartbeatRequest, Answer<HeartbeatOutcome>),
    Deregister(NodeId, Option<u64>, Answer<()>),
    Drain(Target, Option<Duration>, Answer<()>),
    Undrain(Target, Answer<()>),
    Probed(NodeId, Option<u64>, Result<(), String>),
    Alive(Answer<()>),
}

/// The registry, for whoever has something to tell it or to see in it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RegistryHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) origin: Instant,
    pub(crate) config: Arc<Config>,
    pub(crate) nodes: watch::Receiver<Arc<NodesSnapshot>>,
    pub(crate) table: watch::Receiver<Arc<RoutingTable>>,
}

impl RegistryHandle {
    /// A node joins; see [`Registry::register`](service_registry::Registry::register).
    ///
    /// # Errors
    /// When the registry refuses, or has stopped.
    pub async fn register(&self, request: RegisterRequest) -> Result<RegisterOutcome, CallError> {
        self.call(|answer| Command::Register(Box::new(request), answer))
            .await
    }

    /// A node reports; see [`Registry::heartbeat`](service_registry::Registry::heartbeat).
    ///
    /// # Errors
    /// When the registry refuses, or has stopped.
    pub async fn heartbeat(
        &self,
        node_id: NodeId,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatOutcome, CallError> {
        self.call(|answer| Command::Heartbeat(node_id, request, answer))
            .await
    }

    /// A node leaves; see [`Registry::deregister`](service_registry::Registry::deregister).
    ///
    /// # Errors
    /// When the registry refuses, or has stopped.
    pub async fn deregister(&self, node_id: NodeId, incarnation: Option<u64>) -> Result<(), CallError> {
        self.call(|answer| Command::Deregister(node_id, incarnation, answer))
            .await
    }

    /// An operator wants no new work there. `within` is how long running requests may take to finish.
    ///
    /// # Errors
    /// When the registry refuses, or has stopped.
    pub async fn drain(&self, target: Target, within: Option<Duration>) -> Result<(), CallError> {
        self.call(|answer| Command::Drain(target, within, answer)).await
    }

    /// An operator takes a drain back.
    ///
    /// # Errors
    /// When the registry refuses, or has stopped.
    pub async fn undrain(&self, target: Target) -> Result<(), CallError> {
        self.call(|answer| Command::Undrain(target, answer)).await
    }

    /// Somebody tried to reach the node while it had this incarnation; `Err` says how that failed.
    ///
    /// # Errors
    /// When the registry has stopped.
    pub async fn probed(
        &self,
        node_id: NodeId,
        incarnation: Option<u64>,
        result: Result<(), String>,
    ) -> Result<(), CallError> {
        self.send(Command::Probed(node_id, incarnation, result)).await
    }

    /// Returns when the registry's task has taken a turn, which shows that it lives.
    ///
    /// # Errors
    /// When the registry has stopped.
    pub async fn alive(&self) -> Result<(), CallError> {
        self.call(Command::Alive).await
    }

    /// All nodes, as last published.
    #[must_use]
    pub fn nodes(&self) -> watch::Receiver<Arc<NodesSnapshot>> {
        self.nodes.clone()
    }

    /// All endpoints, as last published.
    #[must_use]
    pub fn table(&self) -> watch::Receiver<Arc<RoutingTable>> {
        self.table.clone()
    }

    /// The registry's time now: what the times in a snapshot are measured on.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The registry's rules.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    async fn call<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, CallError> {
        let (answer, answered) = oneshot::channel();
        self.send(command(answer)).await?;
        Ok(answered.await.map_err(|_| CallError::Stopped)??)
    }

    async fn send(&self, command: Command) -> Result<(), CallError> {
        self.commands.send(command).await.map_err(|_| CallError::Stopped)
    }
}
