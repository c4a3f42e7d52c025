//! A thread that asks the source, so that a driver that hangs holds up nobody else.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

use crate::{GpuError, GpuReading, GpuSource, Snapshot, problem::ErrorText};

/// The thread's front. Dropping it ends the thread, unless the driver holds it for ever.
pub(crate) struct Reader {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    asked: Condvar,
    answered: Condvar,
}

/// Readings are numbered; one at most is on its way.
#[derive(Default)]
struct State {
    asked: u64,
    answered: u64,
    /// Somebody waited in vain for the reading that is on its way: nobody else needs to.
    late: bool,
    closed: bool,
    latest: Snapshot,
}

impl Reader {
    /// Starts the thread. Where the system gives none, every reading says so.
    pub(crate) fn start(source: Box<dyn GpuSource>) -> Self {
        let shared = Arc::new(Shared::default());
        // The thread's lines say what those of its starter say.
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

    /// Reads anew. After `timeout` without an answer it is the last reading, with a problem that
    /// says so.
    pub(crate) fn read(&self, timeout: Duration) -> Snapshot {
        let mut state = self.shared.state.lock();
        if state.asked == state.answered && !state.closed {
            state.asked = state.asked.saturating_add(1);
            self.shared.asked.notify_one();
        }
        // Whoever comes while a reading is on its way shares it.
        let wanted = state.asked;
        let on_its_way =
            |state: &mut State| state.answered < wanted && !state.closed && !state.late;
        let waited = (self.shared.answered).wait_while_for(&mut state, on_its_way, timeout);
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

/// Says that no answers come any more, however the thread ends.
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
