//! The doorkeeper: who presents no right token gets 401 and nothing behind it sees the request.

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse as _};
use bearer_auth::AuthPolicy;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use http_body_util::Either;
use pool_registry_types::{ErrorCode, OpenAiError};

use crate::{ApiError, HttpService, PeerAddr, RequestBody};

/// Open to everybody: probes and load balancers have no token.
const OPEN_PATH: &str = "/health";

/// A service behind an [`AuthPolicy`]. `/health` is open.
#[derive(Debug, Clone)]
pub struct Authenticated<S> {
    policy: Arc<AuthPolicy>,
    inner: S,
}

impl<S> Authenticated<S> {
    /// Lets only those through to `inner` whom `policy` lets in.
    #[must_use]
    pub fn new(policy: AuthPolicy, inner: S) -> Self {
        Self {
            policy: Arc::new(policy),
            inner,
        }
    }
}

impl<S: HttpService> HttpService for Authenticated<S> {
    type Body = Either<S::Body, Body>;

    async fn respond(self, request: Request<RequestBody>) -> Response<Self::Body> {
        let path = request.uri().path();
        if path != OPEN_PATH {
            let allowed = match request.extensions().get::<PeerAddr>() {
                Some(PeerAddr(peer)) => self
                    .policy
                    .authorize(peer.ip(), request.headers())
                    .map_err(|error| error.to_string()),
                None => Err("the peer is unknown".to_owned()),
            };
            if let Err(reason) = allowed {
                return refuse(path, reason).map(Either::Right);
            }
        }
        self.inner.respond(request).await.map(Either::Left)
    }
}

/// 401 in the shape of the routes that were asked for: OpenAI's below `/v1`, else the envelope.
fn refuse(path: &str, reason: String) -> Response<Body> {
    if path != "/v1" && !path.starts_with("/v1/") {
        return ApiError::new(ErrorCode::Unauthorized, reason).into_response();
    }
    let error = OpenAiError::new(ErrorCode::Unauthorized, reason, None);
    let mut response = Response::new(Body::from(serde_json::to_vec(&error).unwrap_or_default()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
