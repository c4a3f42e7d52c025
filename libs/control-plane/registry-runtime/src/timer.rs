//! The timer of the registry.

use std::{sync::Arc, time::Duration};

use service_runtime::Shutdown;
use tokio::sync::watch;

use crate::shared::Shared;

/// Wakes at the deadlines of the registry. Events take effect without it.
#[derive(Debug)]
pub struct RegistryTimer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) longest_sleep: Duration,
    /// Counts the turns. It closes when the timer ends.
    pub(crate) turns: watch::Sender<u64>,
}

impl RegistryTimer {
    /// Runs until `shutdown` is requested. After that only events notice a passed deadline.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            let wake = self.shared.tick(self.longest_sleep);
            self.turns
                .send_modify(|turns| *turns = turns.wrapping_add(1));
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = self.shared.due_earlier.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}
