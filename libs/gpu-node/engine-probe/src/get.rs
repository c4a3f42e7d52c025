//! One GET on a connection of its own, with a deadline and a cap.

use std::{io, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    Request,
    header::{ACCEPT, CONNECTION, HOST},
};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pool_registry_types::HttpUrl;
use thiserror::Error;
use tokio::{net::TcpStream, time};

/// The most of a body that is read, in bytes. A thousand models need a fraction of it.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The most of a head that is read, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum GetError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no HTTP answer: {0}")]
    Http(hyper::Error),
    #[error("cannot be asked for: {0}")]
    Request(http::Error),
    #[error("the answer is longer than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Gets `path` of the engine at `url`; everything together takes at most `limit`.
///
/// A connection per question tells what a kept one cannot: that a new request would get through.
pub(crate) async fn get(url: &HttpUrl, path: &str, limit: Duration) -> Result<Answer, GetError> {
    time::timeout(limit, connect_and_get(url, path))
        .await
        .unwrap_or(Err(GetError::TimedOut(limit)))
}

async fn connect_and_get(url: &HttpUrl, path: &str) -> Result<Answer, GetError> {
    let request = Request::get(format!("{}{path}", url.base_path()))
        .header(HOST, url.authority().as_str())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(GetError::Request)?;
    let stream = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(GetError::Connect)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(GetError::Http)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(GetError::Http)?;
        let status = response.status().as_u16();
        let body = read_body(response.into_body()).await?;
        Ok(Answer { status, body })
    };
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection has done its part; what it read is waiting. Its error, if any, the exchange tells.
        _ = connection => exchange.await,
    }
}

async fn read_body(mut body: hyper::body::Incoming) -> Result<Bytes, GetError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(GetError::Http)?.into_data() {
            if whole.len() + data.len() > MAX_BODY_BYTES {
                return Err(GetError::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
