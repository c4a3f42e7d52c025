//! The gateway: which of its routes answers a request.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use admission::Admission;
use http::{HeaderValue, Method, Request, Response};
use http_server::{RequestBody, RequestId};
use node_transport::NodeTransport;
use pool_registry_types::{ErrorCode, headers};

use crate::{
    body::GatewayBody,
    config::GatewayConfig,
    dialect::Dialect,
    error::GatewayError,
    error_response::error_response,
    inference::Inference,
    inference_request::no_such_route,
    metrics::GatewayMetrics,
    models,
    route::{self, Route},
};

/// Serves `/v1/*`. Cloning is cheap and shares the state.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inference: Inference,
    started_unix: u64,
}

impl Gateway {
    /// A gateway that sends what `admission` grants a slot over `transport`.
    #[must_use]
    pub fn new(
        config: GatewayConfig,
        admission: Admission,
        transport: Arc<dyn NodeTransport>,
        metrics: GatewayMetrics,
    ) -> Self {
        let started_unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self(Arc::new(Shared {
            inference: Inference::new(config, admission, transport, metrics),
            started_unix,
        }))
    }

    /// Whether the gateway serves requests for `path`.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        route::is_ours(path)
    }

    /// The model that requests for `name` go to: `name` itself, unless it is an alias.
    #[must_use]
    pub fn model_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.inference.config.aliases.target(name).unwrap_or(name)
    }

    /// Serves one request. Dropping the future, or the response's body, cancels the request up to
    /// the engine.
    pub async fn handle(self, request: Request<RequestBody>) -> Response<GatewayBody> {
        if is_for_a_node(&request) {
            return loop_detected(request.body().request_id());
        }
        let path = request.uri().path();
        let listed = route::find(path);
        let result = match request.method() {
            &Method::POST if !is_models(path) => match inference_route(listed, path) {
                Ok(route) => return self.0.inference.serve(route, request).await,
                Err(error) => Err(error),
            },
            &Method::GET if is_models(path) => self.models(path),
            method if is_models(path) => Err(wrong_method(method, path, "GET")),
            method if listed.is_some() => Err(wrong_method(method, path, "POST")),
            _ => Err(no_such_route()),
        };
        let dialect = listed.map_or(Dialect::Plain, |route| route.dialect);
        result.unwrap_or_else(|error| error_response(&error, dialect, None))
    }

    fn models(&self, path: &str) -> Result<Response<GatewayBody>, GatewayError> {
        let Inference {
            admission, config, ..
        } = &self.0.inference;
        let created = self.0.started_unix;
        match path.strip_prefix(MODEL) {
            Some(id) => models::one(admission, &config.aliases, id, created),
            None => Ok(models::list(admission, &config.aliases, created)),
        }
    }
}

const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/";

fn is_models(path: &str) -> bool {
    path == MODELS || path.starts_with(MODEL)
}

/// The route of a request that goes to an engine.
fn inference_route(listed: Option<Route>, path: &str) -> Result<Route, GatewayError> {
    match listed.map_or_else(|| route::other(path), |route| Ok(Some(route))) {
        Ok(Some(route)) => Ok(route),
        Ok(None) => Err(no_such_route()),
        Err(error) => Err(GatewayError::new(
            ErrorCode::InvalidRequest,
            error.to_string(),
        )),
    }
}

/// Whether a gateway has sent this request to a node, and it came here instead.
pub(crate) fn is_for_a_node(request: &Request<RequestBody>) -> bool {
    request.headers().contains_key(headers::VIA)
}

/// The response to a request for a node. The code is in a header as well: the gateway that sent
/// the request reads no body.
fn loop_detected(request_id: Option<&RequestId>) -> Response<GatewayBody> {
    tracing::warn!(
        request_id = request_id.map(RequestId::as_str),
        "a request for a node came to a gateway: a node has registered with the address of this \
         process"
    );
    let code = ErrorCode::LoopDetected;
    let error = GatewayError::new(
        code,
        "this is a gateway, and the request was sent to a node",
    );
    let mut response = error_response(&error, Dialect::Plain, None);
    let code = HeaderValue::from_static(code.as_str());
    response.headers_mut().insert(headers::REFUSAL, code);
    response
}

fn wrong_method(method: &Method, path: &str, allowed: &'static str) -> GatewayError {
    let message = format!("{path} does not accept {method}, only {allowed}");
    GatewayError {
        allow: Some(allowed),
        ..GatewayError::new(ErrorCode::MethodNotAllowed, message)
    }
}
