//! When time alone changes the load of an endpoint: at most one deadline each, in order.

use std::{collections::BTreeSet, time::Duration};

/// The deadlines by index. The cost of finding due deadlines depends on how many are due, and not
/// on how many exist.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_index: Vec<Option<Duration>>,
    in_order: BTreeSet<(Duration, u32)>,
}

impl Deadlines {
    /// Replaces the deadline of `index`.
    pub(crate) fn set(&mut self, index: u32, at: Option<Duration>) {
        let position = index as usize;
        if self.by_index.len() <= position {
            self.by_index.resize(position.saturating_add(1), None);
        }
        let Some(current) = self.by_index.get_mut(position) else {
            return;
        };
        if *current == at {
            return;
        }
        if let Some(before) = std::mem::replace(current, at) {
            self.in_order.remove(&(before, index));
        }
        if let Some(at) = at {
            self.in_order.insert((at, index));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Removes one due deadline and returns its index.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<u32> {
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
    fn due_deadlines_are_found_in_order_and_no_others_are_visited() {
        let mut deadlines = Deadlines::default();
        for index in 0..10_000 {
            deadlines.set(index, Some((10_000 - index) * MS));
        }
        deadlines.set(9_000, Some(1 * MS));
        deadlines.set(9_999, None);
        assert_eq!(deadlines.next(), Some(MS));
        let due: Vec<u32> = std::iter::from_fn(|| deadlines.pop_due(3 * MS)).collect();
        assert_eq!(due, [9_000, 9_998, 9_997]);
        let left = (deadlines.in_order.len(), deadlines.next());
        assert_eq!(left, (9_996, Some(4 * MS)));
        deadlines.set(1, Some(4 * MS));
        assert_eq!(deadlines.in_order.len(), 9_996, "one deadline per index");
    }
}
