//! Writes changes of the registry to the store. Only callers that await a change wait for it.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pool_registry_types::NodeId;
use registry_store::{Change, RegistryStore, StoredNode};
use service_registry::{PersistedNode, Registry};
use tokio::{sync::watch, time::Instant};

use crate::{
    durability::WriteProgress,
    shared::{AwaitedChanges, Shared},
    stored_state::{StoredState, node_of},
};

/// After a write the writer pauses for as long as the write took. So even a fleet that flaps or
/// joins at once leaves the disk half of its time, and changes of the pause are written together.
/// This is the shortest pause: a disk without a sync need not be written a thousand times a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause. A kill loses the changes of a pause that no caller awaits.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// After a failed write the writer tries again with the next change, and at the latest after this
/// time: a disk that has space again may see no change for long.
const RETRY: Duration = Duration::from_secs(10);

/// The nodes that are taken from the registry under one lock: about a millisecond of work.
const NODES_AT_ONCE: usize = 256;

/// The most nodes of one write. It bounds the memory when a fleet joins at once.
const WRITTEN_TOGETHER: usize = 8192;

/// Writes changes of the registry to the store.
///
/// The registry remembers which nodes differ from the store. Their records are made when they are
/// written, so changes that undo each other are never written. The changes of a failed write are
/// written again. While the store fails, everything else goes on; the log says so once, and once
/// when it works again.
#[derive(Debug)]
pub struct StoreWriter {
    shared: Arc<Shared>,
    store: Arc<dyn RegistryStore>,
    stored: StoredState,
    /// Changes of failed writes: the store may have them or not.
    unsure: BTreeMap<NodeId, Change>,
    progress: watch::Sender<WriteProgress>,
    /// Ends with the timer of the registry.
    turns: watch::Receiver<u64>,
}

/// The changes of one write.
struct Batch {
    changes: Arc<[Change]>,
    /// The number of the last awaited change in it.
    awaited: u64,
}

impl StoreWriter {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn RegistryStore>,
        stored: StoredState,
        progress: watch::Sender<WriteProgress>,
        turns: watch::Receiver<u64>,
    ) -> Self {
        Self {
            shared,
            store,
            stored,
            unsure: BTreeMap::new(),
            progress,
            turns,
        }
    }

    /// Runs until the timer of the registry has ended and the last change is written.
    pub async fn run(mut self) {
        while self.changed().await {
            let began = Instant::now();
            self.write().await;
            tokio::time::sleep(began.elapsed().clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        }
        self.write().await;
        while self.shared.look(Registry::has_dirty) {
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

    /// Waits for a change; false when the timer of the registry has ended.
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
        let Batch { changes, awaited } = self.next_batch();
        let result = if changes.is_empty() {
            Ok(())
        } else {
            self.apply(&changes).await
        };
        match result {
            Ok(()) => {
                changes.iter().for_each(|change| self.stored.apply(change));
                if !self.unsure.is_empty() {
                    self.unsure.clear();
                    tracing::info!("The registry's state is saved again");
                }
                self.progress.send_replace(WriteProgress {
                    durable: awaited,
                    tried: awaited,
                    error: None,
                });
            }
            Err(error) => {
                self.failed(&changes, &*error);
                self.progress.send_modify(|progress| {
                    progress.tried = awaited;
                    progress.error = Some(with_causes(&*error).into());
                });
            }
        }
    }

    /// The next changes to write: those of failed writes as they are now, all awaited changes, and
    /// others that make a difference to the store.
    fn next_batch(&self) -> Batch {
        let mut changes = self.unsure.clone();
        let mut add = |some: Vec<Change>| {
            for change in some {
                let node_id = node_of(&change);
                if changes.contains_key(node_id) || self.stored.differs(&change) {
                    changes.insert(node_id.clone(), change);
                }
            }
        };
        let mut taken = 0;
        while taken < WRITTEN_TOGETHER {
            let some = self.take_some();
            if some.is_empty() {
                break;
            }
            taken += some.len();
            add(some);
        }
        // Last, so that no awaited node is older than its number says.
        let (some, awaited) = self.take_awaited();
        add(some);
        if taken >= WRITTEN_TOGETHER {
            // There may be more.
            self.shared.dirty.notify_one();
        }
        Batch {
            changes: changes.into_values().collect(),
            awaited,
        }
    }

    /// Changes of nodes that differ from the store.
    fn take_some(&self) -> Vec<Change> {
        let (nodes, now) = self.shared.take(|registry| {
            let mut nodes = Vec::new();
            while nodes.len() < NODES_AT_ONCE
                && let Some(node_id) = registry.pop_dirty()
            {
                let node = registry.persisted_node(&node_id);
                nodes.push((node_id, node));
            }
            (nodes, SystemTime::now())
        });
        nodes
            .into_iter()
            .map(|(node_id, node)| change(node_id, node, now))
            .collect()
    }

    /// The nodes of all awaited changes, and the number of the last of them.
    fn take_awaited(&self) -> (Vec<Change>, u64) {
        let AwaitedChanges { nodes, last } = self.shared.take_awaited();
        let now = SystemTime::now();
        let changes = nodes
            .into_iter()
            .map(|(node_id, node)| change(node_id, node, now))
            .collect();
        (changes, last)
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
        let by_node = |change: &Change| (node_of(change).clone(), change.clone());
        self.unsure.extend(changes.iter().map(by_node));
    }
}

fn change(node_id: NodeId, node: Option<PersistedNode>, now: SystemTime) -> Change {
    match node {
        Some(node) => Change::Put(Arc::new(StoredNode::new(node, now))),
        None => Change::Remove(node_id),
    }
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
