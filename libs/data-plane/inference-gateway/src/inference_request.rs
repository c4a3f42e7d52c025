//! Reads an inference request: what it asks of the gateway, and what goes on to an engine.

use std::{sync::Arc, time::Duration};

use admission::{Admission, Priority, RoutingPreference};
use bytes::Bytes;
use http::{HeaderName, Request, header::ACCEPT_ENCODING, request::Parts, uri::PathAndQuery};
use http_server::RequestBody;
use pool_registry_types::{ErrorCode, headers};
use request_forwarding::removed_request_headers;
use stream_proxy::Outbound;

use crate::{
    config::GatewayConfig,
    error::GatewayError,
    model_name::{ResolvedModel, named_fields, resolve},
    observer::RequestObserver,
    options::{self, RequestOptions},
    retry::RetryState,
    route,
};

removed_request_headers! {
    /// Credentials and options for the gateway, and headers that only a gateway may send to a node.
    static NOT_FORWARDED = [
        ACCEPT_ENCODING,
        HeaderName::from_static("x-api-key"),
        options::DEADLINE,
        options::PRIORITY,
        options::STRATEGY,
        options::PIN_NODE,
    ];
}

/// The most headers that are added to a request: its id, its trace, and for a node the token, the
/// mark of a gateway, the model and the replica.
const SET_HEADERS: usize = 6;

/// How long a request may wait for a slot, instead of the configured time. An extension of requests
/// that come from within the process: a task can wait longer than a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTimeout(pub Duration);

/// A valid request, ready to be sent.
#[derive(Debug)]
pub(crate) struct InferenceRequest {
    /// The client's bytes, without what was meant for the gateway.
    pub(crate) outbound: Outbound,
    /// The client asks for a stream.
    pub(crate) is_stream: bool,
    pub(crate) preference: Arc<RoutingPreference>,
    pub(crate) priority: Priority,
    /// The client's name for the model, if it is an alias.
    pub(crate) alias: Option<String>,
}

impl InferenceRequest {
    /// Reads a request and tells `observer` its model and its limits.
    pub(crate) async fn read(
        request: Request<RequestBody>,
        config: &GatewayConfig,
        admission: &Admission,
        observer: &mut RequestObserver,
    ) -> Result<Self, GatewayError> {
        let (mut parts, body) = request.into_parts();
        let started = observer.started();
        let options = RequestOptions::read(&parts.headers, config.strategy, started)?;
        let body = body.read_all(config.max_body_bytes).await?;
        let fields = named_fields(&parts.headers, &body);
        let is_stream = matches!(&fields, Ok(fields) if fields.stream == Some(true));
        let model = match fields.map(|fields| fields.model) {
            Ok(Some(model)) => model.into_owned(),
            // A path that is not listed is a route only if the body names a model.
            Ok(None) | Err(_) if observer.route() == route::OTHER => {
                return Err(no_such_route());
            }
            Ok(None) => only_model(admission)?,
            Err(error) => return Err(error.into()),
        };
        let ResolvedModel { model, alias, body } =
            resolve(&config.aliases, model, &mut parts.headers, body)?;
        let (priority, deadline) = (options.priority, options.deadline);
        let preference = options.routing_preference(&model, &body);
        let queue_timeout = match parts.extensions.get() {
            Some(QueueTimeout(own)) => *own,
            None => admission.max_wait(),
        };
        observer.read(model, RetryState::new(deadline, queue_timeout));
        let mut outbound = outbound(parts, body);
        if let Some(id) = observer.request_id() {
            outbound.set_headers.push((headers::REQUEST_ID, id));
        }
        if let Some(header) = observer.trace(&mut outbound.headers) {
            outbound.set_headers.push(header);
        }
        Ok(Self {
            outbound,
            is_stream,
            preference,
            priority,
            alias,
        })
    }
}

/// The model of a request without `model`: the only one, if there is exactly one.
fn only_model(admission: &Admission) -> Result<String, GatewayError> {
    admission.only_model().ok_or_else(|| {
        GatewayError::invalid(
            "model",
            "`model` is missing: it must name one of the models that GET /v1/models lists",
        )
    })
}

/// The path is no route.
pub(crate) fn no_such_route() -> GatewayError {
    GatewayError::new(
        ErrorCode::NotFound,
        "there is no such route; GET /v1/models lists the models",
    )
}

fn outbound(parts: Parts, body: Bytes) -> Outbound {
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    Outbound {
        removed_headers: &NOT_FORWARDED,
        set_headers: Vec::with_capacity(SET_HEADERS),
        ..Outbound::new(parts.method, path, parts.headers, body)
    }
}
