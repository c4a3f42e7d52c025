//! A small `GET` on a connection of its own, for probes.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pool_registry_types::{HttpUrl, NodeId};
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    delay::own_delay,
    error::{ForwardError, StreamError},
    outbound::Outbound,
    proxy::StreamProxy,
    timeouts::Timeouts,
};

/// Why a probe got no response.
#[derive(Debug, Error)]
pub enum GetError {
    /// No response, or not in time.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The response broke off.
    #[error("the answer broke off")]
    Broken(#[source] StreamError),
    /// The timeout expired, but this process noticed it so late that it says nothing about the
    /// target.
    #[error("this process was {} ms late", .0.as_millis())]
    OwnDelay(Duration),
    /// The response is longer than the caller's limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl GetError {
    /// Whether this process caused the failure, so that it says nothing about the target.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self {
            Self::Forward(ForwardError::Local(_) | ForwardError::OwnDelay { .. })
            | Self::OwnDelay(_) => true,
            Self::Broken(error) => error.is_own(),
            Self::Forward(_) | Self::TooLarge(_) => false,
        }
    }

    fn is_late(&self) -> bool {
        matches!(
            self,
            Self::Forward(
                ForwardError::ConnectTimeout { .. }
                    | ForwardError::AcceptQueueFull { .. }
                    | ForwardError::FirstByte { .. }
                    | ForwardError::Deadline { .. }
            ) | Self::Broken(StreamError::Stalled(_) | StreamError::Deadline)
        )
    }

    /// The error and its causes in one line:
    /// `cannot connect to http://127.0.0.1:8081: Connection refused (os error 111)`.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Gets `path` from `target`, within `limit` for everything and up to `max_bytes` of body. Does not
/// follow redirects.
///
/// # Errors
/// When no complete response came. A response with an error status is a success here.
pub async fn get(
    target: &HttpUrl,
    path: PathAndQuery,
    limit: Duration,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), GetError> {
    get_authorized(target, path, None, limit, max_bytes).await
}

/// As [`get`], with the value of the `Authorization` header.
///
/// # Errors
/// When no complete response came. A response with an error status is a success here.
pub async fn get_authorized(
    target: &HttpUrl,
    path: PathAndQuery,
    authorization: Option<HeaderValue>,
    limit: Duration,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), GetError> {
    let proxy = StreamProxy::new();
    let to = Target {
        node: None,
        url: target,
    };
    get_through(&proxy, to, path, authorization, limit, max_bytes).await
}

/// As [`get`] from a node, with the trust and the allowed addresses of `proxy`, and a connection of
/// its own. With TLS, a server whose certificate is that of another holder is refused.
///
/// # Errors
/// When no complete response came. A response with an error status is a success here.
pub async fn get_as(
    proxy: &StreamProxy,
    node: &NodeId,
    target: &HttpUrl,
    path: PathAndQuery,
    limit: Duration,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), GetError> {
    let proxy = proxy.without_connections();
    let to = Target {
        node: Some(node),
        url: target,
    };
    get_through(&proxy, to, path, None, limit, max_bytes).await
}

/// Where a response comes from.
#[derive(Clone, Copy)]
struct Target<'a> {
    /// The only node that may answer.
    node: Option<&'a NodeId>,
    url: &'a HttpUrl,
}

async fn get_through(
    proxy: &StreamProxy,
    target: Target<'_>,
    path: PathAndQuery,
    authorization: Option<HeaderValue>,
    limit: Duration,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), GetError> {
    let due = Instant::now() + limit;
    let response = request(proxy, target, path, authorization, limit, due, max_bytes).await;
    response.map_err(|error| match own_delay(due, limit, Instant::now()) {
        Some(late) if error.is_late() => GetError::OwnDelay(late),
        _ => error,
    })
}

async fn request(
    proxy: &StreamProxy,
    target: Target<'_>,
    path: PathAndQuery,
    authorization: Option<HeaderValue>,
    limit: Duration,
    due: Instant,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), GetError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("llorch/", env!("CARGO_PKG_VERSION"))),
    );
    headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
    let request = Outbound::new(Method::GET, path, headers, Bytes::new());
    let timeouts = Timeouts {
        connect: limit,
        first_byte: limit,
        between_frames: limit,
        deadline: Some(due),
        ..Timeouts::default()
    };
    // With a proxy of its own, the connection closes after the response. Engines accept only a few
    // connections.
    let (head, body) = proxy
        .forward_to(target.node, target.url, &request, timeouts)
        .await?
        .into_parts();
    match Limited::new(body, max_bytes).collect().await {
        Ok(whole) => Ok((head.status, whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(GetError::TooLarge(max_bytes)),
        Err(error) => match error.downcast::<StreamError>() {
            Ok(error) => Err(GetError::Broken(*error)),
            // `Limited` has no third kind of error.
            Err(_) => Err(GetError::TooLarge(max_bytes)),
        },
    }
}
