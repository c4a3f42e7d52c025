//! A store that can be unwell, and says when it was asked.

use std::{io, sync::Arc};

use parking_lot::{Condvar, Mutex};
use registry_store::{Change, MemoryStore, RegistryStore, StoreError, StoredNode};
use tokio::sync::watch;

/// How a store takes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Well,
    /// Changes nothing and says so.
    Failing,
    /// Makes the changes and says that it failed, as a disk may when the power of its controller
    /// fails.
    Unsure,
    Panicking,
}

/// A store in memory.
#[derive(Debug)]
pub struct Fickle {
    nodes: MemoryStore,
    health: Mutex<Health>,
    closed: Mutex<bool>,
    opened: Condvar,
    asked: watch::Sender<Vec<Vec<Change>>>,
}

impl Fickle {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            nodes: MemoryStore::default(),
            health: Mutex::new(Health::Well),
            closed: Mutex::new(false),
            opened: Condvar::new(),
            asked: watch::Sender::new(Vec::new()),
        })
    }

    pub fn set(&self, health: Health) {
        *self.health.lock() = health;
    }

    /// It takes and answers nothing, until it is opened.
    pub fn close(&self) {
        *self.closed.lock() = true;
    }

    pub fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }

    /// Waits until it was asked so many times, and says what for.
    pub async fn asked(&self, times: usize) -> Vec<Vec<Change>> {
        let mut asked = self.asked.subscribe();
        let enough = asked.wait_for(|asked| asked.len() >= times).await;
        enough.unwrap().clone()
    }

    /// How many times it was asked so far.
    pub fn times(&self) -> usize {
        self.asked.borrow().len()
    }

    /// The names of what it has, with a star for those that are drained.
    pub fn has(&self) -> Vec<String> {
        let star = |node: &StoredNode| if node.is_drained() { "*" } else { "" };
        let nodes = self.load().unwrap();
        nodes
            .iter()
            .map(|node| format!("{}{}", node.node_id(), star(node)))
            .collect()
    }
}

impl RegistryStore for Fickle {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        self.nodes.load()
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.opened
            .wait_while(&mut self.closed.lock(), |closed| *closed);
        let health = *self.health.lock();
        if matches!(health, Health::Well | Health::Unsure) {
            self.nodes.apply(changes)?;
        }
        self.asked.send_modify(|asked| asked.push(changes.to_vec()));
        match health {
            Health::Well => Ok(()),
            Health::Failing | Health::Unsure => Err(StoreError::Failed {
                store: "fickle".to_owned(),
                source: Box::new(io::Error::from(io::ErrorKind::StorageFull)),
            }),
            Health::Panicking => std::panic::resume_unwind(Box::new("made up")),
        }
    }
}
