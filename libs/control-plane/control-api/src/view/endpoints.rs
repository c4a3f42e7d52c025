//! The endpoints of a pool, as its node last reported them.

use pool_registry_types::{ModelName, PoolStatus, ReplicaStatus};
use routing_table::EndpointKey;
use service_registry::{Availability, PoolView};

use crate::data_path::DataPathSource;

/// One endpoint: a replica, or the pool as a whole.
#[derive(Debug)]
pub(crate) struct EndpointView<'a> {
    pub(crate) key: &'a EndpointKey,
    /// The report about the replica, when the endpoint is one.
    replica: Option<&'a ReplicaStatus>,
    pool: &'a PoolView,
}

/// The state of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndpointState {
    /// It takes requests.
    Ready,
    /// It finishes running requests and takes no new ones.
    Draining,
    /// It takes no requests, for this reason.
    NotReady(String),
}

/// The endpoints of a pool, in the order of their names.
pub(crate) fn endpoints(pool: &PoolView) -> Vec<EndpointView<'_>> {
    let mut endpoints: Vec<_> = pool
        .endpoints
        .iter()
        .map(|key| EndpointView {
            key,
            replica: key.replica.as_ref().and_then(|id| {
                let mut replicas = pool.status.replicas.iter().flatten();
                replicas.find(|replica| replica.replica_id == *id)
            }),
            pool,
        })
        .collect();
    endpoints.sort_by(|a, b| a.key.cmp(b.key));
    endpoints
}

impl EndpointView<'_> {
    fn status(&self) -> &PoolStatus {
        &self.pool.status
    }

    /// The state that follows from the node, the drains and the report about the replica.
    pub(crate) fn state(&self) -> EndpointState {
        match (&self.pool.availability, self.replica) {
            (Availability::NotReady(reason), _) => {
                EndpointState::NotReady(reason.as_ref().to_owned())
            }
            (Availability::Draining, _) => EndpointState::Draining,
            (Availability::Ready | Availability::Asleep, None) => EndpointState::Ready,
            (Availability::Ready | Availability::Asleep, Some(replica)) => {
                if replica.draining {
                    EndpointState::Draining
                } else if replica.ready {
                    EndpointState::Ready
                } else {
                    let error = replica.last_error.as_deref();
                    EndpointState::NotReady(error.unwrap_or("the replica is not ready").to_owned())
                }
            }
        }
    }

    /// Free slots, as the data path counts them now. Without it, as last reported.
    pub(crate) fn slots_free(&self, data_path: &dyn DataPathSource) -> u32 {
        let reported = || {
            self.replica
                .map_or(self.status().slots_free(), |replica| replica.slots_free())
        };
        let free = data_path.slots_free(self.key).unwrap_or_else(reported);
        // The data path may know of a change of the total before or after the registry.
        free.min(self.slots_total())
    }

    /// All slots, as last reported.
    pub(crate) fn slots_total(&self) -> u32 {
        self.replica
            .map_or(self.status().slots_total(), |replica| replica.slots_total())
    }

    /// The most tokens of one request.
    pub(crate) fn context_length(&self) -> Option<u32> {
        self.replica.and_then(|replica| replica.context_length())
    }

    /// Its models, sorted and without duplicates; `None` when no report names them.
    pub(crate) fn models(&self) -> Option<Vec<&str>> {
        let pool = &self.status().models_available;
        let lists: Vec<&Vec<ModelName>> = match self.replica {
            Some(replica) => self.status().models_of(replica).into_iter().collect(),
            None => {
                let replicas = self.status().replicas.iter().flatten();
                let named = replicas.filter_map(|replica| replica.models.as_ref());
                pool.iter().chain(named).collect()
            }
        };
        if lists.is_empty() {
            return None;
        }
        let mut names: Vec<&str> = lists.into_iter().flatten().map(ModelName::as_str).collect();
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}
