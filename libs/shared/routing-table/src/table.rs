//! All endpoints with an index by model, updated in place.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use foldhash::fast::RandomState;
use pool_registry_types::ModelName;

use crate::{Endpoint, EndpointKey, EndpointReport, EndpointSummary};

/// One change of the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// The endpoint exists, with this report. The same `Arc` as before means that only the report
    /// is new.
    Set(Arc<Endpoint>, EndpointReport),
    /// The endpoint no longer exists.
    Remove(Arc<Endpoint>),
}

/// A receiver of route changes, which routes requests by them.
pub trait RouteSink: Debug + Send + Sync {
    /// Applies changes in order. When it returns, the next request is routed by them.
    fn apply(&self, changes: &[RouteChange]);
}

/// The effect of [`RoutingTable::set`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetResult {
    /// The endpoint's index. It is stable until the endpoint is removed, and may be reused then.
    pub index: u32,
    /// The previous endpoint; `None` when the endpoint is new, or only its report has changed.
    pub replaced: Option<Arc<Endpoint>>,
    /// Whether the table did not have the endpoint before.
    pub is_new: bool,
}

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    report: EndpointReport,
}

/// The endpoints that serve a model.
#[derive(Debug, Default)]
struct ModelEndpoints {
    /// Sorted by the endpoints' keys.
    indices: Vec<u32>,
    /// How many of them accept requests.
    routable: u32,
}

/// All endpoints with an index by model.
///
/// Each endpoint keeps its index until it is removed, so callers can keep data about endpoints in
/// a vector. A change costs the logarithm of the number of endpoints; a new or removed endpoint
/// also shifts the list of each of its models.
#[derive(Debug, Default)]
pub struct RoutingTable {
    entries: Vec<Option<Entry>>,
    /// Parallel to `entries`. The summary of an unused index accepts no requests.
    summaries: Vec<EndpointSummary>,
    free: Vec<u32>,
    by_hash: HashMap<u64, u32, RandomState>,
    by_model: HashMap<ModelName, ModelEndpoints, RandomState>,
    without_models: ModelEndpoints,
}

impl RoutingTable {
    /// Adds or updates one endpoint.
    ///
    /// Two keys with the same hash are indistinguishable: the later one replaces the other.
    pub fn set(&mut self, endpoint: &Arc<Endpoint>, report: EndpointReport) -> SetResult {
        let summary = EndpointSummary::new(endpoint.hash(), &report);
        if let Some(&index) = self.by_hash.get(&endpoint.hash())
            && let Some(entry) = self
                .entries
                .get_mut(index as usize)
                .and_then(Option::as_mut)
        {
            let is_unchanged =
                Arc::ptr_eq(&entry.endpoint, endpoint) || entry.endpoint == *endpoint;
            let has_same_models = is_unchanged
                || (entry.endpoint.key() == endpoint.key()
                    && entry.endpoint.models() == endpoint.models());
            let before = entry.report.state.is_routable();
            if has_same_models {
                let replaced = std::mem::replace(&mut entry.endpoint, Arc::clone(endpoint));
                entry.report = report;
                self.put_summary(index, summary);
                if before != report.state.is_routable() {
                    self.count_routable(endpoint, report.state.is_routable());
                }
                return SetResult {
                    index,
                    replaced: (!is_unchanged).then_some(replaced),
                    is_new: false,
                };
            }
            let replaced = Arc::clone(&entry.endpoint);
            self.unlist(&replaced, before);
            self.put(index, endpoint, report, summary);
            return SetResult {
                index,
                replaced: Some(replaced),
                is_new: false,
            };
        }
        let index = self.free.pop().unwrap_or_else(|| {
            // Memory is exhausted long before the index overflows.
            let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            self.entries.push(None);
            self.summaries.push(summary);
            index
        });
        self.by_hash.insert(endpoint.hash(), index);
        self.put(index, endpoint, report, summary);
        SetResult {
            index,
            replaced: None,
            is_new: true,
        }
    }

    /// Removes an endpoint and returns its former index.
    pub fn remove(&mut self, endpoint: &Endpoint) -> Option<u32> {
        let index = self.index_of(endpoint)?;
        let current = self.entries.get(index as usize)?.as_ref()?;
        let (current, was_routable) = (
            Arc::clone(&current.endpoint),
            current.report.state.is_routable(),
        );
        self.unlist(&current, was_routable);
        self.by_hash.remove(&endpoint.hash());
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = None;
        }
        if let Some(summary) = self.summaries.get_mut(index as usize) {
            summary.state = crate::EndpointState::NotReady;
        }
        self.free.push(index);
        Some(index)
    }

    fn put(
        &mut self,
        index: u32,
        endpoint: &Arc<Endpoint>,
        report: EndpointReport,
        summary: EndpointSummary,
    ) {
        self.put_summary(index, summary);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Some(Entry {
                endpoint: Arc::clone(endpoint),
                report,
            });
        }
        let (entries, routable) = (&self.entries, u32::from(report.state.is_routable()));
        let add = |list: &mut ModelEndpoints| {
            let position = search(entries, &list.indices, endpoint.key());
            if let Err(position) = position {
                list.indices.insert(position, index);
                list.routable = list.routable.saturating_add(routable);
            }
        };
        match endpoint.models() {
            None => add(&mut self.without_models),
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

    fn put_summary(&mut self, index: u32, summary: EndpointSummary) {
        if let Some(at) = self.summaries.get_mut(index as usize) {
            *at = summary;
        }
    }

    fn count_routable(&mut self, endpoint: &Endpoint, routable: bool) {
        let count = |list: &mut ModelEndpoints| {
            list.routable = if routable {
                list.routable.saturating_add(1)
            } else {
                list.routable.saturating_sub(1)
            };
        };
        match endpoint.models() {
            None => count(&mut self.without_models),
            Some(models) => {
                for (position, model) in models.iter().enumerate() {
                    // An endpoint that names a model twice is listed once.
                    if !models[..position].contains(model)
                        && let Some(list) = self.by_model.get_mut(model)
                    {
                        count(list);
                    }
                }
            }
        }
    }

    /// Removes an endpoint from the lists of its models. It must still be in `entries`.
    fn unlist(&mut self, endpoint: &Endpoint, was_routable: bool) {
        let entries = &self.entries;
        let remove = |list: &mut ModelEndpoints| {
            if let Ok(position) = search(entries, &list.indices, endpoint.key()) {
                list.indices.remove(position);
                list.routable = list.routable.saturating_sub(u32::from(was_routable));
            }
        };
        match endpoint.models() {
            None => remove(&mut self.without_models),
            Some(models) => {
                for model in models.iter() {
                    if let Some(list) = self.by_model.get_mut(model) {
                        remove(list);
                        if list.indices.is_empty() {
                            self.by_model.remove(model);
                        }
                    }
                }
            }
        }
    }

    /// The index of the endpoint with the same key.
    #[must_use]
    pub fn index_of(&self, endpoint: &Endpoint) -> Option<u32> {
        let index = self.by_hash(endpoint.hash())?;
        let current = self.endpoint(index)?;
        (current.key() == endpoint.key()).then_some(index)
    }

    /// The index of the endpoint with this key.
    #[must_use]
    pub fn find(&self, key: &EndpointKey) -> Option<u32> {
        let index = self.by_hash(key.stable_hash())?;
        (self.endpoint(index)?.key() == key).then_some(index)
    }

    /// The index of the endpoint with this [`EndpointSummary::hash`].
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

    /// The last report of the endpoint at an index.
    #[must_use]
    pub fn report(&self, index: u32) -> Option<&EndpointReport> {
        let entry = self.entries.get(index as usize)?.as_ref()?;
        Some(&entry.report)
    }

    /// The summaries of all endpoints, by index. Unused indices have one too, but no list of
    /// candidates contains them.
    #[must_use]
    pub fn summaries(&self) -> &[EndpointSummary] {
        &self.summaries
    }

    /// All endpoints with their indices and reports, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Endpoint>, &EndpointReport)> {
        let entries = (0_u32..).zip(&self.entries);
        entries.filter_map(|(index, entry)| {
            let entry = entry.as_ref()?;
            Some((index, &entry.endpoint, &entry.report))
        })
    }

    /// The number of endpoints.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there are no endpoints.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// The served models, each with the number of its endpoints that accept requests, in no
    /// particular order.
    pub fn models(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        self.by_model
            .iter()
            .map(|(model, endpoints)| (model.as_str(), endpoints.routable))
    }

    /// Indices of the endpoints that may serve `model`, sorted by key.
    ///
    /// These are the endpoints that name the model. When none does, these are the endpoints that
    /// name no models at all: their engines have not reported yet and may have it. An empty list
    /// means that no endpoint can serve the model.
    #[must_use]
    pub fn candidates(&self, model: &str) -> &[u32] {
        &self
            .by_model
            .get(model)
            .unwrap_or(&self.without_models)
            .indices
    }

    /// The position of an endpoint among the [`candidates`](Self::candidates) for `model`; `None`
    /// if it is not a candidate.
    #[must_use]
    pub fn position(&self, model: &str, index: u32) -> Option<usize> {
        let endpoint = self.endpoint(index)?;
        search(&self.entries, self.candidates(model), endpoint.key()).ok()
    }

    /// The endpoints of the pool of `endpoint` that serve one of its models, itself included.
    ///
    /// An endpoint that shares several models with it is repeated. Endpoints of other pools are
    /// not visited.
    pub fn pool_peers(&self, endpoint: &Endpoint) -> impl Iterator<Item = u32> {
        let (models, without_models) = match endpoint.models() {
            Some(models) => (&**models, None),
            None => (&[][..], Some(&self.without_models)),
        };
        let lists = models.iter().filter_map(|model| self.by_model.get(model));
        let key = endpoint.key();
        lists
            .chain(without_models)
            .flat_map(move |list| self.pool_of(key, &list.indices))
    }

    /// The part of a sorted list of indices that belongs to the pool of `key`.
    fn pool_of<'a>(
        &self,
        key: &EndpointKey,
        indices: &'a [u32],
    ) -> impl Iterator<Item = u32> + use<'a> {
        let pool_at = |index: &u32| {
            let key = self.endpoint(*index)?.key();
            Some((&key.node, &key.pool))
        };
        let pool = Some((&key.node, &key.pool));
        let start = indices.partition_point(|index| pool_at(index) < pool);
        let end = indices.partition_point(|index| pool_at(index) <= pool);
        indices.get(start..end).unwrap_or_default().iter().copied()
    }

    /// Whether an endpoint names `model`.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        self.by_model.contains_key(model)
    }

    /// Whether an endpoint names `model` and accepts requests.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.by_model
            .get(model)
            .is_some_and(|endpoints| endpoints.routable > 0)
    }

    /// The number of endpoints that name `model` and accept requests.
    #[must_use]
    pub fn routable(&self, model: &str) -> u32 {
        self.by_model
            .get(model)
            .map_or(0, |endpoints| endpoints.routable)
    }

    /// The only model of the table, if there is exactly one. A request without `model` then means
    /// this one.
    #[must_use]
    pub fn only_model(&self) -> Option<&str> {
        if self.by_model.len() == 1 && self.without_models.indices.is_empty() {
            self.by_model.keys().next().map(ModelName::as_str)
        } else {
            None
        }
    }
}

/// The position of a key in a sorted list of indices, or where it would be inserted.
fn search(entries: &[Option<Entry>], indices: &[u32], key: &EndpointKey) -> Result<usize, usize> {
    indices.binary_search_by_key(&Some(key), |index| {
        let entry = entries.get(*index as usize)?.as_ref()?;
        Some(entry.endpoint.key())
    })
}

#[cfg(test)]
mod tests;
