//! Whether a request may be sent a second time without its caller's doing.

use std::sync::atomic::{AtomicU8, Ordering};

const AVAILABLE: u8 = 0;
const USED: u8 = 1;
const FORBIDDEN: u8 = 2;

/// The one time that a request may be sent again on a fresh connection, because a reused one was
/// closed without a byte of an answer.
///
/// An upstream that closes an idle connection and one that dies of a request look the same from
/// here. So the second sending may be a second execution. It belongs to the request, not to a try:
/// however often a caller forwards the same [`Outbound`](crate::Outbound), there is one.
#[derive(Debug, Default)]
pub struct Resend(AtomicU8);

impl Resend {
    /// Allows no second sending from now on. A caller does so before it tries again a request that
    /// may have been executed.
    pub fn forbid(&self) {
        let _ = self
            .0
            .compare_exchange(AVAILABLE, FORBIDDEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the request was sent again.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.0.load(Ordering::Relaxed) == USED
    }

    /// Uses it; false when it was used or forbidden before.
    pub(crate) fn take(&self) -> bool {
        self.0
            .compare_exchange(AVAILABLE, USED, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Clone for Resend {
    fn clone(&self) -> Self {
        Self(AtomicU8::new(self.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-27
    #[test]
    fn there_is_one_at_most() {
        let resend = Resend::default();
        assert!(!resend.was_used());
        assert!(resend.take());
        assert!(!resend.take());
        resend.forbid();
        assert!(resend.was_used());
        let copy = resend.clone();
        assert!(!copy.take() && !resend.take(), "a copy has no second one");

        let resend = Resend::default();
        resend.forbid();
        assert!(!resend.take());
        assert!(!resend.was_used());
    }
}
