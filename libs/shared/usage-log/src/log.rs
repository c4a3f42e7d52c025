//! The handle with which usage is recorded and read.

use std::{fmt, sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use crate::{
    day::Day,
    totals::{Usage, UsageCursor, UsagePage, UsageQuery, UsageTotals},
};

/// The rows that are looked at under one lock.
const LOCKED_ROWS: usize = 1000;

/// Counts usage. Clones share the counts.
#[derive(Clone)]
pub struct UsageLog(pub(crate) Arc<Mutex<UsageTotals>>);

impl UsageLog {
    /// A log whose counts end with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Arc::default())
    }

    /// Counts a usage of a key, by id and name, at a moment.
    pub fn record(
        &self,
        at: SystemTime,
        key: (&Arc<str>, &Arc<str>),
        model: &Arc<str>,
        usage: Usage,
    ) {
        self.0.lock().add(Day::of(at), key, model, &usage);
    }

    /// Up to `limit` rows after a position; 0 for none. The next page begins at
    /// [`UsagePage::next`].
    #[must_use]
    pub fn page(&self, query: &UsageQuery, after: Option<&UsageCursor>, limit: usize) -> UsagePage {
        let mut all = UsagePage {
            rows: Vec::new(),
            next: after.cloned(),
        };
        loop {
            let left = limit.saturating_sub(all.rows.len());
            if left == 0 {
                return all;
            }
            let page = self
                .0
                .lock()
                .page(query, all.next.as_ref(), left.min(LOCKED_ROWS));
            all.rows.extend(page.rows);
            all.next = page.next;
            if all.next.is_none() {
                return all;
            }
        }
    }

    /// The tokens that each key, by id, has used on a day.
    #[must_use]
    pub fn tokens_on(&self, day: Day) -> Vec<(Arc<str>, u64)> {
        self.0.lock().tokens_on(day)
    }
}

impl fmt::Debug for UsageLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageLog").finish_non_exhaustive()
    }
}
