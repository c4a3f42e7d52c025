//! HTTP requests and responses with limits; every failure becomes a [`ClientError`].

use std::{fmt, io, time::Duration};

use bearer_auth::ApiToken;
use local_limits::{is_local_limit, spare_descriptor};
use pool_registry_types::CONTROL_PLANE_URI;
use serde_json::Value;
use tls_config::ClientTls;
use tls_ureq::{TlsConnector, explain};
use ureq::{
    Agent, Body,
    http::{self, HeaderName, Method, Request, request},
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};

use crate::{
    error::{ClientError, shortened},
    event_stream::EventStream,
    response::Response,
    routing::{RoutingOptions, ServedBy},
};

/// The limit on a control response. 1000 nodes with many pools have a few MiB.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The limit on an error response.
const MAX_REFUSAL_BYTES: u64 = 64 * 1024;
/// How long an idle connection is kept. Servers of this project close it after 75 s.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// The limit on idle connections: one for each thread of a load test.
const MAX_CONNECTIONS: usize = 1024;

/// How to reach the server.
#[derive(Debug, Clone)]
pub(crate) struct TransportConfig {
    /// The URL without a final slash.
    pub(crate) base_url: String,
    pub(crate) token: Option<ApiToken>,
    pub(crate) user_agent: String,
    pub(crate) connect_timeout: Duration,
    /// The timeout of a whole control response.
    pub(crate) response_timeout: Duration,
    /// Which servers with TLS are trusted.
    pub(crate) tls: ClientTls,
}

/// Sends requests to one server. Cloning shares the connections.
#[derive(Clone)]
pub(crate) struct Transport {
    agent: Agent,
    config: TransportConfig,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(config: TransportConfig) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(config.connect_timeout))
            .http_status_as_error(false)
            // A redirect would send the token or a prompt to another server.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The servers of a fleet are close: a proxy for the internet is not needed.
            .proxy(None)
            .user_agent(&config.user_agent)
            .max_idle_age(MAX_IDLE)
            .max_idle_connections(MAX_CONNECTIONS)
            .max_idle_connections_per_host(MAX_CONNECTIONS)
            .build();
        let connector = ().chain(TcpConnector::default());
        let connector = connector.chain(TlsConnector::new(config.tls.expecting(CONTROL_PLANE_URI)));
        Self {
            agent: Agent::with_parts(agent, connector, DefaultResolver::default()),
            config,
        }
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.config.base_url
    }

    pub(crate) fn has_token(&self) -> bool {
        self.config.token.is_some()
    }

    pub(crate) fn get<T>(&self, path: &str) -> Result<Response<T>, ClientError> {
        let request = self.request(Method::GET, path);
        let response = self.send(request, None, Some(self.config.response_timeout))?;
        self.json(path, response)
    }

    pub(crate) fn post<T>(&self, path: &str, body: &Value) -> Result<Response<T>, ClientError> {
        let response = self.post_control(path, body)?;
        self.json(path, response)
    }

    /// As [`post`](Self::post), without a timeout: the server answers when it is done.
    pub(crate) fn post_and_wait<T>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Response<T>, ClientError> {
        let request = self.request(Method::POST, path);
        let response = self.send(request, Some(body), None)?;
        self.json(path, response)
    }

    pub(crate) fn patch<T>(&self, path: &str, body: &Value) -> Result<Response<T>, ClientError> {
        let request = self.request(Method::PATCH, path);
        let response = self.send(request, Some(body), Some(self.config.response_timeout))?;
        self.json(path, response)
    }

    /// Deletes a resource, and ignores the body of the response.
    pub(crate) fn delete(&self, path: &str) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, path);
        let response = self.send(request, None, Some(self.config.response_timeout))?;
        self.read_body(response).map(drop)
    }

    /// Sends a control request and ignores the body of the response.
    pub(crate) fn post_ignoring_body(&self, path: &str, body: &Value) -> Result<(), ClientError> {
        let response = self.post_control(path, body)?;
        self.read_body(response).map(drop)
    }

    /// Sends a request without a body, and reads a body of up to so many bytes. It has no timeout:
    /// the server may need long to make it.
    pub(crate) fn post_for_bytes(
        &self,
        path: &str,
        most_bytes: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let request = self.request(Method::POST, path);
        let response = successful(self.send(request, None, None)?)?;
        self.read_up_to(response, most_bytes)
    }

    fn post_control(&self, path: &str, body: &Value) -> Result<http::Response<Body>, ClientError> {
        let request = self.request(Method::POST, path);
        self.send(request, Some(body), Some(self.config.response_timeout))
    }

    /// Sends an inference request. It has no timeout: a model may think long, and a stream may last
    /// long.
    pub(crate) fn post_inference(
        &self,
        path: &str,
        body: &Value,
        routing: &RoutingOptions,
    ) -> Result<http::Response<Body>, ClientError> {
        let mut request = self.request(Method::POST, path);
        for (name, value) in routing.headers() {
            request = request.header(name, value);
        }
        successful(self.send(request, Some(body), None)?)
    }

    /// The events of `path` after the one with the id `last_id`; `None` when there are no more.
    pub(crate) fn events(
        &self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<Option<EventStream>, ClientError> {
        let mut request = self
            .request(Method::GET, path)
            .header("accept", "text/event-stream");
        if let Some(last_id) = last_id {
            request = request.header("last-event-id", last_id);
        }
        let response = successful(self.send(request, None, None)?)?;
        if response.status().as_u16() == 204 {
            return Ok(None);
        }
        let content_type = response.headers().get("content-type");
        let is_stream = content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if !is_stream {
            return Err(self.invalid_response(path, "it is no event stream"));
        }
        Ok(Some(self.event_stream(response)))
    }

    pub(crate) fn event_stream(&self, response: http::Response<Body>) -> EventStream {
        EventStream::new(self.config.base_url.clone(), response.into_body())
    }

    fn request(&self, method: Method, path: &str) -> request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.config.base_url));
        match &self.config.token {
            Some(token) => request.header("authorization", token.header_value()),
            None => request,
        }
    }

    fn send(
        &self,
        request: request::Builder,
        body: Option<&Value>,
        timeout: Option<Duration>,
    ) -> Result<http::Response<Body>, ClientError> {
        let sent = match body {
            Some(body) => {
                let body = serde_json::to_vec(body).map_err(invalid_request)?;
                let request = request
                    .header(HeaderName::from_static("content-type"), "application/json")
                    .body(body)
                    .map_err(invalid_request)?;
                let request = self
                    .agent
                    .configure_request(request)
                    .timeout_global(timeout);
                self.agent.run(request.build())
            }
            None => {
                let request = request.body(()).map_err(invalid_request)?;
                let request = self
                    .agent
                    .configure_request(request)
                    .timeout_global(timeout);
                self.agent.run(request.build())
            }
        };
        sent.map_err(|error| self.error_of(&error))
    }

    /// Reads the whole body of a successful response.
    pub(crate) fn read_body(
        &self,
        response: http::Response<Body>,
    ) -> Result<(ServedBy, Vec<u8>), ClientError> {
        let response = successful(response)?;
        let served_by = ServedBy::from_headers(response.headers());
        Ok((served_by, self.read_up_to(response, MAX_ANSWER_BYTES)?))
    }

    fn read_up_to(
        &self,
        mut response: http::Response<Body>,
        most_bytes: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let body = response.body_mut().with_config().limit(most_bytes);
        body.read_to_vec().map_err(|error| match error {
            ureq::Error::Timeout(_) => self.error_of(&error),
            error => ClientError::Interrupted {
                url: self.config.base_url.clone(),
                reason: shortened(&error.to_string()),
            },
        })
    }

    fn json<T>(
        &self,
        path: &str,
        response: http::Response<Body>,
    ) -> Result<Response<T>, ClientError> {
        let (_, body) = self.read_body(response)?;
        let raw = serde_json::from_slice(&body)
            .map_err(|error| self.invalid_response(path, &error.to_string()))?;
        Ok(Response::new(raw, self.url_of(path)))
    }

    pub(crate) fn invalid_response(&self, path: &str, reason: &str) -> ClientError {
        ClientError::InvalidResponse {
            url: self.url_of(path),
            reason: shortened(reason),
        }
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.config.base_url)
    }

    fn error_of(&self, error: &ureq::Error) -> ClientError {
        let url = self.config.base_url.clone();
        if let Some(limit) = local_limit(error) {
            return ClientError::LocalLimit {
                url,
                reason: limit.to_string(),
            };
        }
        if let Some(reason) = explain(error) {
            return ClientError::Unreachable { url, reason };
        }
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                ClientError::Unreachable {
                    url,
                    reason: format!("no connection within {:?}", self.config.connect_timeout),
                }
            }
            ureq::Error::Timeout(_) => ClientError::Timeout {
                url,
                within: self.config.response_timeout,
            },
            ureq::Error::HostNotFound => ClientError::Unreachable {
                url,
                reason: "the host is not known".to_owned(),
            },
            // The server accepted the connection first.
            ureq::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::BrokenPipe
                ) =>
            {
                ClientError::Interrupted {
                    url,
                    reason: shortened(&error.to_string()),
                }
            }
            ureq::Error::Io(error) => ClientError::Unreachable {
                url,
                reason: io_reason(error),
            },
            error => ClientError::InvalidResponse {
                url,
                reason: shortened(&error.to_string()),
            },
        }
    }
}

/// The response, when its status is 2xx; else its error.
fn successful(mut response: http::Response<Body>) -> Result<http::Response<Body>, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let header = response.headers().get("retry-after");
    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = response.body_mut().with_config().limit(MAX_REFUSAL_BYTES);
    // Without a body, the status is enough.
    let body = body.read_to_vec().unwrap_or_default();
    Err(ClientError::refusal(
        response.status().as_u16(),
        seconds.map(Duration::from_secs),
        &body,
    ))
}

fn invalid_request(error: impl fmt::Display) -> ClientError {
    ClientError::InvalidRequest {
        reason: error.to_string(),
    }
}

/// The limit of this process that caused the error, if one did.
fn local_limit(error: &ureq::Error) -> Option<io::Error> {
    match error {
        ureq::Error::Io(cause) if is_local_limit(cause) => {
            Some(io::Error::from_raw_os_error(cause.raw_os_error()?))
        }
        // The resolver does not say why it failed.
        ureq::Error::Io(cause) if cause.raw_os_error().is_none() => spare_descriptor().err(),
        ureq::Error::HostNotFound => spare_descriptor().err(),
        _ => None,
    }
}

/// The reason without the error number of the system.
fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => shortened(&error.to_string()),
    }
}
