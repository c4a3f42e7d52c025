//! The handle of an engine: commands to it, and snapshots of its state.

use std::sync::Arc;

use pool_registry_types::HttpUrl;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{core::EngineEvent, spec::PoolSpec, status::EnginePhase};

/// A command for an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineCommand {
    Stop,
    Restart,
}

impl From<EngineCommand> for EngineEvent {
    fn from(command: EngineCommand) -> Self {
        match command {
            EngineCommand::Stop => Self::Stop,
            EngineCommand::Restart => Self::Restart,
        }
    }
}

/// A command, and the signal that the engine has begun to execute it.
type PendingCommand = (EngineCommand, oneshot::Sender<()>);

pub(crate) type CommandReceiver = mpsc::Receiver<PendingCommand>;
pub(crate) type CommandSender = mpsc::Sender<PendingCommand>;

/// The handle of an engine. Dropping it stops the engine.
#[derive(Debug)]
pub(crate) struct EngineHandle {
    pub(crate) spec: Arc<PoolSpec>,
    pub(crate) commands: CommandSender,
    pub(crate) snapshots: watch::Receiver<EngineSnapshot>,
}

/// The state of an engine for its supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineSnapshot {
    pub(crate) phase: EnginePhase,
    pub(crate) url: Option<HttpUrl>,
    pub(crate) last_error: Option<Arc<str>>,
}

impl EngineSnapshot {
    /// Why it is not ready.
    pub(crate) fn reason(self) -> Arc<str> {
        let phase = self.phase;
        self.last_error.unwrap_or_else(|| phase.as_str().into())
    }
}

impl EngineHandle {
    /// Returns when the engine has begun to execute the command; at once when its task has ended.
    pub(crate) async fn send(&self, command: EngineCommand) {
        let (begun, on_begun) = oneshot::channel();
        if self.commands.send((command, begun)).await.is_ok() {
            let _ = on_begun.await;
        }
    }

    /// Whether it takes requests.
    pub(crate) fn is_ready(&self) -> bool {
        self.snapshots.borrow().phase == EnginePhase::Ready
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> Option<HttpUrl> {
        self.snapshots.borrow().url.clone()
    }

    /// Whether it is stopped until a request needs it.
    pub(crate) fn is_scaled_to_zero(&self) -> bool {
        self.snapshots.borrow().phase == EnginePhase::ScaledToZero
    }

    /// Waits until `reached` holds for its phase.
    pub(crate) async fn wait_until(
        &self,
        mut reached: impl FnMut(EnginePhase) -> bool,
    ) -> EngineSnapshot {
        let mut snapshots = self.snapshots.clone();
        match snapshots.wait_for(|snapshot| reached(snapshot.phase)).await {
            Ok(snapshot) => snapshot.clone(),
            // Its task has ended, so nothing will change.
            Err(_) => self.snapshots.borrow().clone(),
        }
    }
}
