//! The shutdown token: requested once, visible to all clones.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

/// Signals that the process, or a part of it, must stop. Clones share one state. A request cannot
/// be undone.
#[derive(Clone)]
pub struct Shutdown {
    state: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// A token that is not requested.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Requests the stop. Further requests change nothing.
    pub fn request(&self) {
        self.state
            .send_if_modified(|requested| !std::mem::replace(requested, true));
    }

    /// Whether the stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.state.borrow()
    }

    /// Returns once the stop is requested. Cancel-safe.
    pub async fn requested(&self) {
        // The error case is "every sender is gone", and `self` holds one.
        let _ = self
            .state
            .subscribe()
            .wait_for(|&requested| requested)
            .await;
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("requested", &self.is_requested())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll_once(future: impl Future<Output = ()>) -> Poll<()> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn every_clone_sees_the_request_also_afterwards() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(poll_once(clone.requested()).is_pending());
        shutdown.request();
        shutdown.request();
        assert!(clone.is_requested());
        assert!(poll_once(clone.requested()).is_ready());
    }

    #[tokio::test]
    async fn a_waiter_wakes_up() {
        let shutdown = Shutdown::new();
        let ((), ()) = tokio::join!(shutdown.requested(), async { shutdown.request() });
    }
}
