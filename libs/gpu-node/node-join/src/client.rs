//! One request to a control plane.

use std::time::Duration;

use pool_registry_types::{CONTROL_PLANE_URI, ErrorEnvelope, HttpUrl, one_line};
use serde::{Serialize, de::DeserializeOwned};
use tls_config::ClientTls;
use tls_ureq::{TlsConnector, explain};
use ureq::{
    Agent,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};

use crate::error::JoinError;

/// The longest answer that is read: two certificates and a token have a tenth of it.
const ANSWER_BYTES: u64 = 64 * 1024;

/// How long an answer may take. The control plane writes to its disk before it answers.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How much of a foreign text an error repeats.
const ECHO_BYTES: usize = 300;

/// Sends `body` to `path` of the control plane at `url`.
pub(crate) fn post<T: DeserializeOwned>(
    url: &HttpUrl,
    path: &str,
    body: &impl Serialize,
    tls: &ClientTls,
) -> Result<T, JoinError> {
    let not_understood = |reason: String| JoinError::NotUnderstood {
        url: url.clone(),
        reason,
    };
    let body = serde_json::to_vec(body).map_err(|error| not_understood(error.to_string()))?;
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        // A redirect would send the token to another server.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("node-join/", env!("CARGO_PKG_VERSION")))
        .build();
    let tls = TlsConnector::new(tls.expecting(CONTROL_PLANE_URI));
    let connector = ().chain(TcpConnector::default()).chain(tls);
    let agent = Agent::with_parts(config, connector, DefaultResolver::default());
    let sent = agent
        .post(format!("{url}{path}"))
        .content_type("application/json")
        .send(&body);
    let no_answer = |error: &ureq::Error| JoinError::NoAnswer {
        url: url.clone(),
        reason: explain(error).unwrap_or_else(|| error.to_string()),
    };
    let mut answer = sent.map_err(|error| no_answer(&error))?;
    let read = answer.body_mut().with_config().limit(ANSWER_BYTES);
    let text = read.read_to_vec().map_err(|error| no_answer(&error))?;
    let status = answer.status().as_u16();
    if status == 200 {
        return serde_json::from_slice(&text).map_err(|error| not_understood(error.to_string()));
    }
    let message = match serde_json::from_slice::<ErrorEnvelope>(&text) {
        Ok(envelope) => one_line(&envelope.error.message, ECHO_BYTES),
        Err(_) if (300..400).contains(&status) => {
            return Err(not_understood(format!(
                "it answers with a redirect ({status}), which is not followed"
            )));
        }
        Err(_) => format!(
            "{status} {}",
            one_line(&String::from_utf8_lossy(&text), ECHO_BYTES)
        ),
    };
    Err(JoinError::Refused {
        url: url.clone(),
        message,
    })
}
