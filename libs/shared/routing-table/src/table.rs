//! All endpoints and an index by model, changed in place.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use foldhash::fast::RandomState;

use crate::{Endpoint, EndpointKey, Report, Summary};

/// One change of what is known of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// It is there, and was last reported like this. The same `Arc` as before means that nothing
    /// but the report is new.
    Set(Arc<Endpoint>, Report),
    /// It is gone.
    Remove(Arc<Endpoint>),
}

/// Whoever routes requests by what the control plane knows.
pub trait RouteSink: Debug + Send + Sync {
    /// Takes in changes, in the order in which they happened. When it returns, the next request is
    /// routed by them.
    fn apply(&self, changes: &[RouteChange]);
}

/// What [`RoutingTable::set`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The endpoint's index. It stays the same until the endpoint is removed; then another one may
    /// get it.
    pub index: u32,
    /// What was known of it before; `None` when it is new, or nothing but the report has changed.
    pub replaced: Option<Arc<Endpoint>>,
    /// It was not there before.
    pub is_new: bool,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    report: Report,
}

/// The endpoints that serve a model.
#[derive(Debug, Default)]
struct Places {
    /// Indices, in the order of the endpoints' keys.
    places: Vec<u32>,
    /// How many of them take requests.
    routable: u32,
}

/// All endpoints and an index by model.
///
/// Each endpoint has an index for as long as it is there, so that data about each of them can be
/// kept in a list. A change costs the logarithm of the number of endpoints, and a new or removed
/// one a shift in the list of each of its models.
#[derive(Debug, Default)]
pub struct RoutingTable {
    entries: Vec<Option<Entry>>,
    /// What placement reads of them, at the same indices. That of an index without an endpoint
    /// takes no requests.
    summaries: Vec<Summary>,
    free: Vec<u32>,
    by_hash: HashMap<u64, u32, RandomState>,
    by_model: HashMap<String, Places, RandomState>,
    unnamed: Places,
}

impl RoutingTable {
    /// Takes in one endpoint as it is now.
    ///
    /// Two keys with the same hash cannot be told apart: the one that comes later takes the place
    /// of the other.
    pub fn set(&mut self, endpoint: &Arc<Endpoint>, report: Report) -> Set {
        let summary = Summary::new(endpoint.hash(), &report);
        if let Some(&index) = self.by_hash.get(&endpoint.hash())
            && let Some(entry) = self
                .entries
                .get_mut(index as usize)
                .and_then(Option::as_mut)
        {
            let is_same = Arc::ptr_eq(&entry.endpoint, endpoint) || entry.endpoint == *endpoint;
            let serves_the_same = is_same
                || (entry.endpoint.key() == endpoint.key()
                    && entry.endpoint.models() == endpoint.models());
            let before = entry.report.state.is_routable();
            if serves_the_same {
                let replaced = std::mem::replace(&mut entry.endpoint, Arc::clone(endpoint));
                entry.report = report;
                self.put_summary(index, summary);
                if before != report.state.is_routable() {
                    self.count_routable(endpoint, report.state.is_routable());
                }
                return Set {
                    index,
                    replaced: (!is_same).then_some(replaced),
                    is_new: false,
                };
            }
            let replaced = Arc::clone(&entry.endpoint);
            self.unlist(&replaced, before);
            self.put(index, endpoint, report, summary);
            return Set {
                index,
                replaced: Some(replaced),
                is_new: false,
            };
        }
        let index = self.free.pop().unwrap_or_else(|| {
            // A node's ids alone take more memory than an index can count.
            let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            self.entries.push(None);
            self.summaries.push(summary);
            index
        });
        self.by_hash.insert(endpoint.hash(), index);
        self.put(index, endpoint, report, summary);
        Set {
            index,
            replaced: None,
            is_new: true,
        }
    }

    /// Takes an endpoint out; returns the index that it had.
    pub fn remove(&mut self, endpoint: &Endpoint) -> Option<u32> {
        let index = self.index_of(endpoint)?;
        let known = self.entries.get(index as usize)?.as_ref()?;
        let (known, was_routable) = (
            Arc::clone(&known.endpoint),
            known.report.state.is_routable(),
        );
        self.unlist(&known, was_routable);
        self.by_hash.remove(&endpoint.hash());
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = None;
        }
        if let Some(summary) = self.summaries.get_mut(index as usize) {
            summary.state = crate::State::NotReady;
        }
        self.free.push(index);
        Some(index)
    }

    fn put(&mut self, index: u32, endpoint: &Arc<Endpoint>, report: Report, summary: Summary) {
        self.put_summary(index, summary);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Some(Entry {
                endpoint: Arc::clone(endpoint),
                report,
            });
        }
        let (entries, routable) = (&self.entries, u32::from(report.state.is_routable()));
        let add = |list: &mut Places| {
            let place = place_of(entries, &list.places, endpoint.key());
            if let Err(place) = place {
                list.places.insert(place, index);
                list.routable = list.routable.saturating_add(routable);
            }
        };
        match endpoint.models() {
            None => add(&mut self.unnamed),
            Some(models) => {
                for model in models.iter() {
                    match self.by_model.get_mut(model) {
                        Some(list) => add(list),
                        None => add(self.by_model.entry(model.clone()).or_default()),
                    }
                }
            }
        }
    }

    fn put_summary(&mut self, index: u32, summary: Summary) {
        if let Some(at) = self.summaries.get_mut(index as usize) {
            *at = summary;
        }
    }

    fn count_routable(&mut self, endpoint: &Endpoint, routable: bool) {
        let count = |list: &mut Places| {
            list.routable = if routable {
                list.routable.saturating_add(1)
            } else {
                list.routable.saturating_sub(1)
            };
        };
        match endpoint.models() {
            None => count(&mut self.unnamed),
            Some(models) => {
                for (position, model) in models.iter().enumerate() {
                    // One that is named twice is listed once.
                    if !models[..position].contains(model)
                        && let Some(list) = self.by_model.get_mut(model)
                    {
                        count(list);
                    }
                }
            }
        }
    }

    /// Takes an endpoint, which is still there, out of the lists of its models.
    fn unlist(&mut self, endpoint: &Endpoint, was_routable: bool) {
        let entries = &self.entries;
        let take = |list: &mut Places| {
            if let Ok(place) = place_of(entries, &list.places, endpoint.key()) {
                list.places.remove(place);
                list.routable = list.routable.saturating_sub(u32::from(was_routable));
            }
        };
        match endpoint.models() {
            None => take(&mut self.unnamed),
            Some(models) => {
                for model in models.iter() {
                    if let Some(list) = self.by_model.get_mut(model) {
                        take(list);
                        if list.places.is_empty() {
                            self.by_model.remove(model);
                        }
                    }
                }
            }
        }
    }

    /// The index of an endpoint of that name.
    #[must_use]
    pub fn index_of(&self, endpoint: &Endpoint) -> Option<u32> {
        let index = self.by_hash(endpoint.hash())?;
        let known = self.endpoint(index)?;
        (known.key() == endpoint.key()).then_some(index)
    }

    /// The index of the endpoint with that name.
    #[must_use]
    pub fn find(&self, key: &EndpointKey) -> Option<u32> {
        let index = self.by_hash(key.stable_hash())?;
        (self.endpoint(index)?.key() == key).then_some(index)
    }

    /// The index of the endpoint with that [`Summary::hash`].
    #[must_use]
    pub fn by_hash(&self, hash: u64) -> Option<u32> {
        self.by_hash.get(&hash).copied()
    }

    /// The endpoint at an index.
    #[must_use]
    pub fn endpoint(&self, index: u32) -> Option<&Arc<Endpoint>> {
        let entry = self.entries.get(index as usize)?.as_ref()?;
        Some(&entry.endpoint)
    }

    /// What was last reported of the endpoint at an index.
    #[must_use]
    pub fn report(&self, index: u32) -> Option<&Report> {
        let entry = self.entries.get(index as usize)?.as_ref()?;
        Some(&entry.report)
    }

    /// What placement reads of all of them, by index. There may be some that stand for no endpoint;
    /// no list of candidates names these.
    #[must_use]
    pub fn summaries(&self) -> &[Summary] {
        &self.summaries
    }

    /// All endpoints with their indices and reports, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Endpoint>, &Report)> {
        let entries = (0_u32..).zip(&self.entries);
        entries.filter_map(|(index, entry)| {
            let entry = entry.as_ref()?;
            Some((index, &entry.endpoint, &entry.report))
        })
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// The models that are served, and how many of their endpoints take requests, in no order.
    pub fn models(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        self.by_model
            .iter()
            .map(|(model, places)| (model.as_str(), places.routable))
    }

    /// Indices of the endpoints that may serve `model`, in the order of their keys.
    ///
    /// Those that name the model; when none does, those that name no models at all, because their
    /// engine has not told and may know it. Empty means that nobody can serve the model.
    #[must_use]
    pub fn candidates(&self, model: &str) -> &[u32] {
        &self.by_model.get(model).unwrap_or(&self.unnamed).places
    }

    /// The place of an endpoint among the [`candidates`](Self::candidates) for `model`; `None`
    /// where it is not one of them.
    #[must_use]
    pub fn position(&self, model: &str, index: u32) -> Option<usize> {
        let endpoint = self.endpoint(index)?;
        place_of(&self.entries, self.candidates(model), endpoint.key()).ok()
    }

    /// Whether an endpoint names `model` as one it serves.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        self.by_model.contains_key(model)
    }

    /// Whether an endpoint serves `model` and takes requests for it.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.by_model
            .get(model)
            .is_some_and(|places| places.routable > 0)
    }

    /// The one model of the table, when there is exactly one: what a request without `model` can
    /// only mean.
    #[must_use]
    pub fn only_model(&self) -> Option<&str> {
        if self.by_model.len() == 1 && self.unnamed.places.is_empty() {
            self.by_model.keys().next().map(String::as_str)
        } else {
            None
        }
    }
}

/// Where an endpoint of that name is in a list, or would be.
fn place_of(entries: &[Option<Entry>], places: &[u32], key: &EndpointKey) -> Result<usize, usize> {
    places.binary_search_by_key(&Some(key), |index| {
        let entry = entries.get(*index as usize)?.as_ref()?;
        Some(entry.endpoint.key())
    })
}

#[cfg(test)]
mod tests;
