//! Counts and records of the requests.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::request::Request;

/// How many requests are remembered; a longer run counts them and forgets the oldest.
const RECORDS: usize = 4096;

/// Counts since the start. Only inference requests are counted, except by `connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Requests that hold a slot now. The slot becomes free right before the write that completes
    /// the answer, as in real engines: a client that has read the whole answer finds it free.
    pub running: u32,
    /// The most requests that held a slot at the same time.
    pub peak: u32,
    /// Requests that came.
    pub requests: u64,
    /// Requests that were answered completely, refusals included; counted after the last write.
    pub finished: u64,
    /// Requests whose client disconnected before the end, also from a silent or stalled answer.
    pub cancelled: u64,
    /// Requests whose answer the script cut or ended early.
    pub broken: u64,
    /// Connections that were accepted.
    pub connections: u64,
}

/// One inference request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// SHA-256 of the body in hexadecimal digits.
    pub body_sha256: String,
    /// Length of the body in bytes.
    pub body_len: usize,
    /// Whether it asked for a stream.
    pub stream: bool,
}

impl Record {
    /// The value of a header field; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished,
    Cancelled,
    Broken,
}

/// The counters behind [`Stats`].
#[derive(Debug)]
pub(crate) struct Counters {
    running: AtomicU32,
    peak: AtomicU32,
    requests: AtomicU64,
    finished: AtomicU64,
    cancelled: AtomicU64,
    broken: AtomicU64,
    connections: AtomicU64,
    records: Option<Mutex<VecDeque<Record>>>,
    changed: watch::Sender<()>,
}

impl Counters {
    pub(crate) fn new(record: bool) -> Self {
        Self {
            running: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            records: record.then(Mutex::default),
            changed: watch::Sender::new(()),
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.changed.send_replace(());
    }

    /// Counts a request as running until the returned guard is told its end, or dropped: then it
    /// was cancelled.
    pub(crate) fn begin(&self, request: &Request, stream: bool) -> Running<'_> {
        if let Some(records) = &self.records {
            let mut records = records.lock();
            if records.len() == RECORDS {
                records.pop_front();
            }
            records.push_back(Record {
                path: request.path.clone(),
                headers: request.headers.clone(),
                body_sha256: hex(&Sha256::digest(&request.body)),
                body_len: request.body.len(),
                stream,
            });
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::AcqRel) + 1;
        self.peak.fetch_max(running, Ordering::AcqRel);
        self.changed.send_replace(());
        Running {
            counters: self,
            outcome: Outcome::Cancelled,
            holds_slot: true,
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            running: self.running.load(Ordering::Acquire),
            peak: self.peak.load(Ordering::Acquire),
            requests: self.requests.load(Ordering::Acquire),
            finished: self.finished.load(Ordering::Acquire),
            cancelled: self.cancelled.load(Ordering::Acquire),
            broken: self.broken.load(Ordering::Acquire),
            connections: self.connections.load(Ordering::Acquire),
        }
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records
            .as_ref()
            .map(|records| records.lock().iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    counters: &'a Counters,
    outcome: Outcome,
    holds_slot: bool,
}

impl Running<'_> {
    /// Gives the slot up; how the request ends is still to come.
    pub(crate) fn free_slot(&mut self) {
        if std::mem::take(&mut self.holds_slot) {
            self.counters.running.fetch_sub(1, Ordering::AcqRel);
            self.counters.changed.send_replace(());
        }
    }

    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let counter = match self.outcome {
            Outcome::Finished => &self.counters.finished,
            Outcome::Cancelled => &self.counters.cancelled,
            Outcome::Broken => &self.counters.broken,
        };
        counter.fetch_add(1, Ordering::AcqRel);
        self.free_slot();
        self.counters.changed.send_replace(());
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
