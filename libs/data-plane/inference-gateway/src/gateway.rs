//! The gateway: which of its routes answers a request.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use admission::Admission;
use bearer_auth::{AuthPolicy, Identity, Principal};
use http::{HeaderMap, HeaderValue, Method, Request, Response, request::Parts};
use http_server::{Access, RequestBody, RequestId, authorize};
use key_limits::KeyLimiter;
use node_transport::NodeTransport;
use percent_encoding::percent_decode_str;
use pool_registry_types::{
    ErrorCode,
    client_api::{ClientApi, without_final_slash},
    headers,
};
use usage_log::UsageLog;

use crate::{
    body::GatewayBody,
    config::GatewayConfig,
    dialect::Dialect,
    error::GatewayError,
    error_response::error_response,
    inference::Inference,
    metrics::GatewayMetrics,
    models,
    route::{self, OllamaRoute, Route, Target},
    stored_responses::ResponseOwner,
};

/// Serves `/v1/*` and the engines' other routes. Cloning is cheap and shares the state.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inference: Inference,
    started: SystemTime,
}

/// Who responds to a request.
enum Responder {
    /// An engine, or the owner of a stored response.
    Engine(Route, Option<ResponseOwner>),
    /// An engine, in the terms of Ollama's API.
    Ollama(OllamaRoute),
    /// The gateway itself.
    Gateway(Box<Response<GatewayBody>>),
}

impl Shared {
    fn started_unix(&self) -> u64 {
        let since = self.started.duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }
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
        Self(Arc::new(Shared {
            inference: Inference::new(config, admission, transport, metrics),
            started: SystemTime::now(),
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

    /// Counts what requests use of the limits of their keys.
    #[must_use]
    pub fn key_limiter(&self) -> &KeyLimiter {
        &self.0.inference.keys.limiter
    }

    /// Sets where the usage of keys is recorded. Only the first call takes effect.
    pub fn record_usage(&self, log: UsageLog) {
        let _ = self.0.inference.keys.usage.set(log);
    }

    /// Sets which keys are valid, for requests that have waited. Only the first call takes effect.
    pub fn check_keys_with(&self, policy: AuthPolicy) {
        let _ = self.0.inference.keys.policy.set(policy);
    }

    /// Serves one request. Dropping the future, or the response's body, cancels the request up to
    /// the engine.
    pub fn handle(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<GatewayBody>> + Send {
        // Parts and body are captured, and callees get references: a future has two places for
        // what it moves, and every request moves this one.
        let (mut parts, mut body) = request.into_parts();
        async move {
            if is_for_a_node(&parts.headers) {
                return loop_detected(body.request_id());
            }
            // Anthropic's clients show this id in their errors.
            let id = body.request_id();
            let id = id
                .filter(|_| ClientApi::of(parts.uri.path()) == ClientApi::Anthropic)
                .cloned();
            let inference = &self.0.inference;
            let failed =
                |error, dialect: Dialect| error_response(&error, dialect, None, id.as_ref());
            let mut response = match self.choose(&parts, &body) {
                Ok(Responder::Engine(route, owner)) => {
                    inference.serve(route, owner, &mut parts, &mut body).await
                }
                // Boxed: it is larger than the others.
                Ok(Responder::Ollama(route)) => {
                    let request = Request::from_parts(parts, body);
                    let served = inference.serve_ollama(route, self.0.started, request);
                    let served = Box::pin(served).await;
                    served.unwrap_or_else(|error| failed(error, Dialect::Ollama))
                }
                Ok(Responder::Gateway(response)) => *response,
                Err(error) => {
                    let path = without_final_slash(parts.uri.path());
                    failed(error, route::dialect(path))
                }
            };
            if let Some(id) = id {
                let headers = response.headers_mut();
                headers.insert(headers::ANTHROPIC_REQUEST_ID, id.header_value());
            }
            response
        }
    }

    /// Who responds to a request: the route that it is for decides. Refuses a caller who may use
    /// none of them.
    fn choose(&self, parts: &Parts, body: &RequestBody) -> Result<Responder, GatewayError> {
        authorize(
            body,
            (&parts.method, parts.uri.path()),
            Access::CLIENT,
            None,
        )?;
        let key = body
            .principal()
            .and_then(Principal::identity)
            .map(Arc::as_ref);
        let inference = &self.0.inference;
        let (path, method) = (without_final_slash(parts.uri.path()), &parts.method);
        match (route::target(path), method) {
            (Target::Engine(route), method) if *method == route.method.as_str() => {
                Ok(Responder::Engine(route, None))
            }
            (Target::Engine(route), method) => {
                Err(wrong_method(method, path, route.method.as_str()))
            }
            (Target::Models, &Method::GET) => Ok(Responder::Gateway(Box::new(self.models(key)))),
            (Target::Model(name), &Method::GET) => {
                Ok(Responder::Gateway(Box::new(self.model(name, key)?)))
            }
            (Target::Models | Target::Model(_), method) => Err(wrong_method(method, path, "GET")),
            (Target::StoredResponse { route, id, allowed }, method) => {
                if !allowed.split(", ").any(|allowed| *method == allowed) {
                    return Err(wrong_method(method, path, allowed));
                }
                let owner = inference
                    .responses
                    .owner(&decoded(id)?, &inference.admission)?;
                Ok(Responder::Engine(route, Some(owner)))
            }
            (Target::Realtime, _) => Err(no_realtime()),
            (Target::Ollama(route), method) if *method == route.method().as_str() => {
                Ok(Responder::Ollama(route))
            }
            (Target::Ollama(route), method) => {
                Err(wrong_method(method, path, route.method().as_str()))
            }
            (Target::OllamaManagement, _) => Err(no_management()),
            (Target::Unlisted, &Method::POST) if !route::has_too_much_before(path) => {
                Ok(Responder::Engine(unlisted_route(path)?, None))
            }
            (Target::Unlisted, _) => Err(GatewayError::no_such_route(path)),
        }
    }

    fn models(&self, key: Option<&Identity>) -> Response<GatewayBody> {
        let Inference {
            admission, config, ..
        } = &self.0.inference;
        models::list(admission, &config.aliases, key, self.0.started_unix())
    }

    fn model(
        &self,
        name: &str,
        key: Option<&Identity>,
    ) -> Result<Response<GatewayBody>, GatewayError> {
        let Inference {
            admission, config, ..
        } = &self.0.inference;
        let name = decoded(name)?;
        models::one(
            admission,
            &config.aliases,
            key,
            &name,
            self.0.started_unix(),
        )
    }
}

/// A name in a path, decoded once. Official clients encode all of it.
fn decoded(name: &str) -> Result<Cow<'_, str>, GatewayError> {
    percent_decode_str(name).decode_utf8().map_err(|_| {
        GatewayError::new(
            ErrorCode::InvalidRequest,
            "the percent-encoded name in the path must be UTF-8",
        )
    })
}

/// The route of a path that goes to an engine although it is not listed.
fn unlisted_route(path: &str) -> Result<Route, GatewayError> {
    match route::other(path) {
        Ok(Some(route)) => Ok(route),
        Ok(None) => Err(GatewayError::no_such_route(path)),
        Err(error) => Err(GatewayError::new(
            ErrorCode::InvalidRequest,
            error.to_string(),
        )),
    }
}

fn no_management() -> GatewayError {
    GatewayError::new(
        ErrorCode::Forbidden,
        "models are not managed here: the operator of a node chooses which models its engines have",
    )
}

fn no_realtime() -> GatewayError {
    GatewayError::new(
        ErrorCode::NotFound,
        "this server has no realtime API (WebSocket); use POST /v1/chat/completions with \
         \"stream\": true",
    )
}

/// Whether a gateway has sent this request to a node, and it came here instead.
pub(crate) fn is_for_a_node(headers: &HeaderMap) -> bool {
    headers.contains_key(headers::VIA)
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
    let mut response = error_response(&error, Dialect::Plain, None, None);
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

#[cfg(test)]
mod tests {
    use admission::AdmissionConfig;
    use bytes::Bytes;
    use node_transport::TcpTransport;
    use stream_proxy::StreamProxy;

    use super::*;

    /// The most bytes that a request in progress may take, beside its body.
    const MOST_BYTES: usize = 3072;

    /// The server moves the future of each request, so a rare case must not make every one larger:
    /// it belongs in a box.
    #[test]
    fn a_request_in_progress_is_small() {
        let gateway = Gateway::new(
            GatewayConfig::default(),
            Admission::new(AdmissionConfig::default()),
            Arc::new(TcpTransport::new(StreamProxy::new(), None)),
            GatewayMetrics::default(),
        );
        let future = gateway.handle(Request::new(RequestBody::from(Bytes::from_static(b"{}"))));
        let bytes = size_of_val(&future);
        println!("{bytes} bytes");
        assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    }
}
