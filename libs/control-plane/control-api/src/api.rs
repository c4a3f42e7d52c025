//! The API and the extractors of its handlers.

use std::{net::SocketAddr, sync::Arc};

use address_ranges::AddressRanges;
use axum::{extract::FromRequestParts, http::request::Parts};
use event_log::EventLog;
use http_server::ApiError;
use registry_runtime::RegistryHandle;
use tokio::time::Instant;

use crate::{
    data_path::{DataPathSource, NoDataPath},
    errors::cloud_profile_disabled,
    node_control::{NodeControl, SharedNodeControl, Unconnected},
};

/// The API, before it is mounted as routes. Clones share the registry and the views.
#[derive(Clone)]
pub struct ControlApi {
    pub(crate) registry: RegistryHandle,
    /// Whether nodes may join over HTTP.
    pub(crate) takes_registrations: bool,
    join_hint: &'static str,
    pub(crate) node_control: SharedNodeControl,
    pub(crate) data_path: Arc<dyn DataPathSource>,
    pub(crate) events: EventLog,
    pub(crate) version: &'static str,
    pub(crate) started: Instant,
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// The only addresses that nodes may have.
    pub(crate) node_addresses: Option<AddressRanges>,
}

impl ControlApi {
    /// The API over `registry`, in the CLOUD profile.
    #[must_use]
    pub fn new(registry: RegistryHandle) -> Self {
        Self {
            registry,
            takes_registrations: true,
            join_hint: "start it in the CLOUD profile",
            node_control: Arc::new(Unconnected),
            data_path: Arc::new(NoDataPath),
            events: EventLog::new(),
            version: env!("CARGO_PKG_VERSION"),
            started: Instant::now(),
            metrics_addr: None,
            node_addresses: None,
        }
    }

    /// Whether nodes may join over HTTP. In the HOME profile they may not: registrations,
    /// heartbeats and deregistrations are answered 503 `CLOUD_PROFILE_DISABLED`; everything else is
    /// the same.
    #[must_use]
    pub fn with_registrations(mut self, are_allowed: bool) -> Self {
        self.takes_registrations = are_allowed;
        self
    }

    /// Tells nodes that may not join what an operator has to do: an imperative without a full stop.
    #[must_use]
    pub fn with_join_hint(mut self, hint: &'static str) -> Self {
        self.join_hint = hint;
        self
    }

    /// Forwards to nodes what only they can do: drains of replicas, restarts, reloads.
    #[must_use]
    pub fn with_node_control(mut self, node_control: Arc<dyn NodeControl>) -> Self {
        self.node_control = node_control;
        self
    }

    /// Shows the state of the data path: quarantines, running requests, traffic.
    #[must_use]
    pub fn with_data_path(mut self, data_path: Arc<dyn DataPathSource>) -> Self {
        self.data_path = data_path;
        self
    }

    /// Serves the events of `events`.
    #[must_use]
    pub fn with_events(mut self, events: EventLog) -> Self {
        self.events = events;
        self
    }

    /// Announces to Prometheus the address at which this process serves metrics without a token.
    #[must_use]
    pub fn with_metrics_at(mut self, bound: Option<SocketAddr>) -> Self {
        self.metrics_addr = bound;
        self
    }

    /// Refuses registrations with an address outside these ranges. A name is judged when it is
    /// connected to.
    #[must_use]
    pub fn with_node_addresses(mut self, allowed: AddressRanges) -> Self {
        self.node_addresses = Some(allowed);
        self
    }

    /// Shows the version of the control plane.
    #[must_use]
    pub fn with_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }
}

impl std::fmt::Debug for ControlApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlApi")
            .field("takes_registrations", &self.takes_registrations)
            .finish_non_exhaustive()
    }
}

/// Rejects requests of nodes in the HOME profile. Handlers take it first, so that the rest of the
/// request does not matter there.
pub(crate) struct RegistrationsAllowed;

impl FromRequestParts<ControlApi> for RegistrationsAllowed {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, api: &ControlApi) -> Result<Self, ApiError> {
        if api.takes_registrations {
            Ok(Self)
        } else {
            Err(cloud_profile_disabled(api.join_hint))
        }
    }
}
