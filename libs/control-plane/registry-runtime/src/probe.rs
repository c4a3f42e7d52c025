//! One probe of a node.

use std::time::Duration;

use http::uri::PathAndQuery;
use pool_registry_types::{HealthAnswer, HttpUrl, NodeId, ORCHESTRATORD};
use stream_proxy::{GetError, StreamProxy};
use thiserror::Error;

/// The most bytes of an answer that are read. The answer of an agent is shorter. A longer one still
/// shows that the address answers. Reading an answer to its end avoids a reset of the connection.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024;

/// Why a probe failed, with all causes, for people.
#[derive(Debug, Error)]
pub(crate) enum ProbeError {
    /// This process could not send the probe, so nothing is known about the node.
    #[error("{}", .0.with_causes())]
    Own(GetError),
    /// No answer came.
    #[error("{}", .0.with_causes())]
    NoAnswer(GetError),
    #[error(
        "an orchestratord answers at the node's address, maybe this one: correct the \
         address in the settings of the node"
    )]
    ControlPlane,
    #[error(
        "the node {0} answers at its address: correct the address in the settings of one of the two"
    )]
    OtherNode(NodeId),
    #[error("another incarnation of the node answers, which has not registered yet")]
    OtherIncarnation,
}

/// Requests `{address}/health`. Every complete HTTP answer is a success, whatever its status: an
/// unhealthy node is reachable. An identity in the answer must be that of the node; an answer
/// without one is accepted. Redirects are not followed, so a node cannot redirect a probe.
pub(crate) async fn probe(
    proxy: &StreamProxy,
    node_id: &NodeId,
    incarnation: Option<u64>,
    address: &HttpUrl,
    timeout: Duration,
) -> Result<(), ProbeError> {
    let path = PathAndQuery::from_static("/health");
    match stream_proxy::get_as(proxy, node_id, address, path, timeout, MAX_BODY_BYTES).await {
        Ok((_, body)) => identify(node_id, incarnation, &body),
        // A long answer is an answer.
        Err(GetError::TooLarge(_)) => Ok(()),
        Err(error) if error.is_own() => Err(ProbeError::Own(error)),
        Err(error) => Err(ProbeError::NoAnswer(error)),
    }
}

/// Whether this incarnation of the node answers at its address. An answer without an identity is
/// none: any program may give it.
///
/// # Errors
/// When this process could not ask.
pub(crate) async fn is_alive(
    proxy: &StreamProxy,
    node_id: &NodeId,
    incarnation: Option<u64>,
    address: &HttpUrl,
    timeout: Duration,
) -> Result<bool, GetError> {
    let path = PathAndQuery::from_static("/health");
    match stream_proxy::get_as(proxy, node_id, address, path, timeout, MAX_BODY_BYTES).await {
        Ok((_, body)) => Ok(is_surely(node_id, incarnation, &body)),
        Err(error) if error.is_own() => Err(error),
        Err(_) => Ok(false),
    }
}

fn is_surely(node_id: &NodeId, incarnation: Option<u64>, body: &[u8]) -> bool {
    let answer = serde_json::from_slice::<HealthAnswer>(body).unwrap_or_default();
    answer.node_id.as_ref() == Some(node_id)
        && incarnation.is_some()
        && answer.incarnation == incarnation
}

/// Whether an answer with this body may come from the node.
fn identify(node_id: &NodeId, incarnation: Option<u64>, body: &[u8]) -> Result<(), ProbeError> {
    let Ok(answer) = serde_json::from_slice::<HealthAnswer>(body) else {
        return Ok(());
    };
    if answer.service.as_deref() == Some(ORCHESTRATORD) {
        return Err(ProbeError::ControlPlane);
    }
    if let Some(other) = answer.node_id.filter(|answers| answers != node_id) {
        return Err(ProbeError::OtherNode(other));
    }
    let is_another = incarnation
        .zip(answer.incarnation)
        .is_some_and(|(known, answers)| known != answers);
    if is_another {
        Err(ProbeError::OtherIncarnation)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Longer than any answer here takes.
    const LONG: Duration = Duration::from_secs(20);

    fn id(node: &str) -> NodeId {
        NodeId::new(node).unwrap()
    }

    async fn ask(url: &HttpUrl, timeout: Duration) -> Result<(), ProbeError> {
        probe(&StreamProxy::new(), &id("a"), Some(1), url, timeout).await
    }

    // spec: LIVE-16
    #[test]
    fn the_identity_in_an_answer_must_be_that_of_the_node() {
        for (body, expected) in [
            ("", Ok(())),
            ("it is well", Ok(())),
            ("[]", Ok(())),
            (r#"{"status":"ok"}"#, Ok(())),
            (
                r#"{"status":"ok","service":"pool-managerd","node_id":"a","incarnation":7}"#,
                Ok(()),
            ),
            (
                r#"{"status":"ok","service":"pool-managerd","node_id":"a"}"#,
                Ok(()),
            ),
            (r#"{"node_id":"b"}"#, Err("the node b answers")),
            (
                r#"{"node_id":"a","incarnation":8}"#,
                Err("another incarnation of the node"),
            ),
            (
                r#"{"status":"ok","service":"orchestratord"}"#,
                Err("an orchestratord answers"),
            ),
            // The answer of another program has no identity.
            (r#"{"node_id":{"x":1},"incarnation":"7"}"#, Ok(())),
        ] {
            let found =
                identify(&id("a"), Some(7), body.as_bytes()).map_err(|error| error.to_string());
            match (found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(said), Err(part)) => assert!(said.contains(part), "{body}: {said}"),
                (found, _) => panic!("{body}: {found:?}"),
            }
        }
        // A node that registered without one may have any.
        identify(&id("a"), None, br#"{"node_id":"a","incarnation":8}"#).unwrap();
    }

    // spec: LIVE-42
    #[test]
    fn only_an_answer_with_the_whole_identity_shows_that_a_node_is_alive() {
        for (body, expected) in [
            (r#"{"status":"ok","node_id":"a","incarnation":7}"#, true),
            (r#"{"status":"ok","node_id":"a","incarnation":8}"#, false),
            (r#"{"status":"ok","node_id":"b","incarnation":7}"#, false),
            (r#"{"status":"ok","node_id":"a"}"#, false),
            (r#"{"status":"ok"}"#, false),
            ("it is well", false),
        ] {
            let found = is_surely(&id("a"), Some(7), body.as_bytes());
            assert_eq!(found, expected, "{body}");
        }
        assert!(!is_surely(&id("a"), None, br#"{"node_id":"a"}"#));
    }

    async fn listener() -> (TcpListener, HttpUrl) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        (listener, url)
    }

    #[tokio::test]
    async fn a_failure_names_its_cause() {
        let (listener, url) = listener().await;
        drop(listener);
        let said = ask(&url, LONG).await.unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("cannot connect to {url}: Connection refused")),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_node_that_never_answers_is_abandoned() {
        // It accepts nothing; the kernel takes the connection all the same.
        let (_listener, url) = listener().await;
        let said = ask(&url, Duration::from_millis(50))
            .await
            .unwrap_err()
            .to_string();
        assert!(said.contains("deadline passed"), "{said}");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_a_success() {
        let (listener, url) = listener().await;
        let node = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            let length = MAX_BODY_BYTES + 1;
            let body = "x".repeat(length);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            // The other end may have heard enough already.
            let _ = stream.write_all(answer.as_bytes()).await;
            stream
        };
        let (alive, _open) = tokio::join!(ask(&url, LONG), node);
        alive.unwrap();
    }
}
