//! The faults (Xid) that NVIDIA's driver reports, collected between two readings.
//!
//! The driver hands a fault only to those who asked before it happened, and a set of such events
//! borrows the session. So a thread owns the sets, and keeps what it gets. It looks without
//! waiting in the driver, so that it can be stopped at any time.

use std::{
    collections::BTreeMap,
    iter,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nvml_wrapper::{EventSet, Nvml, bitmasks::event::EventTypes, enums::event::XidError};
use parking_lot::Mutex;
use tracing::debug;

use crate::xid::Xid;

/// The time between two looks. An operator does not notice more, and a look costs microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a fault is shown. A GPU that stays broken shows it by other means by then, and one
/// that was reset is fine.
const SHOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// How many events of a GPU a look takes, so that a GPU with many leaves time for the others.
const EVENTS_PER_LOOK: usize = 64;

/// The number of the driver for a fault that it does not know.
const UNKNOWN: u64 = 999;

/// The latest fault of each GPU, by its index. It outlives the session that reported it: the next
/// session of a GPU that is lost does not know why.
#[derive(Debug, Clone, Default)]
pub(crate) struct LatestFaults(Arc<Mutex<BTreeMap<u32, (Xid, Instant)>>>);

impl LatestFaults {
    /// The latest fault of a GPU, unless it was long ago.
    pub(crate) fn of(&self, gpu: u32) -> Option<Xid> {
        let latest = self.0.lock();
        let (xid, when) = latest.get(&gpu)?;
        (when.elapsed() < SHOWN_FOR).then_some(*xid)
    }
}

/// The thread that collects faults. Dropping it ends the thread, and with it its share of the
/// session.
#[derive(Debug)]
pub(crate) struct FaultCollector {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultCollector {
    /// Collects the faults of the first `gpus` GPUs in `latest`. What the driver does not offer is
    /// left out: old drivers and some virtual GPUs report no faults.
    pub(crate) fn start(nvml: &Arc<Nvml>, gpus: u32, latest: &LatestFaults) -> Self {
        let (stop, stopped) = mpsc::channel();
        let (registered, is_registered) = mpsc::channel();
        let span = tracing::Span::current();
        let thread = thread::Builder::new().name("gpu-faults".to_owned()).spawn({
            let (nvml, latest) = (Arc::clone(nvml), latest.clone());
            move || {
                span.in_scope(|| {
                    let sets = event_sets(&nvml, gpus);
                    drop(registered);
                    while !sets.is_empty()
                        && stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout)
                    {
                        look(&sets, &latest);
                    }
                });
            }
        });
        match &thread {
            // From the first reading on, no fault is missed. The thread says so by an end.
            Ok(_) => drop::<Result<(), _>>(is_registered.recv()),
            Err(error) => debug!(%error, "no thread for the faults of GPUs"),
        }
        Self {
            stop: Some(stop),
            thread: thread.ok(),
        }
    }
}

impl Drop for FaultCollector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            debug!("the thread for the faults of GPUs panicked");
        }
    }
}

/// One set for each GPU: the driver cannot say the index of a GPU that is lost.
fn event_sets(nvml: &Nvml, gpus: u32) -> Vec<(u32, EventSet<'_>)> {
    let registered = |gpu| {
        let device = nvml
            .device_by_index(gpu)
            .map_err(|error| error.to_string())?;
        let set = nvml.create_event_set().map_err(|error| error.to_string())?;
        device
            .register_events(EventTypes::CRITICAL_XID_ERROR, set)
            .map_err(|error| error.to_string())
    };
    let set = |gpu| match registered(gpu) {
        Ok(set) => Some((gpu, set)),
        Err(error) => {
            debug!(gpu, error, "the driver reports no faults of this GPU");
            None
        }
    };
    (0..gpus).filter_map(set).collect()
}

/// Takes what has happened since the last look.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own, without an async runtime"
)]
fn look(sets: &[(u32, EventSet<'_>)], latest: &LatestFaults) {
    for (gpu, set) in sets {
        // Without an event, the call ends with a timeout at once.
        for event in iter::from_fn(|| set.wait(0).ok()).take(EVENTS_PER_LOOK) {
            let xid = match event.event_data {
                Some(XidError::Value(number)) => Xid(number),
                Some(XidError::Unknown) => Xid(UNKNOWN),
                None => continue,
            };
            latest.0.lock().insert(*gpu, (xid, Instant::now()));
        }
    }
}
