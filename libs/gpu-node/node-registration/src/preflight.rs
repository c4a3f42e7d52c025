//! Asks a control plane whether this node could join, without changing anything there.

use pool_registry_types::{ErrorCode, HttpUrl, MAX_TEXT_BYTES, NodeId, one_line};
use serde_json::Value;
use thiserror::Error;

use crate::{config::RegistrationConfig, control_plane::RequestError, http::HttpControlPlane};

/// A control plane that the node can join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreflightOk {
    /// Its version, if it reports one.
    pub version: Option<String>,
}

/// Why a node cannot join.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// No answer came.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// This process could not ask, because it is at a limit of its own, such as open files.
    #[error("it was not asked, because this process is at a limit of its own: {0}")]
    OwnLimit(String),
    /// The token is missing or wrong.
    #[error("it does not accept the token of this node: {0}")]
    Token(String),
    /// It is its own only node (HOME profile), so no other node can join.
    #[error("it runs in the HOME profile, where no node joins")]
    HomeProfile,
    /// Another machine uses this node id.
    #[error("the node id {node_id} is in use by the machine {machine}")]
    NodeIdInUse {
        /// The id of this node.
        node_id: NodeId,
        /// The machine that uses it.
        machine: String,
    },
    /// The answer is not that of a control plane.
    #[error("another service answers there: {0}")]
    NotAControlPlane(String),
}

/// Asks each control plane of `config` whether this node could join, one after the other. Blocks
/// for the request timeout of each at most.
#[must_use]
pub fn preflight(
    config: &RegistrationConfig,
) -> Vec<(HttpUrl, Result<PreflightOk, PreflightError>)> {
    let client = HttpControlPlane::new(config.connect_timeout, config.token.clone(), &config.tls);
    let results = config.control_planes().map(|url| {
        let known = client.get(
            format!("{url}/v2/nodes/{}", config.node_id),
            config.request_timeout,
        );
        let result = check_node(config, known).and_then(|()| {
            let status = client.get(format!("{url}/v2/status"), config.request_timeout);
            check_status(&status.unwrap_or_default())
        });
        (url.clone(), result)
    });
    results.collect()
}

/// Checks what the control plane knows of this node.
fn check_node(
    config: &RegistrationConfig,
    answer: Result<Vec<u8>, RequestError>,
) -> Result<(), PreflightError> {
    let error = match answer {
        Ok(body) => {
            let node: Value = serde_json::from_slice(&body)
                .map_err(|error| PreflightError::NotAControlPlane(error.to_string()))?;
            let machine = node["machine_id"].as_str().ok_or_else(|| {
                PreflightError::NotAControlPlane("its answer describes no node".to_owned())
            })?;
            let is_alive = node["status"] != "offline";
            return if is_alive && machine != config.machine_id.as_str() {
                Err(PreflightError::NodeIdInUse {
                    node_id: config.node_id.clone(),
                    machine: one_line(machine, MAX_TEXT_BYTES),
                })
            } else {
                Ok(())
            };
        }
        Err(error) => error,
    };
    let has = |code: ErrorCode| {
        let code = code.as_str();
        matches!(&error, RequestError::Refused { code: Some(found), .. } if found == code)
    };
    match &error {
        // It does not know this node yet.
        _ if has(ErrorCode::UnknownNode) => Ok(()),
        _ if has(ErrorCode::CloudProfileDisabled) => Err(PreflightError::HomeProfile),
        _ if error.is_about_the_token() => Err(PreflightError::Token(error.to_string())),
        RequestError::NoAnswer(reason) => Err(PreflightError::Unreachable(reason.clone())),
        RequestError::OwnLimit(reason) => Err(PreflightError::OwnLimit(reason.clone())),
        RequestError::Refused { .. } | RequestError::NotUnderstood(_) => {
            Err(PreflightError::NotAControlPlane(error.to_string()))
        }
    }
}

/// Checks its status. A control plane without a readable status is accepted.
fn check_status(status: &[u8]) -> Result<PreflightOk, PreflightError> {
    let status: Value = serde_json::from_slice(status).unwrap_or_default();
    if status["profile"] == "home" {
        return Err(PreflightError::HomeProfile);
    }
    let version = status["version"].as_str();
    Ok(PreflightOk {
        version: version.map(|version| one_line(version, MAX_TEXT_BYTES)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RegistrationConfig {
        let url = || HttpUrl::new("http://h:1").unwrap();
        RegistrationConfig::new("n".parse().unwrap(), "m".parse().unwrap(), url(), url())
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
    fn each_answer_has_its_result() {
        let node = |machine: &str, status: &str| {
            Ok(serde_json::json!({"machine_id": machine, "status": status})
                .to_string()
                .into_bytes())
        };
        let checked = |answer| check_node(&config(), answer);
        assert_eq!(checked(node("m", "online")), Ok(()));
        assert_eq!(checked(node("other", "offline")), Ok(()));
        assert!(matches!(
            checked(node("other", "online")),
            Err(PreflightError::NodeIdInUse { .. })
        ));
        assert_eq!(checked(refused(404, Some(ErrorCode::UnknownNode))), Ok(()));
        assert_eq!(
            checked(refused(503, Some(ErrorCode::CloudProfileDisabled))),
            Err(PreflightError::HomeProfile)
        );
        assert_eq!(
            checked(node("a\u{1b}[2Jb", "online"))
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
            (refused(404, None), "another service"),
            (Ok(b"<html>".to_vec()), "another service"),
            (Ok(b"{}".to_vec()), "another service"),
            (
                Err(RequestError::NoAnswer("refused".into())),
                "cannot be reached",
            ),
            (Err(RequestError::OwnLimit("files".into())), "was not asked"),
        ] {
            let error = checked(answer).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    // spec: CHECK-4
    #[test]
    fn its_status_has_the_profile_and_version() {
        let version = |status: &str| check_status(status.as_bytes()).map(|ok| ok.version);
        assert_eq!(
            version(r#"{"profile":"cloud","version":"0.1.0"}"#),
            Ok(Some("0.1.0".to_owned()))
        );
        assert_eq!(
            version(r#"{"profile":"home","version":"0.2.0"}"#),
            Err(PreflightError::HomeProfile)
        );
        assert_eq!(version("<html>"), Ok(None));
    }
}
