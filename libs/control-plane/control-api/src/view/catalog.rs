//! Models, as `GET /v2/catalog/availability` shows them.

// Peers choose these numbers: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use http_server::Principal;
use pool_registry_types::NodeId;
use serde::Serialize;
use service_registry::NodeView;

use super::endpoints::{EndpointState, EndpointView, endpoints};
use crate::data_path::DataPathSource;

/// `GET /v2/catalog/availability`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogAnswer {
    /// Sorted by name.
    pub models: Vec<ModelAnswer>,
}

/// One model and its endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelAnswer {
    /// Its name.
    pub model: String,
    /// Whether a request is served now, or as soon as a slot is free.
    pub available: bool,
    /// Endpoints that name it, ready or not.
    pub endpoints: u32,
    /// Endpoints that are ready.
    pub endpoints_ready: u32,
    /// Free slots of the ready endpoints, counted live as in `GET /v2/status`.
    pub slots_free: u64,
    /// Slots of the ready endpoints, as last reported by the nodes.
    pub slots_total: u64,
    /// The nodes of the endpoints that name it, sorted.
    pub nodes: Vec<NodeId>,
}

/// Builds the catalog node by node.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Who it is for.
    caller: Principal,
    models: BTreeMap<String, ModelAnswer>,
}

impl Catalog {
    /// An empty catalog of the models that this caller may use.
    pub(crate) fn of(caller: Principal) -> Self {
        Self {
            caller,
            models: BTreeMap::new(),
        }
    }

    /// Adds the models of a node. Nodes come sorted by id.
    pub(crate) fn add(&mut self, node: &NodeView, data_path: &dyn DataPathSource) {
        for pool in &node.pools {
            for endpoint in endpoints(pool) {
                let ready = endpoint.state() == EndpointState::Ready;
                for name in endpoint.models().into_iter().flatten() {
                    let key = self.caller.identity();
                    if key.is_some_and(|key| !key.limits.allows_model(name)) {
                        continue;
                    }
                    self.model(name).add(&endpoint, ready, data_path);
                }
            }
        }
    }

    fn model(&mut self, name: &str) -> &mut ModelAnswer {
        self.models
            .entry(name.to_owned())
            .or_insert_with(|| ModelAnswer {
                model: name.to_owned(),
                ..ModelAnswer::default()
            })
    }

    pub(crate) fn into_answer(self) -> CatalogAnswer {
        CatalogAnswer {
            models: self.models.into_values().collect(),
        }
    }
}

impl ModelAnswer {
    fn add(&mut self, endpoint: &EndpointView<'_>, ready: bool, data_path: &dyn DataPathSource) {
        self.endpoints = self.endpoints.saturating_add(1);
        if self.nodes.last() != Some(&endpoint.key.node) {
            self.nodes.push(endpoint.key.node.clone());
        }
        if ready {
            self.endpoints_ready = self.endpoints_ready.saturating_add(1);
            self.slots_free = self
                .slots_free
                .saturating_add(endpoint.slots_free(data_path).into());
            self.slots_total = self
                .slots_total
                .saturating_add(endpoint.slots_total().into());
            self.available |= endpoint.slots_total() > 0;
        }
    }
}
