//! A granted slot, and how its request ends.

use std::{sync::Arc, time::Duration};

use routing_table::Endpoint;

use crate::{
    circuit_breaker::EndpointFailure,
    request::{RoutingPreference, Ticket},
};

/// A slot on an endpoint, which [`AdmissionCore::release`](super::AdmissionCore::release) takes
/// back.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The endpoint's index when the slot was granted. It may belong to another endpoint now.
    pub(crate) index: u32,
    pub(crate) ticket: Ticket,
    /// When the slot was granted.
    pub(crate) since: Duration,
    /// The endpoint was scaled to zero, so the request makes its node start the engine.
    pub(crate) starts_engine: bool,
    /// The probe number, if the request is a probe of the endpoint's breaker.
    pub(crate) probe: Option<u64>,
    /// For strategies that remember where requests went; `None` for the others.
    pub(super) preference: Option<Arc<RoutingPreference>>,
    /// How many leading blocks of the prompt the endpoint had seen before this request.
    pub(super) known_blocks: usize,
    /// The key of the session's conversation.
    pub(super) session: Option<u64>,
    /// The slot is already given back, because the node used a replica that is unknown here.
    pub(super) is_released: bool,
}

/// How a request on an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestEnd {
    /// The endpoint responded.
    Served,
    /// The endpoint responded, but not as it should.
    Answered,
    /// The endpoint failed.
    Failed(EndpointFailure),
    /// The endpoint was busy or accepts no new requests. `pause` is the pause that it asked for.
    Refused { pause: Option<Duration> },
    /// The endpoint's node refused the request for the whole pool.
    PoolRefused { pause: Option<Duration> },
    /// There is no evidence: the client left.
    Abandoned,
}
