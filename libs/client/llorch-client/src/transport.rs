//! Requests and bounded answers, and one way to make errors of what comes back.

use std::{io, marker::PhantomData, time::Duration};

use local_limits::{is_local_limit, spare_descriptor};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{
    Agent, Body,
    http::{HeaderName, Method, Request, Response},
};

use crate::{Client, ClientError, Events, Routing, Served, Settings, error::echo};

/// The longest control answer that is read: 1000 nodes with many pools are a few MiB.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The longest refusal that is read.
const MAX_REFUSAL_BYTES: u64 = 64 * 1024;
/// How long an idle connection is kept for the next request; below the 75 s after which servers of
/// this project close it.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// Connections kept for further requests: one per thread of a load.
const MAX_CONNECTIONS: usize = 1024;

/// An answer as it came, for those who pass it on, and as what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Json<T> {
    /// As it came.
    pub raw: Value,
    url: String,
    meaning: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Json<T> {
    /// What it means.
    ///
    /// # Errors
    /// When it is not of the expected form.
    pub fn read(&self) -> Result<T, ClientError> {
        T::deserialize(&self.raw).map_err(|error| ClientError::NotUnderstood {
            url: self.url.clone(),
            reason: echo(&error.to_string()),
        })
    }
}

/// The HTTP client behind a [`Client`].
pub(crate) fn agent(settings: &Settings) -> Agent {
    let config = Agent::config_builder()
        .timeout_connect(Some(settings.connect_timeout))
        .http_status_as_error(false)
        // A redirect would carry the token, or a prompt, to who knows whom.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A fleet is a neighbour: a proxy meant for the internet has no business in between.
        .proxy(None)
        .user_agent(concat!("llorch/", env!("CARGO_PKG_VERSION")))
        .max_idle_age(MAX_IDLE)
        .max_idle_connections(MAX_CONNECTIONS)
        .max_idle_connections_per_host(MAX_CONNECTIONS)
        .build();
    Agent::new_with_config(config)
}

impl Client {
    pub(crate) fn get<T>(&self, path: &str) -> Result<Json<T>, ClientError> {
        let request = self.request(Method::GET, path);
        let answer = self.send(request, None, Some(self.settings.answer_timeout))?;
        self.json(path, answer)
    }

    pub(crate) fn post<T>(&self, path: &str, body: &Value) -> Result<Json<T>, ClientError> {
        let request = self.request(Method::POST, path);
        let answer = self.send(request, Some(body), Some(self.settings.answer_timeout))?;
        self.json(path, answer)
    }

    /// A long answer: no limit on its time, because a model may think and a stream may last.
    pub(crate) fn post_long(
        &self,
        path: &str,
        body: &Value,
        routing: &Routing,
    ) -> Result<Response<Body>, ClientError> {
        let mut request = self.request(Method::POST, path);
        for (name, value) in routing.headers() {
            request = request.header(name, value);
        }
        self.good(self.send(request, Some(body), None)?)
    }

    /// The events of `path` after the one with the id `last`; `None` when there are none left.
    pub(crate) fn events(
        &self,
        path: &str,
        last: Option<&str>,
    ) -> Result<Option<Events>, ClientError> {
        let mut request = self
            .request(Method::GET, path)
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = self.good(self.send(request, None, None)?)?;
        if answer.status().as_u16() == 204 {
            return Ok(None);
        }
        let content_type = answer.headers().get("content-type");
        let is_stream = content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if !is_stream {
            return Err(self.not_understood(path, "no event stream"));
        }
        Ok(Some(Events::new(self.base.clone(), answer.into_body())))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        match &self.settings.token {
            Some(token) => request.header("authorization", token.header_value()),
            None => request,
        }
    }

    pub(crate) fn send(
        &self,
        request: ureq::http::request::Builder,
        body: Option<&Value>,
        within: Option<Duration>,
    ) -> Result<Response<Body>, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable {
            url: self.base.clone(),
            reason,
        };
        let sent = match body {
            Some(body) => {
                let body =
                    serde_json::to_vec(body).map_err(|error| unreachable(error.to_string()))?;
                let request = request
                    .header(HeaderName::from_static("content-type"), "application/json")
                    .body(body)
                    .map_err(|error| unreachable(error.to_string()))?;
                let request = self.agent.configure_request(request).timeout_global(within);
                self.agent.run(request.build())
            }
            None => {
                let request = request
                    .body(())
                    .map_err(|error| unreachable(error.to_string()))?;
                let request = self.agent.configure_request(request).timeout_global(within);
                self.agent.run(request.build())
            }
        };
        sent.map_err(|error| self.failure(&error))
    }

    /// The answer, when its status is a good one.
    fn good(&self, mut answer: Response<Body>) -> Result<Response<Body>, ClientError> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let header = answer.headers().get("retry-after");
        let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = answer.body_mut().with_config().limit(MAX_REFUSAL_BYTES);
        // The status says enough when the body cannot be had.
        let body = body.read_to_vec().unwrap_or_default();
        Err(ClientError::refusal(
            answer.status().as_u16(),
            seconds.map(Duration::from_secs),
            &body,
        ))
    }

    pub(crate) fn whole(&self, answer: Response<Body>) -> Result<(Served, Vec<u8>), ClientError> {
        let mut answer = self.good(answer)?;
        let served = Served::from_headers(answer.headers());
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        let body = body.read_to_vec().map_err(|error| match error {
            ureq::Error::Timeout(_) => self.failure(&error),
            error => ClientError::BrokenOff {
                url: self.base.clone(),
                reason: echo(&error.to_string()),
            },
        })?;
        Ok((served, body))
    }

    fn json<T>(&self, path: &str, answer: Response<Body>) -> Result<Json<T>, ClientError> {
        let (_, body) = self.whole(answer)?;
        let raw = serde_json::from_slice(&body)
            .map_err(|error| self.not_understood(path, &error.to_string()))?;
        Ok(Json {
            raw,
            url: format!("{}{path}", self.base),
            meaning: PhantomData,
        })
    }

    pub(crate) fn not_understood(&self, path: &str, reason: &str) -> ClientError {
        ClientError::NotUnderstood {
            url: format!("{}{path}", self.base),
            reason: echo(reason),
        }
    }

    fn failure(&self, error: &ureq::Error) -> ClientError {
        let url = self.base.clone();
        if let Some(limit) = own_limit(error) {
            return ClientError::OwnLimit {
                url,
                reason: limit.to_string(),
            };
        }
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                ClientError::Unreachable {
                    url,
                    reason: format!("no connection within {:?}", self.settings.connect_timeout),
                }
            }
            ureq::Error::Timeout(_) => ClientError::Late {
                url,
                within: self.settings.answer_timeout,
            },
            ureq::Error::HostNotFound => ClientError::Unreachable {
                url,
                reason: "the host is not known".to_owned(),
            },
            // Closed or broken after it was accepted: somebody is there.
            ureq::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::BrokenPipe
                ) =>
            {
                ClientError::BrokenOff {
                    url,
                    reason: echo(&error.to_string()),
                }
            }
            ureq::Error::Io(error) => ClientError::Unreachable {
                url,
                reason: io_reason(error),
            },
            error => ClientError::NotUnderstood {
                url,
                reason: echo(&error.to_string()),
            },
        }
    }
}

/// The limit of this process that is behind the error, if one is.
fn own_limit(error: &ureq::Error) -> Option<io::Error> {
    match error {
        ureq::Error::Io(cause) if is_local_limit(cause) => {
            Some(io::Error::from_raw_os_error(cause.raw_os_error()?))
        }
        // A resolver hides why it failed.
        ureq::Error::Io(cause) if cause.raw_os_error().is_none() => spare_descriptor().err(),
        ureq::Error::HostNotFound => spare_descriptor().err(),
        _ => None,
    }
}

/// Without the number that the system's text ends with.
fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => echo(&error.to_string()),
    }
}
