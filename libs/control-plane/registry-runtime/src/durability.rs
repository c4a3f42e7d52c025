//! Waiting until a change is in the store.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::sync::watch;

/// How long a change waits for the store. A healthy disk takes milliseconds; the caller should get
/// an answer before its own deadline.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Why a change is not in the store. It holds in this process.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotDurable {
    /// The store refused the write. The writer tries again.
    #[error(
        "the change holds now, but it could not be saved ({0}), so a restart of the control plane \
         may undo it"
    )]
    Failed(Arc<str>),
    /// The store has not answered.
    #[error(
        "the change holds now, but it is not saved after {} s, so a restart of the control plane \
         may undo it: the disk does not answer", .0.as_secs()
    )]
    TimedOut(Duration),
    /// The writer has ended.
    #[error("the change is not saved, because the control plane is stopping: repeat it")]
    Stopped,
}

/// The progress of the writer. Changes that a caller awaits are numbered.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteProgress {
    /// All awaited changes up to this one are in the store.
    pub(crate) durable: u64,
    /// The writer has tried to write all awaited changes up to this one.
    pub(crate) tried: u64,
    /// Why the last try failed.
    pub(crate) error: Option<Arc<str>>,
}

/// A change that holds in this process, and is on its way to the store.
#[derive(Debug)]
#[must_use = "without waiting, a kill loses the change before the store has it"]
pub struct PendingWrite {
    number: u64,
    progress: watch::Receiver<WriteProgress>,
}

impl PendingWrite {
    pub(crate) fn new(number: u64, progress: watch::Receiver<WriteProgress>) -> Self {
        Self { number, progress }
    }

    /// Returns when the change is in the store. Changes of several callers share a write.
    ///
    /// # Errors
    /// When the store fails, or does not answer within five seconds.
    pub async fn durable(mut self) -> Result<(), NotDurable> {
        let tried = self
            .progress
            .wait_for(|progress| progress.tried >= self.number);
        match tokio::time::timeout(WRITE_DEADLINE, tried).await {
            Ok(Ok(progress)) if progress.durable >= self.number => Ok(()),
            Ok(Ok(progress)) => Err(NotDurable::Failed(
                progress.error.clone().unwrap_or_else(|| "no reason".into()),
            )),
            Ok(Err(_)) => Err(NotDurable::Stopped),
            Err(_) => Err(NotDurable::TimedOut(WRITE_DEADLINE)),
        }
    }
}
