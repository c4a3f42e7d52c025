//! The log: a clock and wake-ups around the ring.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use parking_lot::Mutex;
use pool_registry_types::millis;
use tokio::sync::watch;

use crate::{Event, NewEvent, ring::Ring};

/// How many events a reader takes at a time: enough to catch up fast, few enough to hold for each
/// reader.
const PORTION: usize = 100;
/// Ids of a process begin at the millisecond of its start, times this. No process has more events
/// per millisecond, and browsers count exactly that far (2^53) for another 200 years.
const IDS_PER_MS: u64 = 1000;

/// What wakes readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    last: u64,
    closed: bool,
}

struct Shared {
    ring: Mutex<Ring>,
    told: watch::Sender<Told>,
}

/// The last events of this process. Clones share them.
#[derive(Clone)]
pub struct EventLog(Arc<Shared>);

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventLog")
            .field(&*self.0.told.borrow())
            .finish()
    }
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new()
    }
}

impl EventLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, millis);
        let first = started.saturating_mul(IDS_PER_MS);
        Self(Arc::new(Shared {
            ring: Mutex::default(),
            told: watch::Sender::new(Told {
                last: first,
                closed: false,
            }),
        }))
    }

    /// Adds an event.
    pub fn publish(&self, event: NewEvent) {
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        // Notify under the lock, so that events keep their order.
        let mut ring = self.0.ring.lock();
        self.0.told.send_modify(|told| {
            told.last += 1;
            ring.push(Event {
                id: told.last,
                at,
                kind: event.kind,
                node_id: event.node_id,
                pool_id: event.pool_id,
                model: event.model,
                message: event.message,
            });
        });
    }

    /// The newest `limit` events, oldest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Arc<Event>> {
        self.0.ring.lock().latest(limit)
    }

    /// The first `limit` events after `id`, oldest first.
    #[must_use]
    pub fn after(&self, id: u64, limit: usize) -> Vec<Arc<Event>> {
        self.0.ring.lock().after(id, limit)
    }

    /// Reads the events after `id`, and then new ones while the log is open.
    #[must_use]
    pub fn follow_after(&self, id: u64) -> Reader {
        Reader {
            log: self.clone(),
            told: self.0.told.subscribe(),
            seen: id,
        }
    }

    /// Reads the newest `limit` events, and then new ones.
    #[must_use]
    pub fn follow_latest(&self, limit: usize) -> Reader {
        let ring = self.0.ring.lock();
        let first = ring.latest(limit).first().map(|event| event.id);
        let last = self.0.told.borrow().last;
        drop(ring);
        self.follow_after(first.map_or(last, |first| first - 1))
    }

    /// Ends readers after the events so far. Otherwise they would delay the end of the process.
    pub fn close(&self) {
        self.0.told.send_modify(|told| told.closed = true);
    }
}

/// One client's position in the log.
#[derive(Debug)]
pub struct Reader {
    log: EventLog,
    told: watch::Receiver<Told>,
    seen: u64,
}

impl Reader {
    /// The next events as server-sent ones; `None` after the log was closed. Dropping the future
    /// loses nothing.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Subscribe before reading, so that no later event is missed.
            let closed = self.told.borrow_and_update().closed;
            let events = self.log.after(self.seen, PORTION);
            if let Some(last) = events.last() {
                self.seen = last.id;
                let mut out = Vec::new();
                for event in events {
                    event.write(&mut out);
                }
                return Some(out.into());
            }
            if closed {
                return None;
            }
            // The sender is part of `log`.
            self.told.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    fn tell(log: &EventLog, message: &str) {
        log.publish(NewEvent::new(EventKind::NodeJoined, message));
    }

    async fn messages(reader: &mut Reader) -> Vec<String> {
        let events = reader.next().await.unwrap();
        let text = String::from_utf8(events.to_vec()).unwrap();
        text.split_terminator("\n\n")
            .map(|event| {
                let data = event
                    .lines()
                    .last()
                    .unwrap()
                    .strip_prefix("data: ")
                    .unwrap();
                let event: serde_json::Value = serde_json::from_str(data).unwrap();
                event["message"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    // spec: SEE-3
    #[tokio::test]
    async fn a_reader_resumes_and_gets_new_events() {
        let log = EventLog::new();
        for message in ["a", "b", "c"] {
            tell(&log, message);
        }
        let b = log.latest(2)[0].id;
        let mut after_b = log.follow_after(b);
        assert_eq!(messages(&mut after_b).await, ["c"]);
        let mut latest = log.follow_latest(2);
        assert_eq!(messages(&mut latest).await, ["b", "c"]);
        let mut none = log.follow_latest(0);
        let (heard, ()) = tokio::join!(messages(&mut none), async { tell(&log, "d") });
        assert_eq!(heard, ["d"]);
        assert_eq!(messages(&mut after_b).await, ["d"]);
    }

    // spec: SEE-3
    #[tokio::test]
    async fn a_closed_log_is_read_to_its_end() {
        let log = EventLog::new();
        let mut early = log.follow_latest(1);
        let waiting = async {
            assert_eq!(messages(&mut early).await, ["last"]);
            early.next().await
        };
        let (end, ()) = tokio::join!(waiting, async {
            tell(&log, "last");
            log.close();
        });
        assert_eq!(end, None);
    }

    // spec: SEE-3
    #[tokio::test]
    async fn ids_rise_from_one_process_to_the_next() {
        let (before, after) = (EventLog::new(), EventLog::new());
        tell(&before, "a");
        tell(&after, "b");
        let (a, b) = (before.latest(1)[0].id, after.latest(1)[0].id);
        assert!(b >= a && a < 1 << 53, "{a} {b}");
    }

    #[tokio::test]
    async fn a_reader_far_behind_catches_up_in_portions() {
        let log = EventLog::new();
        for number in 0..PORTION + 1 {
            tell(&log, &number.to_string());
        }
        let mut reader = log.follow_after(0);
        assert_eq!(messages(&mut reader).await.len(), PORTION);
        assert_eq!(messages(&mut reader).await.len(), 1);
    }
}
