//! A thread that reads the source, so that a driver that hangs does not block its callers.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

use crate::{
    problem::{ErrorText, GpuError},
    reading::GpuReading,
    snapshot::Snapshot,
    source::GpuSource,
};

/// The handle of the thread. Dropping it ends the thread, unless the driver never returns.
pub(crate) struct Reader {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    asked: Condvar,
    answered: Condvar,
}

/// Readings are numbered; at most one is under way.
#[derive(Default)]
struct State {
    asked: u64,
    answered: u64,
    /// A caller timed out waiting for the current reading, so others do not wait for it.
    late: bool,
    closed: bool,
    latest: Snapshot,
}

impl Reader {
    /// Starts the thread. If the system gives none, every reading has that problem.
    pub(crate) fn start(source: Box<dyn GpuSource>) -> Self {
        let shared = Arc::new(Shared::default());
        // Log lines of the thread carry the span of its starter.
        let span = tracing::Span::current();
        let thread = std::thread::Builder::new()
            .name("gpu-inventory".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || span.in_scope(|| serve(&shared, source))
            });
        if let Err(error) = thread {
            let mut state = shared.state.lock();
            state.closed = true;
            state.latest.problem = Some(GpuError::Driver(ErrorText::of(&error)));
        }
        Self { shared }
    }

    /// Reads the GPUs. After `timeout` it returns the last reading, with a problem.
    pub(crate) fn read(&self, timeout: Duration) -> Snapshot {
        let mut state = self.shared.state.lock();
        if state.asked == state.answered && !state.closed {
            state.asked = state.asked.saturating_add(1);
            self.shared.asked.notify_one();
        }
        // Callers share a reading that is under way.
        let requested = state.asked;
        let is_pending =
            |state: &mut State| state.answered < requested && !state.closed && !state.late;
        let waited = (self.shared.answered).wait_while_for(&mut state, is_pending, timeout);
        state.late |= waited.timed_out();
        let mut snapshot = state.latest.clone();
        if state.late {
            snapshot.problem = Some(GpuError::Late(timeout));
        }
        snapshot
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.asked.notify_one();
    }
}

/// Marks the thread as ended, also when it panics.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.late = false;
        if !state.closed {
            state.closed = true;
            state.latest.problem = Some(GpuError::Driver(ErrorText::of(&"the source panicked")));
        }
        self.0.answered.notify_all();
    }
}

fn serve(shared: &Shared, mut source: Box<dyn GpuSource>) {
    let _ended = Ended(shared);
    loop {
        let mut state = shared.state.lock();
        shared.asked.wait_while(&mut state, |state| {
            state.asked == state.answered && !state.closed
        });
        if state.closed {
            return;
        }
        drop(state);
        let snapshot = snapshot(source.read());
        let mut state = shared.state.lock();
        state.latest = snapshot;
        state.answered = state.asked;
        state.late = false;
        shared.answered.notify_all();
    }
}

fn snapshot(read: Result<Vec<GpuReading>, GpuError>) -> Snapshot {
    match read {
        Ok(gpus) => Snapshot {
            gpus,
            problem: None,
        },
        Err(problem) => Snapshot {
            gpus: Vec::new(),
            problem: Some(problem),
        },
    }
}
