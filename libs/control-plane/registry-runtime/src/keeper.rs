//! Writes what the registry knows to the store, and never lets anybody wait for that.

use std::{collections::BTreeSet, error::Error, sync::Arc, time::Duration};

use pool_registry_types::NodeId;
use registry_store::{Change, RegistryStore};
use tokio::{sync::watch, time::Instant};

use crate::kept::{Kept, subject};

/// After a write there is a pause as long as the write took, so that even a fleet that flaps or joins at once leaves
/// the disk half of its time, and what changes meanwhile is written together. This is the shortest pause: a disk without
/// a sync to wait for need not be written a thousand times a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: what changes in it is lost to a kill.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// After a failed write it is tried again with the next change, but no later than this: a disk that has space again
/// should not have to wait for a change to hear of the last one.
const RETRY: Duration = Duration::from_secs(10);

/// Writes what changed to the store.
///
/// What it is given is always the whole state, of which the latest counts; what it writes is the difference to what it
/// wrote before. So a write that fails is made good by the next, and changes that undo each other are never written.
/// While the store cannot be written everything else goes on: that is said once, and once when it is over.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<dyn RegistryStore>,
    kept: watch::Receiver<Kept>,
    written: Kept,
    /// Nodes of failed writes: nobody knows what the store has of them.
    unsure: BTreeSet<NodeId>,
}

impl Keeper {
    /// The store has what is `written`.
    pub(crate) fn new(store: Arc<dyn RegistryStore>, written: Kept, mut kept: watch::Receiver<Kept>) -> Self {
        kept.mark_changed();
        Self {
            store,
            kept,
            written,
            unsure: BTreeSet::new(),
        }
    }

    /// Runs until the registry's task has ended and its last change is written.
    pub async fn run(mut self) {
        while self.changed().await {
            let began = Instant::now();
            self.write().await;
            tokio::time::sleep(began.elapsed().clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        }
        self.write().await;
        if !self.unsure.is_empty() {
            tracing::warn!(
                nodes = self.unsure.len(),
                "The registry's last changes could not be saved: after the next start nodes may be known as \
                 they were before, and drains must be checked"
            );
        }
    }

    /// Waits until there is something to write; false when the registry's task has ended.
    async fn changed(&mut self) -> bool {
        if self.unsure.is_empty() {
            return self.kept.changed().await.is_ok();
        }
        let retry = tokio::time::timeout(RETRY, self.kept.changed()).await;
        retry.map_or(true, |changed| changed.is_ok())
    }

    async fn write(&mut self) {
        let kept = self.kept.borrow_and_update().clone();
        let changes = kept.changes_since(&self.written, &self.unsure);
        if changes.is_empty() {
            return;
        }
        let about: Vec<NodeId> = changes.iter().map(subject).cloned().collect();
        match self.apply(changes).await {
            Ok(()) => {
                self.written = kept;
                if !self.unsure.is_empty() {
                    self.unsure.clear();
                    tracing::info!("The registry's state is saved again");
                }
            }
            Err(error) => self.failed(about, &*error),
        }
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let store = Arc::clone(&self.store);
        // A panic of the store is a failure like any other.
        Ok(tokio::task::spawn_blocking(move || store.apply(&changes)).await??)
    }

    fn failed(&mut self, about: Vec<NodeId>, error: &(dyn Error + 'static)) {
        if self.unsure.is_empty() {
            tracing::warn!(
                error,
                "The registry's state could not be saved; requests are served all the same, and saving is tried \
                 again with every change and every ten seconds. After a restart nodes would be known as they were \
                 before, and drains since then would be lost"
            );
        } else {
            tracing::debug!(error, "The registry's state could not be saved again");
        }
        self.unsure.extend(about);
    }
}
