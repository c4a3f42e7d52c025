//! Reads the events of a task, from the beginning or after the last event that a client read.

use std::sync::Arc;

use bytes::Bytes;
use http_server::EventSource;
use tokio::sync::{Notify, watch};

use crate::{event::EventId, handle::TaskHandle};

/// How many bytes of events a reader takes at a time: enough to catch up fast, and little enough to
/// hold for each reader.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a reader cannot resume after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumeError {
    /// The event belongs to an earlier task with the same id.
    OtherRun,
    /// The task has no such event yet.
    NotYet,
    /// It was the last event.
    ReadToTheEnd,
}

/// One client's position in a task's events.
#[derive(Debug)]
pub(crate) struct EventReader {
    task: Arc<TaskHandle>,
    /// The number of events that were read.
    position: u64,
    event_count: watch::Receiver<u64>,
    /// The last field, so that the reader is no longer counted when this is dropped.
    _left: NotifyOnDrop,
}

/// Notifies that a reader has left.
#[derive(Debug)]
struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl EventReader {
    /// Starts after the event `last`, or at the beginning. `left` is notified when the reader is
    /// dropped.
    pub(crate) fn new(
        task: Arc<TaskHandle>,
        last: Option<EventId>,
        left: Arc<Notify>,
    ) -> Result<Self, ResumeError> {
        let event_count = task.subscribe();
        let position = match last {
            None => 0,
            Some(last) if last.run != task.run => return Err(ResumeError::OtherRun),
            Some(last) => last.number,
        };
        let (count, is_closed) = task.with_task(|task| (task.log().len(), task.log().is_closed()));
        if position > count {
            return Err(ResumeError::NotYet);
        }
        if last.is_some() && is_closed && position == count {
            return Err(ResumeError::ReadToTheEnd);
        }
        Ok(Self {
            task,
            position,
            event_count,
            _left: NotifyOnDrop(left),
        })
    }

    /// Takes the events that are there.
    fn read(&mut self) -> ReadResult {
        let (run, position) = (self.task.run, &mut self.position);
        self.task.with_task(|task| {
            let events = task.log().after(*position, CHUNK_BYTES);
            if events.is_empty() {
                return if task.log().is_closed() {
                    ReadResult::End
                } else {
                    ReadResult::Pending
                };
            }
            let mut chunk = Vec::new();
            for event in events {
                *position += 1;
                let number = *position;
                event.write(EventId { run, number }, &mut chunk);
            }
            ReadResult::Events(chunk.into())
        })
    }
}

impl EventSource for EventReader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Marked before reading, so that a later event wakes this reader.
            self.event_count.mark_unchanged();
            match self.read() {
                ReadResult::Events(events) => return Some(events),
                ReadResult::End => return None,
                ReadResult::Pending => {}
            }
            // The sender lives in `task`.
            self.event_count.changed().await.ok()?;
        }
    }
}

enum ReadResult {
    Events(Bytes),
    /// No event is there yet.
    Pending,
    /// No more events follow.
    End,
}

#[cfg(test)]
mod tests;
