//! The counts, in memory: a pure core.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    day::Day,
    limits::{MAX_METRIC_KEYS, MAX_MODELS_A_DAY, OTHER},
};

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests that an engine has got.
    pub requests: u64,
    /// Tokens of prompts, as engines report them.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// How long requests held slots, in milliseconds.
    pub slot_ms: u64,
}

impl Usage {
    /// Adds another usage. Beyond 64 bits it stands still.
    pub(crate) fn add(&mut self, more: &Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.slot_ms = self.slot_ms.saturating_add(more.slot_ms);
    }

    /// All tokens.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// The usage of one key and model on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The day.
    pub day: Day,
    /// The id of the key.
    pub key_id: Arc<str>,
    /// The name of the key, as it was last used.
    pub key_name: Arc<str>,
    /// The model, or `other`.
    pub model: Arc<str>,
    /// What was used.
    pub usage: Usage,
}

impl UsageRow {
    /// The position of the row.
    #[must_use]
    pub fn cursor(&self) -> UsageCursor {
        UsageCursor {
            day: self.day,
            key_id: Arc::clone(&self.key_id),
            model: Arc::clone(&self.model),
        }
    }
}

/// Which rows to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only this key, by its id or its name.
    pub key: Option<String>,
    /// Only this model.
    pub model: Option<String>,
    /// From this day on.
    pub from: Option<Day>,
    /// Up to this day, which is included.
    pub to: Option<Day>,
}

/// The position of a row: rows are sorted by day, then by key, then by model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCursor {
    /// The day.
    pub day: Day,
    /// The id of the key.
    pub key_id: Arc<str>,
    /// The model.
    pub model: Arc<str>,
}

/// Some rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsagePage {
    /// The rows, in order.
    pub rows: Vec<UsageRow>,
    /// Whether there may be more after the last one that was looked at.
    pub next: Option<UsageCursor>,
}

/// The counts of all keys.
#[derive(Debug, Default)]
pub(crate) struct UsageTotals {
    days: BTreeMap<Day, BTreeMap<Arc<str>, KeyUsage>>,
    /// The rows that have changed since they were last taken.
    changed: Vec<UsageCursor>,
    /// What each key has used since the start, for metrics.
    since_start: BTreeMap<Arc<str>, (Arc<str>, Usage)>,
}

#[derive(Debug)]
struct KeyUsage {
    name: Arc<str>,
    models: BTreeMap<Arc<str>, Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    usage: Usage,
    is_changed: bool,
}

impl UsageTotals {
    /// Counts a usage of a key, by id and name.
    pub(crate) fn add(
        &mut self,
        day: Day,
        (key_id, name): (&Arc<str>, &Arc<str>),
        model: &Arc<str>,
        usage: &Usage,
    ) {
        self.count_since_start(key_id, name, usage);
        let key = self.key_mut(day, key_id, name);
        if !Arc::ptr_eq(&key.name, name) && key.name != *name {
            key.name = Arc::clone(name);
        }
        let (model, counted) = key.model_mut(model);
        counted.usage.add(usage);
        if !std::mem::replace(&mut counted.is_changed, true) {
            self.changed.push(UsageCursor {
                day,
                key_id: Arc::clone(key_id),
                model,
            });
        }
    }

    /// Sets a total that was kept; a later one replaces it.
    pub(crate) fn restore(&mut self, row: &UsageRow) {
        let key = self.key_mut(row.day, &row.key_id, &row.key_name);
        key.name = Arc::clone(&row.key_name);
        key.model_mut(&row.model).1.usage = row.usage;
    }

    /// The rows that have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<UsageRow> {
        let changed = std::mem::take(&mut self.changed);
        let rows = changed.into_iter().filter_map(|at| {
            let key = self.days.get_mut(&at.day)?.get_mut(&at.key_id)?;
            let counted = key.models.get_mut(&at.model)?;
            counted.is_changed = false;
            Some(UsageRow {
                day: at.day,
                key_id: at.key_id,
                key_name: Arc::clone(&key.name),
                model: at.model,
                usage: counted.usage,
            })
        });
        rows.collect()
    }

    /// Rows that were taken could not be kept.
    pub(crate) fn not_kept(&mut self, rows: &[UsageRow]) {
        for row in rows {
            let keys = self.days.get_mut(&row.day);
            let key = keys.and_then(|keys| keys.get_mut(&row.key_id));
            let counted = key.and_then(|key| key.models.get_mut(&row.model));
            if let Some(counted) = counted
                && !std::mem::replace(&mut counted.is_changed, true)
            {
                self.changed.push(row.cursor());
            }
        }
    }

    /// Forgets the days before this one.
    pub(crate) fn forget_before(&mut self, day: Day) {
        self.days = self.days.split_off(&day);
    }

    /// Rows after a position. It looks at no more than `limit` rows, so that a query that finds few
    /// of many holds the lock no longer than others.
    pub(crate) fn page(
        &self,
        query: &UsageQuery,
        after: Option<&UsageCursor>,
        limit: usize,
    ) -> UsagePage {
        let mut page = UsagePage::default();
        let first = query.from.max(after.map(|after| after.day));
        let days = first.map_or(Unbounded, Included);
        let mut left = limit;
        for (day, keys) in self.days.range((days, Unbounded)) {
            if query.to.is_some_and(|to| *day > to) {
                return page;
            }
            let after = after.filter(|after| after.day == *day);
            let first = after.map_or(Unbounded, |after| Included(&*after.key_id));
            for (key_id, key) in keys.range::<str, _>((first, Unbounded)) {
                let after = after.filter(|after| after.key_id == *key_id);
                let first = after.map_or(Unbounded, |after| Excluded(&*after.model));
                for (model, counted) in key.models.range::<str, _>((first, Unbounded)) {
                    if left == 0 {
                        return page;
                    }
                    left -= 1;
                    let row = UsageRow {
                        day: *day,
                        key_id: Arc::clone(key_id),
                        key_name: Arc::clone(&key.name),
                        model: Arc::clone(model),
                        usage: counted.usage,
                    };
                    if left == 0 {
                        page.next = Some(row.cursor());
                    }
                    if query.shows(&row) {
                        page.rows.push(row);
                    }
                }
            }
        }
        page.next = None;
        page
    }

    /// The tokens of each key on one day.
    pub(crate) fn tokens_on(&self, day: Day) -> Vec<(Arc<str>, u64)> {
        let keys = self.days.get(&day).into_iter().flatten();
        let tokens = |key: &KeyUsage| {
            let models = key.models.values();
            models.fold(0_u64, |sum, counted| {
                sum.saturating_add(counted.usage.tokens())
            })
        };
        keys.map(|(key_id, key)| (Arc::clone(key_id), tokens(key)))
            .collect()
    }

    /// What each key has used since the start: its id, its name and its usage.
    pub(crate) fn since_start(&self) -> Vec<(Arc<str>, Arc<str>, Usage)> {
        let keys = self.since_start.iter();
        keys.map(|(key_id, (name, usage))| (Arc::clone(key_id), Arc::clone(name), *usage))
            .collect()
    }

    fn count_since_start(&mut self, key_id: &Arc<str>, name: &Arc<str>, usage: &Usage) {
        if let Some((_, total)) = self.since_start.get_mut(key_id) {
            total.add(usage);
            return;
        }
        let (key_id, name) = if self.since_start.len() < MAX_METRIC_KEYS {
            (Arc::clone(key_id), Arc::clone(name))
        } else {
            (OTHER.into(), OTHER.into())
        };
        let (_, total) = (self.since_start.entry(key_id)).or_insert((name, Usage::default()));
        total.add(usage);
    }

    fn key_mut(&mut self, day: Day, key_id: &Arc<str>, name: &Arc<str>) -> &mut KeyUsage {
        let keys = self.days.entry(day).or_default();
        keys.entry(Arc::clone(key_id)).or_insert_with(|| KeyUsage {
            name: Arc::clone(name),
            models: BTreeMap::new(),
        })
    }
}

impl KeyUsage {
    fn model_mut(&mut self, model: &Arc<str>) -> (Arc<str>, &mut Counted) {
        let is_known = self.models.contains_key(model);
        let model = if is_known || self.models.len() < MAX_MODELS_A_DAY {
            Arc::clone(model)
        } else {
            OTHER.into()
        };
        let counted = self.models.entry(Arc::clone(&model)).or_default();
        (model, counted)
    }
}

impl UsageQuery {
    fn shows(&self, row: &UsageRow) -> bool {
        let key = self.key.as_deref();
        let model = self.model.as_deref();
        key.is_none_or(|key| key == &*row.key_id || key == &*row.key_name)
            && model.is_none_or(|model| model == &*row.model)
    }
}
