//! Whether the proxy may send a request a second time on its own.

use std::sync::atomic::{AtomicU8, Ordering};

const AVAILABLE: u8 = 0;
const USED: u8 = 1;
const FORBIDDEN: u8 = 2;

/// Permits one resend on a fresh connection after a reused one closed without a byte of a response.
///
/// An upstream that closes an idle connection looks the same as one that crashed on the request, so
/// the resend may be a second execution. The permit belongs to the request, not to an attempt:
/// there is one, however often a caller forwards the same [`Outbound`](crate::Outbound).
#[derive(Debug, Default)]
pub struct Resend(AtomicU8);

impl Resend {
    /// Forbids the resend. Call it before retrying a request that may have been executed.
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

    /// Uses the permit; false if it was used or forbidden before.
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
    fn a_request_is_resent_once_at_most() {
        let resend = Resend::default();
        assert!(!resend.was_used());
        assert!(resend.take());
        assert!(!resend.take());
        resend.forbid();
        assert!(resend.was_used());
        let clone = resend.clone();
        assert!(
            !clone.take() && !resend.take(),
            "a clone has no permit of its own"
        );

        let resend = Resend::default();
        resend.forbid();
        assert!(!resend.take());
        assert!(!resend.was_used());
    }
}
