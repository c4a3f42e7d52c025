//! The control plane over HTTP, with one kept-alive connection.

use std::time::Duration;

use bearer_auth::ApiToken;
use local_limits::{is_local_limit, spare_descriptor};
use pool_registry_types::{
    CONTROL_PLANE_URI, ErrorEnvelope, HeartbeatRequest, HeartbeatResponse, HttpUrl, NodeId,
    RegisterRequest, RegisterResponse, one_line,
};
use serde::{Serialize, de::DeserializeOwned};
use tls_config::ClientTls;
use tls_ureq::{TlsConnector, explain};
use ureq::{
    Agent, Body, RequestBuilder,
    http::Response,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};

use crate::control_plane::{ControlPlane, RequestError};

/// The longest answer that is read; the usual size is a few hundred bytes.
pub(crate) const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// How long an idle connection is kept for the next heartbeat; below the 75 s after which servers
/// of this project close it.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// How much of a foreign text an error repeats.
const MAX_ECHO_BYTES: usize = 200;

/// A client of the control plane.
pub(crate) struct HttpControlPlane {
    agent: Agent,
    token: Option<ApiToken>,
}

impl HttpControlPlane {
    /// A client that gives each connection `connect_timeout` to come about, and trusts servers with
    /// TLS as `tls` says.
    pub(crate) fn new(connect_timeout: Duration, token: Option<ApiToken>, tls: &ClientTls) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(connect_timeout))
            .http_status_as_error(false)
            // A redirect would send the node's state, and perhaps its token, to another server.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The control plane is in the same network. Proxies of the environment are for the
            // internet.
            .proxy(None)
            .user_agent(concat!("node-registration/", env!("CARGO_PKG_VERSION")))
            .max_idle_age(MAX_IDLE)
            .build();
        let connector = ()
            .chain(TcpConnector::default())
            .chain(TlsConnector::new(tls.expecting(CONTROL_PLANE_URI)));
        Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            token,
        }
    }

    /// The body of the answer to `GET url`.
    pub(crate) fn get(&self, url: String, timeout: Duration) -> Result<Vec<u8>, RequestError> {
        let request = self
            .agent
            .get(url)
            .config()
            .timeout_global(Some(timeout))
            .build();
        read(self.with_token(request).call())
    }

    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", token.header_value()),
            None => request,
        }
    }

    fn post<T: DeserializeOwned>(
        &self,
        url: String,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, RequestError> {
        let body =
            serde_json::to_vec(body).map_err(|error| RequestError::NoAnswer(error.to_string()))?;
        let request = self
            .agent
            .post(url)
            .config()
            .timeout_global(Some(timeout))
            .build()
            .content_type("application/json");
        let answer = read(self.with_token(request).send(&body))?;
        serde_json::from_slice(&answer)
            .map_err(|error| RequestError::NotUnderstood(format!("{error} in {}", shown(&answer))))
    }
}

impl ControlPlane for HttpControlPlane {
    fn register(
        &mut self,
        url: &HttpUrl,
        request: &RegisterRequest,
        timeout: Duration,
    ) -> Result<RegisterResponse, RequestError> {
        self.post(format!("{url}/v2/nodes/register"), request, timeout)
    }

    fn heartbeat(
        &mut self,
        url: &HttpUrl,
        node_id: &NodeId,
        request: &HeartbeatRequest,
        timeout: Duration,
    ) -> Result<HeartbeatResponse, RequestError> {
        self.post(
            format!("{url}/v2/nodes/{node_id}/heartbeat"),
            request,
            timeout,
        )
    }

    fn deregister(
        &mut self,
        url: &HttpUrl,
        node_id: &NodeId,
        incarnation: u64,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        // A control plane of version 0.1.0 ignores the query.
        let request = self
            .agent
            .delete(format!(
                "{url}/v2/nodes/{node_id}?incarnation={incarnation}"
            ))
            .config()
            .timeout_global(Some(timeout))
            .build();
        match read(self.with_token(request).call()) {
            Ok(_) | Err(RequestError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The body of a successful answer, read to its end so that the connection can be reused.
fn read(answer: Result<Response<Body>, ureq::Error>) -> Result<Vec<u8>, RequestError> {
    let mut answer = answer.map_err(|error| no_answer(&error))?;
    let body = answer
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec();
    if answer.status().as_u16() == 200 {
        return body.map_err(|error| no_answer(&error));
    }
    // The status is enough when the body cannot be read.
    Err(refusal(&answer, &body.unwrap_or_default()))
}

/// The reason for a missing answer: the control plane, or a limit of this process.
fn no_answer(error: &ureq::Error) -> RequestError {
    let limit = match error {
        ureq::Error::Io(cause) if is_local_limit(cause) => Some(cause.to_string()),
        // The resolver also reports this when it cannot open a socket.
        ureq::Error::HostNotFound => spare_descriptor().err().map(|limit| limit.to_string()),
        ureq::Error::Io(cause) if cause.raw_os_error().is_none() => {
            spare_descriptor().err().map(|limit| limit.to_string())
        }
        _ => None,
    };
    match limit {
        Some(limit) => RequestError::OwnLimit(limit),
        None => RequestError::NoAnswer(explain(error).unwrap_or_else(|| error.to_string())),
    }
}

fn refusal(answer: &Response<Body>, body: &[u8]) -> RequestError {
    let status = answer.status().as_u16();
    let header = answer.headers().get("retry-after");
    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    match serde_json::from_slice::<ErrorEnvelope>(body) {
        Ok(ErrorEnvelope { error, .. }) => RequestError::Refused {
            status,
            code: Some(one_line(&error.code, MAX_ECHO_BYTES)),
            message: one_line(&error.message, MAX_ECHO_BYTES),
            retry_after: error
                .retry_after_ms
                .map(Duration::from_millis)
                .or(retry_after),
        },
        Err(_) => RequestError::Refused {
            status,
            code: None,
            message: shown(body),
            retry_after,
        },
    }
}

/// A foreign text for a log.
fn shown(text: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(text), MAX_ECHO_BYTES)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    // spec: LIVE-18
    #[test]
    fn a_limit_of_this_process_is_not_a_failure_of_the_control_plane() {
        let system = |code: i32| no_answer(&ureq::Error::Io(io::Error::from_raw_os_error(code)));
        // EMFILE, ENFILE
        for code in [24, 23] {
            assert!(matches!(system(code), RequestError::OwnLimit(_)), "{code}");
        }
        // ECONNREFUSED, EHOSTUNREACH
        for code in [111, 113] {
            assert!(matches!(system(code), RequestError::NoAnswer(_)), "{code}");
        }
        let unknown = no_answer(&ureq::Error::HostNotFound);
        assert!(matches!(unknown, RequestError::NoAnswer(_)), "{unknown}");
    }
}
