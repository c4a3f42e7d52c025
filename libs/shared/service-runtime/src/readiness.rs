//! Readiness: the process is ready when the last latch is gone, and never again once it is
//! stopping.

use std::sync::Arc;

use parking_lot::Mutex;

/// Whether the process can take work. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Few and short-lived: a list is the simplest map.
    pending: Vec<(u64, &'static str)>,
    stopping: bool,
}

impl Readiness {
    /// Ready at once, unless a latch is taken.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds readiness back until the latch is released or dropped. `name` tells people what is
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

    /// No latch is held and the process is not stopping.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.state.lock();
        state.pending.is_empty() && !state.stopping
    }

    /// The latches still held, in the order they were taken.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.state
            .lock()
            .pending
            .iter()
            .map(|&(_, name)| name)
            .collect()
    }

    /// Not ready any more, for good: called first at shutdown, so that balancers look elsewhere in
    /// time.
    pub fn stopping(&self) {
        self.state.lock().stopping = true;
    }

    /// Whether [`stopping`](Self::stopping) was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }
}

/// Holds a [`Readiness`] back while it lives.
#[derive(Debug)]
pub struct Latch {
    id: u64,
    name: &'static str,
    state: Arc<Mutex<State>>,
}

impl Latch {
    /// What is waited for has happened. The same as dropping it, said aloud.
    pub fn release(self) {}

    /// The name it was taken with.
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
