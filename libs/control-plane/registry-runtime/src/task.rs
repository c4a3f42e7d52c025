//! The registry's timer.

use std::{sync::Arc, time::Duration};

use event_log::EventLog;
use service_runtime::Shutdown;
use tokio::sync::watch;

use crate::shared::Shared;

/// Wakes at the registry's deadlines. Nothing else needs it: events take effect without.
#[derive(Debug)]
pub struct RegistryTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) longest_sleep: Duration,
    /// Who waits for a turn learns here that it was taken, and from its end that there are no
    /// more.
    pub(crate) turns: watch::Sender<u64>,
}

impl RegistryTask {
    /// Tells `events` what happens to nodes, for people.
    #[must_use]
    pub fn telling(self, events: EventLog) -> Self {
        self.shared.set_events(events);
        self
    }

    /// Runs until `shutdown` is requested. From then on a deadline that has come is noticed with
    /// the next event only.
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
