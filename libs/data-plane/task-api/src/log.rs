//! The events of one task: appended at the end, read from any point, complete from the first to the
//! last.

use crate::event::Event;

/// Everything a task has told so far. Nothing is ever taken out, so whatever a reader has missed is
/// still there.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    events: Vec<Event>,
    bytes: usize,
}

impl EventLog {
    /// Adds an event, unless the last one was told.
    pub(crate) fn append(&mut self, event: Event) -> bool {
        if self.is_closed() {
            return false;
        }
        self.bytes += event.size();
        self.events.push(event);
        true
    }

    /// What follows the first `seen` events, up to about `max_bytes`, but one event at least where
    /// there is one.
    pub(crate) fn after(&self, seen: u64, max_bytes: usize) -> &[Event] {
        let rest = usize::try_from(seen)
            .ok()
            .and_then(|seen| self.events.get(seen..))
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

    /// How many events there are.
    pub(crate) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    /// How much memory they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The latest event.
    pub(crate) fn last(&self) -> Option<&Event> {
        self.events.last()
    }

    /// Whether the last event has been told.
    pub(crate) fn is_closed(&self) -> bool {
        self.events.last().is_some_and(Event::is_last)
    }
}

#[cfg(test)]
mod tests {
    use pool_registry_types::ErrorCode;

    use super::*;
    use crate::event::{Failure, Token};

    fn token(i: u32) -> Event {
        Event::Token(Token {
            t: "12345678".into(),
            i,
            reasoning: false,
        })
    }

    #[test]
    fn reads_in_portions_and_never_stands_still() {
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
        assert!(log.append(Event::Error(Failure::new(ErrorCode::Cancelled, "x"))));
        assert!(log.is_closed());
        assert!(!log.append(token(0)));
        assert_eq!(log.len(), 1);
    }
}
