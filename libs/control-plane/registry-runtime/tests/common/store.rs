//! A store that can fail or hang, and records its calls.

use std::{io, sync::Arc};

use parking_lot::{Condvar, Mutex};
use registry_store::{Change, MemoryStore, RegistryStore, StoreError, StoredNode};
use tokio::sync::watch;

/// How the store applies changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Healthy,
    /// Changes nothing and returns an error.
    Failing,
    /// Makes the changes and returns an error, as a disk may when its controller loses power.
    Unsure,
    Panicking,
}

/// A store in memory that fails on demand.
#[derive(Debug)]
pub struct FaultyStore {
    nodes: MemoryStore,
    health: Mutex<Health>,
    closed: Mutex<bool>,
    opened: Condvar,
    asked: watch::Sender<Vec<Vec<Change>>>,
}

impl FaultyStore {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            nodes: MemoryStore::default(),
            health: Mutex::new(Health::Healthy),
            closed: Mutex::new(false),
            opened: Condvar::new(),
            asked: watch::Sender::new(Vec::new()),
        })
    }

    pub fn set(&self, health: Health) {
        *self.health.lock() = health;
    }

    /// Hangs every call until `open`.
    pub fn close(&self) {
        *self.closed.lock() = true;
    }

    pub fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }

    /// Waits for the given number of calls, and returns their changes.
    pub async fn asked(&self, times: usize) -> Vec<Vec<Change>> {
        let mut asked = self.asked.subscribe();
        let enough = asked.wait_for(|asked| asked.len() >= times).await;
        enough.unwrap().clone()
    }

    /// The number of calls.
    pub fn times(&self) -> usize {
        self.asked.borrow().len()
    }

    /// The ids of its nodes, with a star for drained ones.
    pub fn has(&self) -> Vec<String> {
        let star = |node: &StoredNode| if node.is_drained() { "*" } else { "" };
        let nodes = self.load().unwrap();
        nodes
            .iter()
            .map(|node| format!("{}{}", node.node_id(), star(node)))
            .collect()
    }
}

impl RegistryStore for FaultyStore {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        self.nodes.load()
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.opened
            .wait_while(&mut self.closed.lock(), |closed| *closed);
        let health = *self.health.lock();
        if matches!(health, Health::Healthy | Health::Unsure) {
            self.nodes.apply(changes)?;
        }
        self.asked.send_modify(|asked| asked.push(changes.to_vec()));
        match health {
            Health::Healthy => Ok(()),
            Health::Failing | Health::Unsure => Err(StoreError::Failed {
                store: "faulty".to_owned(),
                source: Box::new(io::Error::from(io::ErrorKind::StorageFull)),
            }),
            Health::Panicking => std::panic::resume_unwind(Box::new("made up")),
        }
    }
}
