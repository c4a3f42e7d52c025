//! A small `GET` on a connection of its own, for probes.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use pool_registry_types::HttpUrl;
use thiserror::Error;
use tokio::time::Instant;

use crate::{Clocks, ForwardError, Outbound, StreamError, StreamProxy, delay::own_delay};

/// Why a probe got no answer.
#[derive(Debug, Error)]
pub enum GetError {
    /// Nothing usable came back, or not in time.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The answer broke off.
    #[error("the answer broke off")]
    Broken(#[source] StreamError),
    /// The time was up, and this process noticed so late that it says nothing about the target.
    #[error("this process was {} ms late itself", .0.as_millis())]
    OwnDelay(Duration),
    /// The answer is longer than the caller wants to read.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl GetError {
    /// Whether this process itself is the reason, so that the failure says nothing about the
    /// target.
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
                    | ForwardError::FirstByte { .. }
                    | ForwardError::Deadline { .. }
            ) | Self::Broken(StreamError::Stalled(_) | StreamError::Deadline)
        )
    }

    /// The error and what caused it, on one line for people:
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

/// Asks `target` for `path`, within `limit` for everything and up to `max_bytes` of body. Redirects
/// are not followed.
///
/// # Errors
/// When no whole answer came; an error status is an answer.
pub async fn get(
    target: &HttpUrl,
    path: PathAndQuery,
    limit: Duration,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), GetError> {
    let due = Instant::now() + limit;
    let answer = ask(target, path, limit, due, max_bytes).await;
    answer.map_err(|error| match own_delay(due, limit, Instant::now()) {
        Some(late) if error.is_late() => GetError::OwnDelay(late),
        _ => error,
    })
}

async fn ask(
    target: &HttpUrl,
    path: PathAndQuery,
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
    let request = Outbound::new(Method::GET, path, headers, Bytes::new());
    let clocks = Clocks {
        connect: limit,
        first_byte: limit,
        between_frames: limit,
        deadline: Some(due),
        ..Clocks::default()
    };
    // A proxy of its own, so that the connection ends with the answer: engines have few to give.
    let (head, body) = StreamProxy::new()
        .forward(target, &request, clocks)
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
