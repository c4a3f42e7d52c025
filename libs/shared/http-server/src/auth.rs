//! Refuses requests before a service sees them: without the right token, for a host of others, or
//! from a page of another origin.

use std::sync::Arc;

use axum::body::Body;
use bearer_auth::AuthPolicy;
use futures_util::{FutureExt as _, future};
use http::{
    HeaderMap, HeaderName, Request, Response,
    header::{HOST, ORIGIN},
};
use http_body_util::Either;
use pool_registry_types::ErrorCode;

use crate::{
    AllowedHosts, ApiError, HttpService, RequestBody,
    refusal::{FULL, RETRY_AFTER},
};

/// Open to everybody: probes and load balancers have no token.
const OPEN_PATH: &str = "/health";

/// A service behind an [`AuthPolicy`]. `/health` is open, and what [`opening`](Self::opening)
/// names.
///
/// Without a token, loopback peers are served, with two exceptions for browsers on this machine,
/// both answered 403: a request for a host that is not allowed, since any name may lead here, and
/// one from a page of another origin. With a token any host is served: reverse proxies pass on the
/// name by which they were asked themselves.
#[derive(Debug, Clone)]
pub struct Authenticated<S> {
    policy: Arc<AuthPolicy>,
    hosts: AllowedHosts,
    open: &'static [&'static str],
    inner: S,
}

impl<S> Authenticated<S> {
    /// Lets only those through to `inner` whom `policy` lets in; without a token, only to one of
    /// `hosts`.
    #[must_use]
    pub fn new(policy: AuthPolicy, hosts: AllowedHosts, inner: S) -> Self {
        Self {
            policy: Arc::new(policy),
            hosts,
            open: &[],
            inner,
        }
    }

    /// With these paths open to everybody too: what is there is the same for all and tells nothing
    /// of this server.
    #[must_use]
    pub fn opening(self, open: &'static [&'static str]) -> Self {
        Self { open, ..self }
    }
}

impl<S: HttpService> HttpService for Authenticated<S> {
    type Body = Either<S::Body, Body>;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let path = request.uri().path();
        if path != OPEN_PATH
            && !self.open.contains(&path)
            && let Err(refusal) = self.check(&request)
        {
            let refusal = refusal.into_response_for(path).map(Either::Right);
            return future::Either::Left(future::ready(refusal));
        }
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(|response| response.map(Either::Left)))
    }
}

impl<S> Authenticated<S> {
    fn check(&self, request: &Request<RequestBody>) -> Result<(), ApiError> {
        let unauthorized = |reason: String| ApiError::new(ErrorCode::Unauthorized, reason);
        let Some(peer) = request.body().caller().and_then(|caller| caller.peer) else {
            return Err(unauthorized("the peer is unknown".to_owned()));
        };
        self.policy
            .authorize(peer.0.ip(), request.headers())
            .map_err(|error| unauthorized(error.to_string()))?;
        // Whoever presents the token may be a page of anywhere: somebody gave it the token.
        if !self.policy.has_token() {
            self.hosts.check(request.headers())?;
            if !is_our_own(request.headers()) {
                let reason =
                    "no token is set on this server, so pages of other origins are not served";
                return Err(ApiError::new(ErrorCode::Forbidden, reason));
            }
        }
        if request.body().authenticate() {
            return Ok(());
        }
        Err(ApiError::new(ErrorCode::TooManyConnections, FULL).retry_after(RETRY_AFTER))
    }
}

/// A service without authentication that answers for some hosts only, if it was told of any.
/// `/health` is open.
#[derive(Debug, Clone)]
pub struct OnlyFor<S> {
    hosts: Option<AllowedHosts>,
    inner: S,
}

impl<S> OnlyFor<S> {
    /// Lets only requests for one of `hosts` through to `inner`; `None` lets all of them.
    #[must_use]
    pub fn new(hosts: Option<AllowedHosts>, inner: S) -> Self {
        Self { hosts, inner }
    }
}

impl<S: HttpService> HttpService for OnlyFor<S> {
    type Body = Either<S::Body, Body>;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let path = request.uri().path();
        if path != OPEN_PATH
            && let Some(hosts) = &self.hosts
            && let Err(refusal) = hosts.check(request.headers())
        {
            let refusal = refusal.into_response_for(path).map(Either::Right);
            return future::Either::Left(future::ready(refusal));
        }
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(|response| response.map(Either::Left)))
    }
}

/// Whether a request is from no web page, or from one that this server served.
///
/// A browser is a loopback peer, whatever the page it shows: with a body of `text/plain` any page
/// could send what routes here take for JSON. But the browser says in `Origin` whose page it is.
fn is_our_own(headers: &HeaderMap) -> bool {
    let host = only(headers, &HOST);
    headers.get_all(ORIGIN).iter().all(|origin| {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .map(|(_scheme, authority)| authority);
        // Both leave the scheme's own port out.
        matches!((authority, host), (Some(from), Some(to)) if from.eq_ignore_ascii_case(to))
    })
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
