//! The stage of a server, and how its connections are notified.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

/// The stages of a server. They only advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Accepting and answering.
    Serving,
    /// The listener is closed.
    NotAccepting,
    /// Idle connections close, busy ones finish their response.
    Draining,
    /// All remaining connections are dropped.
    Killed,
}

impl Stage {
    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Serving,
            1 => Self::NotAccepting,
            2 => Self::Draining,
            _ => Self::Killed,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Serving => 0,
            Self::NotAccepting => 1,
            Self::Draining => 2,
            Self::Killed => 3,
        }
    }
}

/// The stage of a server.
///
/// A `watch` channel or a `Notify` takes a lock each time a waiting future is polled, and a
/// streaming connection is polled for each token. A poll of this costs one atomic load.
#[derive(Debug)]
pub(crate) struct Control {
    stage: AtomicU8,
    watchers: Mutex<Watchers>,
}

#[derive(Debug, Default)]
struct Watchers {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Serving.code()),
            watchers: Mutex::default(),
        }
    }

    /// Advances to `stage`, unless it is past it, and wakes all watchers.
    pub(crate) fn advance(&self, stage: Stage) {
        let before = self.stage.fetch_max(stage.code(), Ordering::AcqRel);
        if before < stage.code() {
            let wakers: Vec<Waker> = self.watchers.lock().wakers.values().cloned().collect();
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage::from_code(self.stage.load(Ordering::Acquire))
    }
}

/// One task's view of the stage.
#[derive(Debug)]
pub(crate) struct StageWatcher {
    control: Arc<Control>,
    registered: Option<(u64, Waker)>,
}

impl StageWatcher {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            registered: None,
        }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The current stage; the task is woken when it changes.
    pub(crate) fn poll_stage(&mut self, cx: &Context<'_>) -> Stage {
        // A task keeps its waker for its whole life, so this registers once.
        let known = matches!(&self.registered, Some((_, waker)) if waker.will_wake(cx.waker()));
        if !known {
            self.register(cx.waker().clone());
        }
        // Load after registering: an advance in between is either seen here or wakes the task.
        self.control.stage()
    }

    /// Returns when the server has reached `stage` or a later one.
    pub(crate) async fn reached(&mut self, stage: Stage) {
        poll_fn(|cx| {
            if self.poll_stage(cx) >= stage {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn register(&mut self, waker: Waker) {
        let mut watchers = self.control.watchers.lock();
        let id = match self.registered {
            Some((id, _)) => id,
            None => {
                watchers.next += 1;
                watchers.next
            }
        };
        watchers.wakers.insert(id, waker.clone());
        self.registered = Some((id, waker));
    }
}

impl Drop for StageWatcher {
    fn drop(&mut self) {
        if let Some((id, _)) = self.registered {
            self.control.watchers.lock().wakers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counting_waker::CountingWakers;

    #[test]
    fn watchers_are_woken_once_per_stage() {
        let control = Arc::new(Control::new());
        let wakes = CountingWakers::default();
        let waker = wakes.waker();
        let cx = Context::from_waker(&waker);
        let mut watcher = StageWatcher::new(Arc::clone(&control));
        assert_eq!(watcher.poll_stage(&cx), Stage::Serving);
        assert_eq!(watcher.poll_stage(&cx), Stage::Serving);

        control.advance(Stage::Draining);
        control.advance(Stage::NotAccepting);
        control.advance(Stage::Draining);
        assert_eq!(wakes.count(), 1);
        assert_eq!(watcher.poll_stage(&cx), Stage::Draining);

        drop(watcher);
        control.advance(Stage::Killed);
        assert_eq!(wakes.count(), 1);
        assert!(control.watchers.lock().wakers.is_empty());
    }

    #[test]
    fn a_changed_waker_is_followed() {
        let control = Arc::new(Control::new());
        let (old, new) = (CountingWakers::default(), CountingWakers::default());
        let mut watcher = StageWatcher::new(Arc::clone(&control));
        for wakes in [&old, &new] {
            watcher.poll_stage(&Context::from_waker(&wakes.waker()));
        }
        control.advance(Stage::Killed);
        assert_eq!((old.count(), new.count()), (0, 1));
    }
}
