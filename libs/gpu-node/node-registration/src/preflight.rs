//! A look at the control plane that changes nothing there: whether this node could join.

use pool_registry_types::{ErrorCode, HttpUrl, MAX_TEXT_BYTES, NodeId, one_line};
use serde_json::Value;
use thiserror::Error;

use crate::{config::Config, control_plane::RequestError, http::HttpControlPlane};

/// What a control plane says to a node that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreflightOk {
    /// Its version, where it tells it.
    pub version: Option<String>,
}

/// Why a node could not join.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// No answer came.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// This process could not ask.
    #[error("it was not asked, because this process is at a limit of its own: {0}")]
    OwnLimit(String),
    /// The token is missing or wrong.
    #[error("it does not accept the token of this node: {0}")]
    Token(String),
    /// It is an `orchestratord` in the HOME profile.
    #[error("it runs in the HOME profile, where no node joins")]
    Home,
    /// Another machine uses this node id.
    #[error("the node id {node_id} is in use by the machine {machine}")]
    Conflict {
        /// This node.
        node_id: NodeId,
        /// The machine that has it.
        machine: String,
    },
    /// Something else answers.
    #[error("this is no orchestratord: {0}")]
    Foreign(String),
}

impl PreflightError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "start orchestratord, or correct ORCHESTRATORD_URL, the name's address or the \
                 firewall between"
            }
            Self::OwnLimit(_) => "raise the limit of open files (ulimit -n)",
            Self::Token(_) => {
                "set LLORCH_API_TOKEN to the token that orchestratord was started with"
            }
            Self::Home => "start it with ORCHESTRATORD_CLOUD_PROFILE=true",
            Self::Conflict { .. } => {
                "give one of the two another POOL_MANAGERD_NODE_ID, or stop the other; where both \
                 are this machine, give it its former POOL_MANAGERD_MACHINE_ID"
            }
            Self::Foreign(_) => {
                "correct ORCHESTRATORD_URL: it is the address alone, without a path such as /v1"
            }
        }
    }
}

/// Asks each control plane of `config` whether this node could join, one after the other. Blocks
/// for [`Config::request_timeout`] each at most.
#[must_use]
pub fn preflight(config: &Config) -> Vec<(HttpUrl, Result<PreflightOk, PreflightError>)> {
    let client = HttpControlPlane::new(config.connect_timeout, config.token.clone());
    let looked = config.orchestrators.iter().map(|url| {
        let known = client.get(
            format!("{url}/v2/nodes/{}", config.node_id),
            config.request_timeout,
        );
        let welcome = judge(config, known).and_then(|()| {
            let status = client.get(format!("{url}/v2/status"), config.request_timeout);
            welcome(&status.unwrap_or_default())
        });
        (url.clone(), welcome)
    });
    looked.collect()
}

/// What the answer to "who is this node?" means.
fn judge(config: &Config, answer: Result<Vec<u8>, RequestError>) -> Result<(), PreflightError> {
    let error = match answer {
        Ok(body) => {
            let node: Value = serde_json::from_slice(&body)
                .map_err(|error| PreflightError::Foreign(error.to_string()))?;
            let machine = node["machine_id"].as_str().ok_or_else(|| {
                PreflightError::Foreign("its answer describes no node".to_owned())
            })?;
            let is_alive = node["status"] != "offline";
            return if is_alive && machine != config.machine_id.as_str() {
                Err(PreflightError::Conflict {
                    node_id: config.node_id.clone(),
                    machine: one_line(machine, MAX_TEXT_BYTES),
                })
            } else {
                Ok(())
            };
        }
        Err(error) => error,
    };
    let has = |code: ErrorCode| matches!(&error, RequestError::Refused { code: Some(found), .. } if found == code.as_str());
    match &error {
        // It knows us not yet.
        _ if has(ErrorCode::UnknownNode) => Ok(()),
        _ if has(ErrorCode::CloudProfileDisabled) => Err(PreflightError::Home),
        _ if error.is_about_the_token() => Err(PreflightError::Token(error.to_string())),
        RequestError::NoAnswer(reason) => Err(PreflightError::Unreachable(reason.clone())),
        RequestError::OwnLimit(reason) => Err(PreflightError::OwnLimit(reason.clone())),
        RequestError::Refused { .. } | RequestError::NotUnderstood(_) => {
            Err(PreflightError::Foreign(error.to_string()))
        }
    }
}

/// What its status says to a node that it does not refuse. One that says nothing of itself is taken
/// as it is.
fn welcome(status: &[u8]) -> Result<PreflightOk, PreflightError> {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    if status["profile"] == "home" {
        return Err(PreflightError::Home);
    }
    let version = status["version"].as_str();
    Ok(PreflightOk {
        version: version.map(|version| one_line(version, MAX_TEXT_BYTES)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let url = || HttpUrl::new("http://h:1").unwrap();
        Config::new("n".parse().unwrap(), "m".parse().unwrap(), url(), url())
    }

    fn refused(status: u16, code: Option<ErrorCode>) -> Result<Vec<u8>, RequestError> {
        Err(RequestError::Refused {
            status,
            code: code.map(|code| code.as_str().to_owned()),
            message: "why".to_owned(),
            retry_after: None,
        })
    }

    // spec: CHECK-4
    #[test]
    fn each_answer_has_its_meaning() {
        let node = |machine: &str, status: &str| {
            Ok(serde_json::json!({"machine_id": machine, "status": status})
                .to_string()
                .into_bytes())
        };
        let judged = |answer| judge(&config(), answer);
        assert_eq!(judged(node("m", "online")), Ok(()));
        assert_eq!(judged(node("other", "offline")), Ok(()));
        assert!(matches!(
            judged(node("other", "online")),
            Err(PreflightError::Conflict { .. })
        ));
        assert_eq!(judged(refused(404, Some(ErrorCode::UnknownNode))), Ok(()));
        assert_eq!(
            judged(refused(503, Some(ErrorCode::CloudProfileDisabled))),
            Err(PreflightError::Home)
        );
        assert_eq!(
            judged(node("a\u{1b}[2Jb", "online"))
                .unwrap_err()
                .to_string(),
            "the node id n is in use by the machine a [2Jb"
        );
        for (answer, expected) in [
            (
                refused(401, Some(ErrorCode::Unauthorized)),
                "accept the token",
            ),
            (refused(403, None), "accept the token"),
            (refused(404, None), "no orchestratord"),
            (Ok(b"<html>".to_vec()), "no orchestratord"),
            (Ok(b"{}".to_vec()), "no orchestratord"),
            (
                Err(RequestError::NoAnswer("refused".into())),
                "cannot be reached",
            ),
            (Err(RequestError::OwnLimit("files".into())), "was not asked"),
        ] {
            let error = judged(answer).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.hint().is_empty());
        }
    }

    // spec: CHECK-4
    #[test]
    fn its_status_says_whether_nodes_join_and_which_version_it_is() {
        let version = |status: &str| welcome(status.as_bytes()).map(|welcome| welcome.version);
        assert_eq!(
            version(r#"{"profile":"cloud","version":"0.1.0"}"#),
            Ok(Some("0.1.0".to_owned()))
        );
        assert_eq!(
            version(r#"{"profile":"home","version":"0.2.0"}"#),
            Err(PreflightError::Home)
        );
        assert_eq!(version("<html>"), Ok(None));
    }
}
