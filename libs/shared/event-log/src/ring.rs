//! The last events, by rising id. Pure: ids and times are arguments.

use std::{collections::VecDeque, sync::Arc};

use crate::Event;

/// How many events are kept: a day of a quiet fleet, an hour of a busy one, about 300 KB.
pub const CAPACITY: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
}

impl Ring {
    /// Adds the newest event, and drops the oldest if there is no room. Ids must rise.
    pub(crate) fn push(&mut self, event: Event) {
        if self.events.len() == CAPACITY {
            self.events.pop_front();
        }
        self.events.push_back(Arc::new(event));
    }

    /// The first `limit` events after `id`. An id higher than all events belongs to another
    /// process; then all events count as new.
    pub(crate) fn after(&self, id: u64, limit: usize) -> Vec<Arc<Event>> {
        let newest = self.events.back().map_or(0, |event| event.id);
        let from = if id > newest {
            0
        } else {
            self.events.partition_point(|event| event.id <= id)
        };
        self.events.iter().skip(from).take(limit).cloned().collect()
    }

    /// The newest `limit` events, oldest first.
    pub(crate) fn latest(&self, limit: usize) -> Vec<Arc<Event>> {
        let from = self.events.len().saturating_sub(limit);
        self.events.iter().skip(from).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::EventKind;

    fn ring(first: u64, count: u64) -> Ring {
        let mut ring = Ring::default();
        for id in first..first + count {
            ring.push(Event {
                id,
                at: String::new(),
                kind: EventKind::NodeJoined,
                node_id: None,
                pool_id: None,
                model: None,
                message: String::new(),
            });
        }
        ring
    }

    fn ids(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.id).collect()
    }

    // spec: SEE-4
    #[test]
    fn the_oldest_go_first() {
        let ring = ring(1, CAPACITY as u64 + 5);
        assert_eq!(ring.events.len(), CAPACITY);
        assert_eq!(ids(&ring.after(0, 2)), [6, 7]);
        assert_eq!(ids(&ring.latest(2)), [1004, 1005]);
    }

    #[test]
    fn an_id_of_the_future_is_of_another_process() {
        assert_eq!(ids(&ring(10, 3).after(99, 9)), [10, 11, 12]);
        assert_eq!(ids(&ring(10, 3).after(12, 9)), Vec::<u64>::new());
        assert_eq!(ids(&ring(10, 0).after(99, 9)), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn reading_in_portions_is_reading_at_once(
            count in 0_u64..40, after in 0_u64..50, portion in 1_usize..7,
        ) {
            let ring = ring(5, count);
            let whole = ids(&ring.after(after, usize::MAX));
            let (mut read, mut seen) = (Vec::new(), after);
            loop {
                let next = ids(&ring.after(seen, portion));
                let Some(last) = next.last() else { break };
                seen = *last;
                read.extend(next);
            }
            prop_assert_eq!(read, whole);
        }
    }
}
