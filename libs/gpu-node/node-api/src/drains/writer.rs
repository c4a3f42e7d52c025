//! Writes the latest state in a task of its own, so that a slow disk blocks no connection.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::error::DrainError;

/// The state to write. A later state replaces one that was not written yet, so no backlog grows.
#[derive(Debug, Clone)]
struct LatestState {
    version: u64,
    content: Result<Arc<[u8]>, Arc<io::Error>>,
}

/// The result of the latest write.
#[derive(Debug, Clone)]
struct WriteResult {
    version: u64,
    result: Result<(), Arc<io::Error>>,
}

type WriteFile = Arc<dyn Fn(&Path, &[u8]) -> io::Result<()> + Send + Sync>;

/// Takes states and waits for their writes.
#[derive(Debug)]
pub(super) struct WriteQueue {
    path: PathBuf,
    latest: watch::Sender<LatestState>,
    written: watch::Receiver<WriteResult>,
}

/// Writes the drains to their file; see [`Drains::load`](crate::Drains::load).
pub struct DrainsWriter {
    path: PathBuf,
    latest: watch::Receiver<LatestState>,
    written: watch::Sender<WriteResult>,
    write: WriteFile,
}

impl fmt::Debug for DrainsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainsWriter")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The queue and the writer for the file at `path`.
pub(super) fn pair(path: PathBuf) -> (WriteQueue, DrainsWriter) {
    let (latest, latest_seen) = watch::channel(LatestState {
        version: 0,
        content: Ok(Arc::default()),
    });
    let (written, written_seen) = watch::channel(WriteResult {
        version: 0,
        result: Ok(()),
    });
    let queue = WriteQueue {
        path: path.clone(),
        latest,
        written: written_seen,
    };
    let writer = DrainsWriter {
        path,
        latest: latest_seen,
        written,
        write: Arc::new(state_file::write),
    };
    (queue, writer)
}

impl WriteQueue {
    /// Submits a state and returns its version. Calls must not overlap.
    pub(super) fn submit(&self, content: serde_json::Result<Vec<u8>>) -> u64 {
        let content = content
            .map(Arc::from)
            .map_err(|error| Arc::new(error.into()));
        let mut version = 0;
        self.latest.send_modify(|latest| {
            version = latest.version + 1;
            *latest = LatestState { version, content };
        });
        version
    }

    /// Returns when this version, or a later one, is on the disk.
    pub(super) async fn written(&self, version: u64, within: Duration) -> Result<(), DrainError> {
        let mut written = self.written.clone();
        let wait = written.wait_for(|written| written.version >= version);
        let not_stored = |source| DrainError::NotStored {
            path: self.path.clone(),
            source,
        };
        match tokio::time::timeout(within, wait).await {
            Ok(Ok(written)) => written.result.clone().map_err(not_stored),
            Ok(Err(_stopped)) => Err(not_stored(Arc::new(io::Error::other(
                "this agent is stopping",
            )))),
            Err(_elapsed) => Err(DrainError::NotStoredYet {
                path: self.path.clone(),
                within,
            }),
        }
    }
}

impl DrainsWriter {
    /// Writes each change until `stop` is done or the drains are dropped, and then the last one.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let is_over = tokio::select! {
                () = &mut stop => true,
                changed = self.latest.changed() => changed.is_err(),
            };
            self.write_latest().await;
            if is_over {
                return;
            }
        }
    }

    async fn write_latest(&mut self) {
        let LatestState { version, content } = self.latest.borrow_and_update().clone();
        if version == self.written.borrow().version {
            return;
        }
        let result = match content {
            Ok(content) => self.write(content).await.map_err(Arc::new),
            Err(error) => Err(error),
        };
        self.written.send_replace(WriteResult { version, result });
    }

    async fn write(&self, content: Arc<[u8]>) -> io::Result<()> {
        let (write, path) = (self.write.clone(), self.path.clone());
        // A panic counts as a failed write.
        tokio::task::spawn_blocking(move || write(&path, &content)).await?
    }

    /// Replaces the way to write.
    #[cfg(test)]
    pub(super) fn writing(
        self,
        write: impl Fn(&Path, &[u8]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            write: Arc::new(write),
            ..self
        }
    }
}
