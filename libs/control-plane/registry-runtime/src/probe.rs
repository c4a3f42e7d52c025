//! One probe: does anything speak HTTP at the node's address?

use std::time::Duration;

use http::uri::PathAndQuery;
use pool_registry_types::HttpUrl;
use stream_proxy::GetError;
use thiserror::Error;

/// The most of an answer's body that is read, in bytes. What it says does not matter, so this only has to be more
/// than an agent says in most cases: reading an answer to its end spares the node a reset.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024;

/// Why a probe failed, with all its causes: it is told to people.
#[derive(Debug, Error)]
#[error("{}", .0.with_causes())]
pub(crate) struct ProbeError(GetError);

/// Asks `{address}/health`. Any whole HTTP answer means alive, whatever its status: a node that says it is not healthy
/// can be reached. Redirects are not followed, so a node cannot send the probe elsewhere.
pub(crate) async fn probe(address: &HttpUrl, timeout: Duration) -> Result<(), ProbeError> {
    let path = PathAndQuery::from_static("/health");
    match stream_proxy::get(address, path, timeout, MAX_BODY_BYTES).await {
        // An answer too long to be read is an answer.
        Ok(_) | Err(GetError::TooLarge(_)) => Ok(()),
        Err(error) => Err(ProbeError(error)),
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

    async fn listener() -> (TcpListener, HttpUrl) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        (listener, url)
    }

    #[tokio::test]
    async fn a_failure_names_its_cause() {
        let (listener, url) = listener().await;
        drop(listener);
        let said = probe(&url, LONG).await.unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("cannot connect to {url}: Connection refused")),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_node_that_never_answers_is_given_up() {
        // It accepts nothing; the kernel takes the connection all the same.
        let (_listener, url) = listener().await;
        let said = probe(&url, Duration::from_millis(50))
            .await
            .unwrap_err()
            .to_string();
        assert!(said.contains("deadline passed"), "{said}");
    }

    #[tokio::test]
    async fn an_answer_too_long_to_be_read_is_a_sign_of_life() {
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
        let (alive, _open) = tokio::join!(probe(&url, LONG), node);
        alive.unwrap();
    }
}
