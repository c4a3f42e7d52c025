//! Sign-in of the page: a session in a cookie that scripts cannot read.

use std::{sync::Arc, time::SystemTime};

use axum::{Extension, Json, extract::State, response::IntoResponse as _, response::Response};
use bearer_auth::{
    AuthError, AuthPolicy, SESSION_COOKIE, SESSION_LIFE, Scopes, SessionError, SessionSecret,
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use http_server::{Access, ApiError, OverTls, Principal, Routes, Scope};
use pool_registry_types::ErrorCode;
use serde::Serialize;

/// Opens and closes sessions of browsers.
#[derive(Debug, Clone)]
pub struct SessionApi {
    policy: AuthPolicy,
}

/// Who is signed in.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Session))]
pub(crate) struct SessionAnswer {
    /// The holder, as the audit log names it.
    who: String,
    /// What the holder may do.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    scopes: Vec<Scope>,
    /// Whether a cookie says so, which can be closed.
    is_session: bool,
}

impl SessionAnswer {
    fn new(principal: &Principal, is_session: bool) -> Self {
        let scopes = match principal {
            Principal::Key(identity) => identity.scopes.with_included(),
            _ => Scopes::ALL,
        };
        Self {
            who: principal.to_string(),
            scopes: scopes.iter().collect(),
            is_session,
        }
    }
}

impl SessionApi {
    /// Sessions of the credentials that `policy` accepts.
    #[must_use]
    pub fn new(policy: AuthPolicy) -> Self {
        Self { policy }
    }

    /// The routes.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post("/v2/session", Access::ANY, open)
            .get("/v2/session", Access::ANY, show)
            .delete("/v2/session", Access::ANY, close)
            .with_state(Arc::new(self))
    }
}

/// Opens a session for the token of this request.
///
/// The cookie of the answer stands for the token for twelve hours, on requests of pages of this
/// server. A restart of the server, and the end of the key, end it as well. A caller that is served
/// without a token gets no cookie.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/session", tag = "page",
    responses((status = 200, description = "`Set-Cookie` has the session, if `is_session`.",
        body = SessionAnswer))
))]
pub(crate) async fn open(
    State(api): State<Arc<SessionApi>>,
    Extension(principal): Extension<Principal>,
    over_tls: Option<Extension<OverTls>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match api.policy.open_session(&headers, SystemTime::now()) {
        Ok(secret) => {
            let cookie = cookie(Some(&secret), over_tls.is_some());
            Ok((cookie, Json(SessionAnswer::new(&principal, true))).into_response())
        }
        // The caller is served without a token, so it needs no session.
        Err(SessionError::NotAuthorized(AuthError::Missing)) => {
            Ok(Json(SessionAnswer::new(&principal, false)).into_response())
        }
        Err(error @ SessionError::NotAuthorized(_)) => {
            Err(ApiError::new(ErrorCode::Unauthorized, error.to_string()))
        }
        Err(error @ SessionError::NoRandomNumbers(_)) => {
            Err(ApiError::new(ErrorCode::Internal, error.to_string()))
        }
    }
}

/// Who is signed in.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/session", tag = "page",
    responses((status = 200, description = "The caller of this request.", body = SessionAnswer))
))]
pub(crate) async fn show(
    State(api): State<Arc<SessionApi>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
) -> Response {
    let session = api.policy.session(&headers, SystemTime::now());
    let answer = SessionAnswer::new(&principal, session.is_some_and(|session| session.is_ok()));
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (no_store, Json(answer)).into_response()
}

/// Ends the session of this request's cookie.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/v2/session", tag = "page",
    responses((status = 204, description = "The cookie is worthless from now on."))
))]
pub(crate) async fn close(
    State(api): State<Arc<SessionApi>>,
    over_tls: Option<Extension<OverTls>>,
    headers: HeaderMap,
) -> Response {
    api.policy.close_session(&headers);
    (StatusCode::NO_CONTENT, cookie(None, over_tls.is_some())).into_response()
}

/// The headers that set the cookie, or remove it.
fn cookie(secret: Option<&SessionSecret>, over_tls: bool) -> HeaderMap {
    let (value, life) = match secret {
        Some(secret) => (secret.reveal(), SESSION_LIFE.as_secs()),
        None => ("", 0),
    };
    // Browsers take `Secure` over TLS only.
    let secure = if over_tls { "; Secure" } else { "" };
    let cookie = format!(
        "{SESSION_COOKIE}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
        cookie.set_sensitive(true);
        headers.insert(SET_COOKIE, cookie);
    }
    headers
}

#[cfg(test)]
mod tests;
