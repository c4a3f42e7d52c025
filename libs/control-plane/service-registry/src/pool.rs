//! The pools of a node as reported, and their endpoints for the data path.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pool_registry_types::{
    HttpUrl, ModelName, NodeId, PoolId, PoolStatus, ReplicaId, ReplicaStatus, Slots,
    limits::MAX_ID_BYTES,
};
use routing_table::{Endpoint, EndpointKey, EndpointReport, EndpointState, RouteChange};

use crate::RegistryError;

/// The properties that all endpoints of a node share.
#[derive(Debug)]
pub(crate) struct NodeContext<'a> {
    pub(crate) node_id: &'a NodeId,
    pub(crate) address: &'a HttpUrl,
    /// 0 for an agent without incarnations. The number of the report still rises.
    pub(crate) incarnation: u64,
    /// Whether each reported replica is an endpoint.
    pub(crate) takes_replica_hint: bool,
}

/// A pool as reported, and its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) status: Arc<PoolStatus>,
    target: Arc<HttpUrl>,
    pub(crate) routes: Box<[Route]>,
}

/// An endpoint, and its last published state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The index of its replica; `None` when the whole pool is the endpoint.
    replica: Option<u16>,
    /// `None` until this endpoint is published.
    published: Option<EndpointReport>,
}

/// Whether the endpoints of a pool may take requests at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolGate {
    Open,
    Draining,
    Shut,
}

impl Pool {
    /// Builds a pool. It reuses the endpoints of `before` whose lasting properties are the same.
    fn build(
        home: &NodeContext<'_>,
        target: Arc<HttpUrl>,
        status: Arc<PoolStatus>,
        before: Option<&Self>,
    ) -> Self {
        let replicas = if home.takes_replica_hint {
            distinct(status.replicas.as_deref().unwrap_or_default())
        } else {
            Vec::new()
        };
        let mut known = PreviousPool {
            before: before.filter(|before| Arc::ptr_eq(&before.target, &target)),
            home,
            by_replica: None,
        };
        let routes = if replicas.is_empty() {
            Box::new([known.route(&target, &status, None)]) as Box<[Route]>
        } else {
            let route = |replica: u16| known.route(&target, &status, Some(replica));
            replicas.into_iter().map(route).collect()
        };
        Self {
            status,
            target,
            routes,
        }
    }

    /// Publishes the endpoints whose state has changed. `number` is that of the report.
    pub(crate) fn publish(&mut self, gate: PoolGate, number: u64, changes: &mut Vec<RouteChange>) {
        let status = &self.status;
        for route in &mut self.routes {
            let report = report(status, route.replica, gate, number);
            if route.published != Some(report) {
                route.published = Some(report);
                changes.push(RouteChange::Set(Arc::clone(&route.endpoint), report));
            }
        }
    }

    pub(crate) fn into_endpoints(self) -> impl Iterator<Item = Arc<Endpoint>> {
        self.routes.into_iter().map(|route| route.endpoint)
    }

    /// Whether one of its endpoints serves the model.
    pub(crate) fn names(&self, model: &str) -> bool {
        let models = self
            .routes
            .iter()
            .filter_map(|route| route.endpoint.models());
        models
            .flat_map(|models| models.iter())
            .any(|name| name == model)
    }
}

/// Builds the pools of `statuses`, with the endpoints of `before` where they are the same. Returns
/// also the removed endpoints. `has_moved` means that the address of the node has changed.
pub(crate) fn rebuild(
    home: &NodeContext<'_>,
    before: &[Pool],
    statuses: impl IntoIterator<Item = Arc<PoolStatus>>,
    has_moved: bool,
) -> Result<(Vec<Pool>, Vec<Arc<Endpoint>>), RegistryError> {
    let mut by_id = None;
    let mut after = Vec::with_capacity(before.len());
    // Nodes report their pools in the same order each time, so most are at the same place.
    let mut same_place = 0;
    for (place, mut status) in statuses.into_iter().enumerate() {
        let known = before
            .get(place)
            .filter(|known| known.status.pool_id == status.pool_id);
        same_place += usize::from(known.is_some());
        let known = known.or_else(|| {
            let by_id = by_id.get_or_insert_with(|| index(before, |pool| &pool.status.pool_id));
            by_id
                .get(&status.pool_id)
                .and_then(|place| before.get(*place))
        });
        if let (Some(known), Some(status)) = (known, Arc::get_mut(&mut status)) {
            share_ids(&known.status, status);
        }
        let target = match known.filter(|_| !has_moved) {
            Some(known) => Arc::clone(&known.target),
            None => Arc::new(target(home.node_id, home.address, status.pool_id.as_str())?),
        };
        after.push(Pool::build(home, target, status, known));
    }
    let in_place = same_place == before.len() && before.len() == after.len();
    let gone = gone(before, &after, in_place);
    Ok((after, gone))
}

/// Shares the memory of ids that are known already.
fn share_ids(known: &PoolStatus, status: &mut PoolStatus) {
    status.pool_id = known.pool_id.clone();
    let (known, replicas) = (
        known.replicas.iter().flatten(),
        status.replicas.iter_mut().flatten(),
    );
    for (known, replica) in known.zip(replicas) {
        if known.replica_id == replica.replica_id {
            replica.replica_id = known.replica_id.clone();
        }
    }
}

/// The endpoints of `before` whose keys are not in `after`.
fn gone(before: &[Pool], after: &[Pool], in_place: bool) -> Vec<Arc<Endpoint>> {
    let same_name = |(before, after): (&Route, &Route)| {
        Arc::ptr_eq(&before.endpoint, &after.endpoint)
            || before.endpoint.key() == after.endpoint.key()
    };
    let same_names = |(before, after): (&Pool, &Pool)| {
        before.routes.len() == after.routes.len()
            && before.routes.iter().zip(&after.routes).all(same_name)
    };
    if in_place && before.iter().zip(after).all(same_names) {
        return Vec::new();
    }
    let kept: BTreeSet<&EndpointKey> = routes(after).map(|route| route.endpoint.key()).collect();
    let gone = routes(before).filter(|route| !kept.contains(route.endpoint.key()));
    gone.map(|route| Arc::clone(&route.endpoint)).collect()
}

fn routes(pools: &[Pool]) -> impl Iterator<Item = &Route> {
    pools.iter().flat_map(|pool| &pool.routes)
}

/// Finds endpoints of the previous report of a pool.
struct PreviousPool<'a> {
    before: Option<&'a Pool>,
    home: &'a NodeContext<'a>,
    by_replica: Option<BTreeMap<Option<&'a ReplicaId>, usize>>,
}

impl<'a> PreviousPool<'a> {
    /// The endpoint of a replica, or of the pool: the previous one, if its lasting properties are
    /// the same.
    fn route(&mut self, target: &Arc<HttpUrl>, status: &PoolStatus, place: Option<u16>) -> Route {
        let replica = at(status, place);
        let generation = replica.and_then(|replica| replica.generation).unwrap_or(0);
        let known = self.find(place, replica.map(|replica| &replica.replica_id));
        let incarnation = self.home.incarnation;
        let context_length = replica.and_then(|replica| replica.context_length());
        let owned_by = replica.and_then(|replica| replica.owned_by.as_ref());
        let same = |(before, route): &(&Pool, &Route)| {
            let endpoint = &route.endpoint;
            endpoint.incarnation() == incarnation
                && endpoint.generation() == generation
                && endpoint.context_length() == context_length
                && endpoint.owned_by() == owned_by
                && (same_models((&before.status, route.replica), (status, place))
                    || endpoint.models() == models(status, replica).as_ref())
        };
        if let Some((_, route)) = known.filter(same) {
            return Route {
                endpoint: Arc::clone(&route.endpoint),
                replica: place,
                published: route.published,
            };
        }
        let key = EndpointKey {
            node: self.home.node_id.clone(),
            pool: status.pool_id.clone(),
            replica: replica.map(|replica| replica.replica_id.clone()),
        };
        let models = models(status, replica);
        let endpoint = Endpoint::new(key, incarnation, generation, Arc::clone(target), models)
            .with_model_facts(context_length, owned_by.cloned());
        Route {
            endpoint: Arc::new(endpoint),
            replica: place,
            published: None,
        }
    }

    /// Nodes report their replicas in the same order each time, so most are at the same place.
    fn find(
        &mut self,
        place: Option<u16>,
        replica: Option<&ReplicaId>,
    ) -> Option<(&'a Pool, &'a Route)> {
        let before = self.before?;
        let is_it = |route: &&Route| route.endpoint.key().replica.as_ref() == replica;
        let here = before
            .routes
            .get(usize::from(place.unwrap_or(0)))
            .filter(is_it);
        let route = here.or_else(|| {
            let name = |route: &'a Route| route.endpoint.key().replica.as_ref();
            let by_replica = self
                .by_replica
                .get_or_insert_with(|| index(&before.routes, name));
            before.routes.get(*by_replica.get(&replica)?)
        })?;
        Some((before, route))
    }
}

fn index<'a, T, K: Ord>(list: &'a [T], key: impl Fn(&'a T) -> K) -> BTreeMap<K, usize> {
    list.iter()
        .enumerate()
        .map(|(place, entry)| (key(entry), place))
        .collect()
}

/// The indexes of the replicas. Of two with the same id the first counts.
fn distinct(replicas: &[ReplicaStatus]) -> Vec<u16> {
    let places = 0..u16::try_from(replicas.len()).unwrap_or(u16::MAX);
    if replicas.is_sorted_by(|a, b| a.replica_id < b.replica_id) {
        return places.collect();
    }
    let mut seen = BTreeSet::new();
    let is_new = |place: &u16| {
        let replica = replicas.get(usize::from(*place));
        replica.is_some_and(|replica| seen.insert(&replica.replica_id))
    };
    places.filter(is_new).collect()
}

fn at(status: &PoolStatus, place: Option<u16>) -> Option<&ReplicaStatus> {
    status.replicas.as_ref()?.get(usize::from(place?))
}

fn report(status: &PoolStatus, place: Option<u16>, gate: PoolGate, number: u64) -> EndpointReport {
    let replica = at(status, place);
    let (ready, sleeping) = replica.map_or((status.ready, status.sleeping), |replica| {
        // The engine of a sleeping replica starts when a request needs it.
        (
            replica.ready,
            status.sleeping || replica.load.sleeping == Some(true),
        )
    });
    let state = match gate {
        PoolGate::Shut => EndpointState::NotReady,
        PoolGate::Draining => EndpointState::Draining,
        PoolGate::Open if replica.is_some_and(|replica| replica.draining) => {
            EndpointState::Draining
        }
        PoolGate::Open if !ready => EndpointState::NotReady,
        PoolGate::Open if sleeping => EndpointState::ScaledToZero,
        PoolGate::Open => EndpointState::Ready,
    };
    let (slots_total, slots_free) = replica
        .map_or((status.slots_total(), status.slots_free()), |replica| {
            (replica.slots_total(), replica.slots_free())
        });
    EndpointReport {
        number,
        state,
        slots_total,
        slots_free,
        vram_free_bytes: status.vram_free_bytes,
    }
}

/// The URL at which the node forwards to the engines of a pool.
fn target(node_id: &NodeId, address: &HttpUrl, pool: &str) -> Result<HttpUrl, RegistryError> {
    HttpUrl::new(&format!("{address}/v2/pools/{pool}/engine")).map_err(|_| {
        RegistryError::AddressTooLong {
            node_id: node_id.clone(),
        }
    })
}

/// Refuses an address that is too long for some pool id.
pub(crate) fn check_address(node_id: &NodeId, address: &HttpUrl) -> Result<(), RegistryError> {
    let longest_pool_id = "p".repeat(MAX_ID_BYTES);
    target(node_id, address, &longest_pool_id).map(|_| ())
}

/// The models of a replica: see [`PoolStatus::models_of`]. The models of a pool: its own, and those
/// of its replicas. `None` when no report names any.
fn models(status: &PoolStatus, replica: Option<&ReplicaStatus>) -> Option<Arc<[ModelName]>> {
    let pool = status.models_available.as_ref();
    let lists: Vec<&Vec<ModelName>> = match replica {
        Some(replica) => status.models_of(replica).into_iter().collect(),
        None => pool.into_iter().chain(replica_models(status)).collect(),
    };
    if lists.is_empty() {
        return None;
    }
    let names: BTreeSet<&ModelName> = lists.into_iter().flatten().collect();
    Some(names.into_iter().cloned().collect())
}

/// Whether two reports name the same models for an endpoint, without sorting them.
fn same_models(before: (&PoolStatus, Option<u16>), after: (&PoolStatus, Option<u16>)) -> bool {
    let same_pool = || before.0.models_available == after.0.models_available;
    match (at(before.0, before.1), at(after.0, after.1)) {
        (Some(replica), Some(replica_after)) => {
            before.0.models_of(replica) == after.0.models_of(replica_after)
        }
        (None, None) => same_pool() && replica_models(before.0).eq(replica_models(after.0)),
        _ => false,
    }
}

fn replica_models(status: &PoolStatus) -> impl Iterator<Item = &Vec<ModelName>> {
    let replicas = status.replicas.iter().flatten();
    replicas.filter_map(|replica| replica.models.as_ref())
}

/// The pool as expected of the next incarnation of its node: not ready, with the same models and
/// replicas, so that requests for them wait.
pub(crate) fn not_ready(status: &PoolStatus) -> PoolStatus {
    let mut status = status.clone();
    status.ready = false;
    status.draining = false;
    status.set_slots(Slots::clamped(0, status.slots_total()));
    status.last_error = None;
    status.sleeping = false;
    for replica in status.replicas.iter_mut().flatten() {
        let mut unknown = ReplicaStatus::new(replica.replica_id.clone())
            .with_slots(Slots::clamped(0, replica.slots_total()));
        unknown.models = replica.models.take();
        *replica = unknown;
    }
    status
}

/// A pool of which only the id is known.
pub(crate) fn placeholder(pool_id: PoolId) -> PoolStatus {
    PoolStatus::new(pool_id)
}
