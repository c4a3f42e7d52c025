//! When time alone changes what is known of an endpoint: one moment for each, in order.

use std::{collections::BTreeSet, time::Duration};

/// The moments by index. To notice what is due costs as much as there is due, however many others
/// there are.
#[derive(Debug, Default)]
pub(crate) struct DueTimes {
    by_index: Vec<Option<Duration>>,
    in_order: BTreeSet<(Duration, u32)>,
}

impl DueTimes {
    /// Something happens at `index` at that moment, and nothing that was to happen there before.
    pub(crate) fn set(&mut self, index: u32, at: Option<Duration>) {
        let place = index as usize;
        if self.by_index.len() <= place {
            self.by_index.resize(place.saturating_add(1), None);
        }
        let Some(known) = self.by_index.get_mut(place) else {
            return;
        };
        if *known == at {
            return;
        }
        if let Some(before) = std::mem::replace(known, at) {
            self.in_order.remove(&(before, index));
        }
        if let Some(at) = at {
            self.in_order.insert((at, index));
        }
    }

    /// The first moment.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Takes out one index that is due.
    pub(crate) fn take(&mut self, now: Duration) -> Option<u32> {
        let &(at, index) = self.in_order.first()?;
        if at > now {
            return None;
        }
        self.set(index, None);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    // spec: ADM-31
    #[test]
    fn what_is_due_is_found_in_order_and_nothing_else_is_looked_at() {
        let mut due = DueTimes::default();
        for index in 0..10_000 {
            due.set(index, Some((10_000 - index) * MS));
        }
        due.set(9_000, Some(1 * MS));
        due.set(9_999, None);
        assert_eq!(due.next(), Some(MS));
        let found: Vec<u32> = std::iter::from_fn(|| due.take(3 * MS)).collect();
        assert_eq!(found, [9_000, 9_998, 9_997]);
        assert_eq!((due.in_order.len(), due.next()), (9_996, Some(4 * MS)));
        due.set(1, Some(4 * MS));
        assert_eq!(due.in_order.len(), 9_996, "one moment for each");
    }
}
