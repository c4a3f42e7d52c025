//! Writes what the registry knows to the store, and never lets anybody wait for that.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pool_registry_types::NodeId;
use registry_store::{Change, RegistryStore, StoredNode};
use tokio::{sync::watch, time::Instant};

use crate::{
    kept::{Kept, subject},
    shared::Shared,
};

/// After a write there is a pause as long as the write took, so that even a fleet that flaps or
/// joins at once leaves the disk half of its time, and what changes meanwhile is written together.
/// This is the shortest pause: a disk without a sync to wait for need not be written a thousand
/// times a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: what changes in it is lost to a kill.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// After a failed write it is tried again with the next change, but no later than this: a disk that
/// has space again should not have to wait for a change to hear of the last one.
const RETRY: Duration = Duration::from_secs(10);

/// How many nodes are taken from the registry without letting anybody else in between: about a
/// millisecond's work.
const NODES_AT_ONCE: usize = 256;

/// The most nodes that are written together, so that a fleet that joins at once takes little memory
/// here.
const WRITTEN_TOGETHER: usize = 8192;

/// Writes what changed to the store.
///
/// The registry remembers which nodes a store has something else of than is known now. Their
/// records are made when they are written, so that changes that undo each other are never written.
/// What a write that fails was about is written again. While the store cannot be written everything
/// else goes on: that is said once, and once when it is over.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    store: Arc<dyn RegistryStore>,
    kept: Kept,
    /// Changes of failed writes: nobody knows what the store has of these nodes.
    unsure: BTreeMap<NodeId, Change>,
    /// Ends with the registry's task.
    turns: watch::Receiver<u64>,
}

impl Keeper {
    /// The store has what is `kept`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn RegistryStore>,
        kept: Kept,
        turns: watch::Receiver<u64>,
    ) -> Self {
        Self {
            shared,
            store,
            kept,
            unsure: BTreeMap::new(),
            turns,
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
        while self.shared.look(service_registry::Registry::has_touched) {
            self.write().await;
        }
        if !self.unsure.is_empty() {
            tracing::warn!(
                nodes = self.unsure.len(),
                "The registry's last changes could not be saved: after the next start nodes may \
                 be known as they were before, and drains must be checked"
            );
        }
    }

    /// Waits until there is something to write; false when the registry's task has ended.
    async fn changed(&mut self) -> bool {
        let retry = !self.unsure.is_empty();
        let ended = async { while self.turns.changed().await.is_ok() {} };
        tokio::select! {
            biased;
            () = ended => false,
            () = self.shared.dirty.notified() => true,
            () = tokio::time::sleep(RETRY), if retry => true,
        }
    }

    async fn write(&mut self) {
        let changes = self.changes();
        if changes.is_empty() {
            return;
        }
        match self.apply(&changes).await {
            Ok(()) => {
                changes.iter().for_each(|change| self.kept.apply(change));
                if !self.unsure.is_empty() {
                    self.unsure.clear();
                    tracing::info!("The registry's state is saved again");
                }
            }
            Err(error) => self.failed(&changes, &*error),
        }
    }

    /// What is to be written: what failed before, as it is now, and what makes a difference of the
    /// rest.
    fn changes(&self) -> Arc<[Change]> {
        let mut changes = self.unsure.clone();
        let mut taken = 0;
        while taken < WRITTEN_TOGETHER {
            let some = self.take_some();
            if some.is_empty() {
                break;
            }
            taken += some.len();
            for change in some {
                let node_id = subject(&change);
                if changes.contains_key(node_id) || self.kept.differs(&change) {
                    changes.insert(node_id.clone(), change);
                }
            }
        }
        if taken >= WRITTEN_TOGETHER {
            // There may be more.
            self.shared.dirty.notify_one();
        }
        changes.into_values().collect()
    }

    fn take_some(&self) -> Vec<Change> {
        let (known, now) = self.shared.take(|registry| {
            let mut known = Vec::new();
            while known.len() < NODES_AT_ONCE
                && let Some(node_id) = registry.pop_touched()
            {
                let node = registry.known_node(&node_id);
                known.push((node_id, node));
            }
            (known, SystemTime::now())
        });
        let change = |(node_id, node)| match node {
            Some(node) => Change::Put(Arc::new(StoredNode::new(node, now))),
            None => Change::Remove(node_id),
        };
        known.into_iter().map(change).collect()
    }

    async fn apply(&self, changes: &Arc<[Change]>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (store, changes) = (Arc::clone(&self.store), Arc::clone(changes));
        // A panic of the store is a failure like any other.
        Ok(tokio::task::spawn_blocking(move || store.apply(&changes)).await??)
    }

    fn failed(&mut self, changes: &[Change], error: &(dyn Error + 'static)) {
        if self.unsure.is_empty() {
            tracing::warn!(
                error,
                "The registry's state could not be saved; requests are served all the same, and \
                 saving is tried again with every change and every ten seconds. After a restart \
                 nodes would be known as they were before, and drains since then would be lost"
            );
        } else {
            tracing::debug!(error, "The registry's state could not be saved again");
        }
        let about = |change: &Change| (subject(change).clone(), change.clone());
        self.unsure.extend(changes.iter().map(about));
    }
}
