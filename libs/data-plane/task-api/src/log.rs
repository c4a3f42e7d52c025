//! The events of one task. They are appended at the end, read from any position, and never removed.

use crate::event::TaskEvent;

/// All events of a task so far. None is ever removed, so a reader can get what it missed.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    events: Vec<TaskEvent>,
    bytes: usize,
}

impl EventLog {
    /// Appends an event, unless the log is closed. Returns whether it was appended.
    pub(crate) fn append(&mut self, event: TaskEvent) -> bool {
        if self.is_closed() {
            return false;
        }
        self.bytes += event.size();
        self.events.push(event);
        true
    }

    /// The events after `position`: about `max_bytes` of them, and at least one if there is one.
    pub(crate) fn after(&self, position: u64, max_bytes: usize) -> &[TaskEvent] {
        let rest = usize::try_from(position)
            .ok()
            .and_then(|position| self.events.get(position..))
            .unwrap_or_default();
        let mut bytes = 0;
        let fits = rest
            .iter()
            .take_while(|event| {
                let fits = bytes < max_bytes;
                bytes += event.size();
                fits
            })
            .count();
        rest.get(..fits).unwrap_or_default()
    }

    /// The number of events.
    pub(crate) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    /// Their memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last event so far.
    pub(crate) fn last(&self) -> Option<&TaskEvent> {
        self.events.last()
    }

    /// Whether no more events follow: the task has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.events.last().is_some_and(TaskEvent::is_last)
    }
}

#[cfg(test)]
mod tests {
    use pool_registry_types::ErrorCode;

    use super::*;
    use crate::event::{TaskError, Token};

    fn token(i: u32) -> TaskEvent {
        TaskEvent::Token(Token {
            t: "12345678".into(),
            i,
            reasoning: false,
        })
    }

    #[test]
    fn a_read_is_limited_and_always_advances() {
        let mut log = EventLog::default();
        for i in 0..10 {
            assert!(log.append(token(i)));
        }
        assert_eq!(log.after(0, 0).len(), 0);
        assert_eq!(log.after(0, 1).len(), 1);
        assert_eq!(log.after(0, 3 * token(0).size()).len(), 3);
        assert_eq!(log.after(7, usize::MAX).len(), 3);
        assert_eq!(log.after(10, usize::MAX).len(), 0);
        assert_eq!(log.after(u64::MAX, usize::MAX).len(), 0);
        assert_eq!(log.bytes(), 10 * token(0).size());
    }

    #[test]
    fn nothing_follows_the_last_event() {
        let mut log = EventLog::default();
        assert!(log.append(TaskEvent::Error(TaskError::new(ErrorCode::Cancelled, "x"))));
        assert!(log.is_closed());
        assert!(!log.append(token(0)));
        assert_eq!(log.len(), 1);
    }
}
