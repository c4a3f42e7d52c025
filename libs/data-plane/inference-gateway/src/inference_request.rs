//! Reads an inference request: what it asks of the gateway, and what goes on to an engine.

use std::{sync::Arc, time::Duration};

use admission::{Admission, Priority, RoutingPreference};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Uri,
    header::{
        ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, FORWARDED, ORIGIN, REFERER,
    },
    request::Parts,
    uri::PathAndQuery,
};
use http_server::{RequestBody, without_byte_order_mark};
use pool_registry_types::{ErrorCode, headers};
use request_forwarding::removed_request_headers;
use stream_proxy::Outbound;

use crate::{
    config::GatewayConfig,
    dialect::Dialect,
    error::GatewayError,
    model_name::{ResolvedModel, named_fields, resolve},
    observer::RequestObserver,
    options::{self, RequestOptions},
    peek::check_model,
    query,
    retry::RetryState,
    route::{EngineMethod, Route},
    stored_responses::{ResponseOwner, StoredResponses},
    usage_option::with_usage,
};

removed_request_headers! {
    /// Credentials and options for the gateway, and headers that only a gateway may send to a node.
    static NOT_FORWARDED = [
        ACCEPT_ENCODING,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("api-key"),
        COOKIE,
        FORWARDED,
        ORIGIN,
        REFERER,
        options::DEADLINE,
        options::PRIORITY,
        options::STRATEGY,
        options::PIN_NODE,
    ];
}

/// The most headers that are added to most requests: its id, its trace, and for a node the token,
/// the mark of a gateway, the model, the replica and the time limit of an unstreamed answer.
const SET_HEADERS: usize = 7;

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
    /// The endpoint that must serve the request, because it has stored what the request needs.
    pub(crate) owner: Option<ResponseOwner>,
}

impl InferenceRequest {
    /// Reads a request and tells `observer` its model and its limits. A request for a stored
    /// response goes to its `owner`, and one that continues such a response to its owner. Takes the
    /// headers out of `parts`.
    pub(crate) async fn read(
        parts: &mut Parts,
        body: &mut RequestBody,
        config: &GatewayConfig,
        admission: &Admission,
        responses: &StoredResponses,
        owner: Option<ResponseOwner>,
        observer: &mut RequestObserver,
    ) -> Result<Self, GatewayError> {
        let (started, route) = (observer.started(), observer.route());
        let options = RequestOptions::read(&parts.headers, config.strategy, started)?;
        let body = body
            .read_decoded(&parts.headers, config.max_body_bytes)
            .await?;
        parts.headers.remove(CONTENT_ENCODING);
        let body = without_mark(body);
        let mut is_stream = false;
        let model = match (&owner, route.method) {
            (Some(owner), _) => owner.model.as_ref().to_owned(),
            (None, EngineMethod::Get) => {
                match query::model(parts.uri.query().unwrap_or_default()) {
                    Some(model) => check_model(model)?.into_owned(),
                    None => only_model(admission)?,
                }
            }
            (None, EngineMethod::Post) => {
                let fields = named_fields(&parts.headers, &body);
                let stream = fields.as_ref().ok().and_then(|fields| fields.stream);
                is_stream = stream.unwrap_or(route.dialect == Dialect::Ollama);
                match fields.map(|fields| fields.model) {
                    Ok(Some(model)) => model.into_owned(),
                    // A path that is not listed is a route only if the body names a model.
                    Ok(None) | Err(_) if route.is_other() => {
                        return Err(GatewayError::no_such_route(parts.uri.path()));
                    }
                    Ok(None) => only_model(admission)?,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if options.is_forwarded {
            remove_forwarded(&mut parts.headers);
        }
        let ResolvedModel { model, alias, body } =
            resolve(&config.aliases, model, &mut parts.headers, body)?;
        let (mut body, mut priority) = (body, options.priority);
        if let Some(key) = observer.key_mut() {
            key.check_model(&model, alias.as_deref())?;
            priority = key.priority(priority);
            key.read(body.len());
            if is_stream
                && route.dialect == Dialect::Completions
                && let Some(asking) = with_usage(&body)?
            {
                body = asking;
                parts.headers.remove(CONTENT_LENGTH);
                key.hide_usage();
            }
        }
        let deadline = options.deadline;
        let owner = match owner {
            None if route.dialect == Dialect::Responses => {
                responses.owner_of_previous(&body, &model, admission)?
            }
            owner => owner,
        };
        let preference = match &owner {
            Some(owner) => options.pinned_to(&owner.endpoint.key().node),
            None => options.routing_preference(&model, &body),
        };
        let queue_timeout = match parts.extensions.get() {
            Some(QueueTimeout(own)) => *own,
            None => admission.queue_timeout(&model),
        };
        observer.read(model, RetryState::new(deadline, queue_timeout));
        let mut outbound = outbound(parts, route, body)?;
        if let Some(id) = observer.request_id() {
            outbound
                .set_headers
                .push((headers::REQUEST_ID, id.header_value()));
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
            owner,
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

/// The same body without a byte order mark, which some engines refuse.
fn without_mark(body: Bytes) -> Bytes {
    let text = without_byte_order_mark(&body);
    if text.len() == body.len() {
        body
    } else {
        body.slice_ref(text)
    }
}

/// Removes what proxies before this server say about the client's connection.
fn remove_forwarded(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| options::is_forwarded(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn outbound(parts: &mut Parts, route: Route, body: Bytes) -> Result<Outbound, GatewayError> {
    let path = path_for_engine(&parts.uri, route)?;
    let headers = std::mem::take(&mut parts.headers);
    Ok(Outbound {
        removed_headers: &NOT_FORWARDED,
        set_headers: Vec::with_capacity(SET_HEADERS),
        ..Outbound::new(parts.method.clone(), path, headers, body)
    })
}

/// The path and the query as they go to the engine.
fn path_for_engine(uri: &Uri, route: Route) -> Result<PathAndQuery, GatewayError> {
    let path = route.engine_path(uri.path());
    let query = uri.query().unwrap_or_default();
    let changed = query::without_credentials(query);
    if path.is_none() && changed.is_none() {
        let unchanged = uri.path_and_query().cloned();
        return Ok(unchanged.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    let path = path.unwrap_or(uri.path());
    let query = changed.as_deref().unwrap_or(query);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{path}{separator}{query}").parse().map_err(|_| {
        GatewayError::new(
            ErrorCode::InvalidRequest,
            "the query of the path is not valid",
        )
    })
}
