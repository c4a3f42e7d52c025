//! One probe: does anything speak HTTP at the node's address?

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pool_registry_types::HttpUrl;
use thiserror::Error;
use tokio::net::TcpStream;

/// Why a probe failed.
#[derive(Debug, Error)]
pub(crate) enum ProbeError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no HTTP answer: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("no request can be made for this address: {0}")]
    Request(#[from] http::Error),
}

/// Asks `{address}/health`. Any HTTP answer means alive, whatever its status: a node that says it is not healthy
/// can be reached. Redirects are not followed, so a node cannot send the probe elsewhere.
pub(crate) async fn probe(address: &HttpUrl, timeout: Duration) -> Result<(), ProbeError> {
    tokio::time::timeout(timeout, exchange(address))
        .await
        .map_err(|_| ProbeError::Timeout(timeout))?
}

async fn exchange(address: &HttpUrl) -> Result<(), ProbeError> {
    let request = Request::get(format!("{}/health", address.base_path()))
        .header(header::HOST, address.authority().as_str())
        .body(Empty::<Bytes>::new())?;
    let stream = TcpStream::connect((address.host(), address.port()))
        .await
        .map_err(ProbeError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => answer?,
        // A node that closes after its answer ends the connection first; the answer is there all the same.
        ended = connection => {
            ended?;
            answer.await?
        }
    };
    Ok(())
}
