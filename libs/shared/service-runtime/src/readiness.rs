//! Readiness: the process is ready once all latches are released, and not ready once it stops.

use std::sync::Arc;

use parking_lot::Mutex;

/// Whether the process can take requests. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Few and short-lived, so a list is enough.
    pending: Vec<(u64, &'static str)>,
    stopping: bool,
}

impl Readiness {
    /// Ready at once, unless a latch is taken.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Delays readiness until the latch is released or dropped. `name` tells people what is
    /// missing.
    #[must_use = "a latch that is dropped at once holds nothing back"]
    pub fn latch(&self, name: &'static str) -> Latch {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.pending.push((id, name));
        Latch {
            id,
            name,
            state: Arc::clone(&self.state),
        }
    }

    /// Whether no latch is held and the process is not stopping.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.state.lock();
        state.pending.is_empty() && !state.stopping
    }

    /// The latches that are held, in the order in which they were taken.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.state
            .lock()
            .pending
            .iter()
            .map(|&(_, name)| name)
            .collect()
    }

    /// Not ready from now on. Call it first at shutdown, so that load balancers stop sending
    /// requests in time.
    pub fn stopping(&self) {
        self.state.lock().stopping = true;
    }

    /// Whether [`stopping`](Self::stopping) was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }
}

/// Delays a [`Readiness`] while it exists.
#[derive(Debug)]
pub struct Latch {
    id: u64,
    name: &'static str,
    state: Arc<Mutex<State>>,
}

impl Latch {
    /// Releases the latch, as dropping it does.
    pub fn release(self) {}

    /// The name of the latch.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.state.lock().pending.retain(|&(id, _)| id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_latch_is_gone() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let nodes = readiness.latch("nodes");
        let store = readiness.latch("store");
        let twin = readiness.latch("store");
        assert_eq!(readiness.pending(), ["nodes", "store", "store"]);
        drop(nodes);
        store.release();
        assert_eq!(readiness.pending(), ["store"]);
        assert!(!readiness.is_ready());
        drop(twin);
        assert!(readiness.is_ready());
    }

    #[test]
    fn stopping_is_for_good() {
        let readiness = Readiness::new();
        let late = readiness.latch("late");
        readiness.stopping();
        late.release();
        assert!(!readiness.is_ready() && readiness.is_stopping());
        assert!(readiness.pending().is_empty());
    }
}
