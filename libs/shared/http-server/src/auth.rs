//! Refuses requests before a service sees them: without a valid token, for another host, or from a
//! page of another origin.

use std::{fmt, net::IpAddr, sync::Arc, time::SystemTime};

use axum::body::Body;
use bearer_auth::{AuthPolicy, Principal};
use futures_util::{FutureExt as _, future};
use http::{
    HeaderMap, HeaderName, Method, Request, Response,
    header::{HOST, ORIGIN},
};
use http_body_util::Either;
use pool_registry_types::ErrorCode;

use crate::{
    AllowedHosts, AllowedOrigins, ApiError, HttpService, RequestBody, audit,
    event_stream::Endless,
    judged_feed::{FeedReader, JudgedFeed, identify},
    refusal::{FULL, RETRY_AFTER},
};

/// Open to all clients: probes and load balancers have no token.
const OPEN_PATH: &str = "/health";

/// A service behind an [`AuthPolicy`]. `/health` is open, and so are the paths of
/// [`opening`](Self::opening).
///
/// It finds out who the caller is; each route decides whether that caller may use it
/// ([`authorize`](crate::authorize)). The policy is asked for every request, so that a revoked key
/// ends on open connections too.
///
/// Without a token or a key, loopback peers are served. Two exceptions protect browsers on this
/// machine, both with 403: a request for a host that is not allowed, since any name may resolve to
/// this machine, and a request from a page of another origin. With a token any host is served:
/// reverse proxies forward the name that they were requested by.
#[derive(Debug, Clone)]
pub struct Authenticated<S> {
    guard: Arc<Guard>,
    hosts: AllowedHosts,
    open: &'static [&'static str],
    origins: AllowedOrigins,
    inner: S,
}

/// Called with the path, the peer and the error of each refused request.
type OnRefusal = Box<dyn Fn(&str, IpAddr, &ApiError) + Send + Sync>;

struct Guard {
    policy: AuthPolicy,
    on_refusal: Option<OnRefusal>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<S> Authenticated<S> {
    /// Lets only the requests that `policy` allows through to `inner`; without a token, only those
    /// for one of `hosts`.
    #[must_use]
    pub fn new(policy: AuthPolicy, hosts: AllowedHosts, inner: S) -> Self {
        Self {
            guard: Arc::new(Guard {
                policy,
                on_refusal: None,
            }),
            hosts,
            open: &[],
            origins: AllowedOrigins::default(),
            inner,
        }
    }

    /// Calls `on_refusal` with the path, the peer and the error of each request that is refused.
    #[must_use]
    pub fn on_refusal(
        self,
        on_refusal: impl Fn(&str, IpAddr, &ApiError) + Send + Sync + 'static,
    ) -> Self {
        Self {
            guard: Arc::new(Guard {
                policy: self.guard.policy.clone(),
                on_refusal: Some(Box::new(on_refusal)),
            }),
            ..self
        }
    }

    /// Opens further paths to all clients. Their content is the same for all clients and reveals
    /// nothing about this server.
    #[must_use]
    pub fn opening(self, open: &'static [&'static str]) -> Self {
        Self { open, ..self }
    }

    /// Serves pages of these origins also while no token is set.
    /// [`CrossOrigin`](crate::CrossOrigin) lets them read the responses.
    #[must_use]
    pub fn serving_pages_of(self, origins: AllowedOrigins) -> Self {
        Self { origins, ..self }
    }
}

impl<S: HttpService> HttpService for Authenticated<S> {
    type Body = Either<S::Body, Body>;

    fn respond(
        self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let path = request.uri().path();
        let mut feed = None;
        if path != OPEN_PATH && !self.open.contains(&path) {
            match self.check(&request) {
                Ok(principal) => {
                    feed = self.feed_reader(&request, &principal);
                    request.body_mut().set_principal(principal);
                }
                Err(refusal) => {
                    let refusal = self.refused(&request, refusal).map(Either::Right);
                    return future::Either::Left(future::ready(refusal));
                }
            }
        }
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(|response| match feed {
            Some(reader) if response.extensions().get::<Endless>().is_some() => {
                response.map(|body| Either::Right(Body::new(JudgedFeed::new(body, reader))))
            }
            _ => response.map(Either::Left),
        }))
    }
}

impl<S> Authenticated<S> {
    /// How to judge the caller again, if it may be answered by a stream without an end.
    fn feed_reader(
        &self,
        request: &Request<RequestBody>,
        principal: &Principal,
    ) -> Option<FeedReader> {
        if request.method() != Method::GET {
            return None;
        }
        let peer = request.body().caller()?.peer?;
        let policy = self.guard.policy.clone();
        let holder = request.body().certificate_holder();
        Some(FeedReader::new(
            policy,
            peer.0.ip(),
            request.headers(),
            holder,
            principal,
        ))
    }

    /// Who the caller is, if it is served at all.
    fn check(&self, request: &Request<RequestBody>) -> Result<Principal, ApiError> {
        let unauthorized = |reason: String| ApiError::new(ErrorCode::Unauthorized, reason);
        let Some(peer) = request.body().caller().and_then(|caller| caller.peer) else {
            return Err(unauthorized("the peer is unknown".to_owned()));
        };
        let headers = request.headers();
        let (policy, now) = (&self.guard.policy, SystemTime::now());
        let holder = request.body().certificate_holder();
        let (principal, has_session) = identify(policy, peer.0.ip(), headers, holder, now);
        if has_session {
            is_of_our_page(request)?;
        }
        let principal = principal.map_err(|error| unauthorized(error.to_string()))?;
        // A page of any origin may present a token: its user gave it the token.
        if principal == Principal::Loopback {
            self.hosts.check(headers)?;
            if !is_our_own(headers) && self.origins.of(headers).is_none() {
                let reason = "no token is set on this server, so only pages of its own origin and \
                              of the allowed origins are served";
                return Err(ApiError::new(ErrorCode::Forbidden, reason));
            }
        }
        if request.body().authenticate() {
            return Ok(principal);
        }
        Err(ApiError::new(ErrorCode::TooManyConnections, FULL).retry_after(RETRY_AFTER))
    }

    fn refused(&self, request: &Request<RequestBody>, refusal: ApiError) -> Response<Body> {
        let (method, path) = (request.method(), request.uri().path());
        let peer = request.body().caller().and_then(|caller| caller.peer);
        let peer = peer.map(|peer| peer.0.ip());
        audit::request_refused(None, peer, (method, path), &refusal);
        if let (Some(on_refusal), Some(peer)) = (&self.guard.on_refusal, peer) {
            on_refusal(path, peer, &refusal);
        }
        refusal.into_response_for(path, request.body().request_id())
    }
}

/// A service without authentication, for all callers, that serves only some hosts, if any are
/// configured. `/health` is open.
#[derive(Debug, Clone)]
pub struct OnlyFor<S> {
    hosts: Option<AllowedHosts>,
    inner: S,
}

impl<S> OnlyFor<S> {
    /// Lets only requests for one of `hosts` through to `inner`; `None` lets all through.
    #[must_use]
    pub fn new(hosts: Option<AllowedHosts>, inner: S) -> Self {
        Self { hosts, inner }
    }
}

impl<S: HttpService> HttpService for OnlyFor<S> {
    type Body = Either<S::Body, Body>;

    fn respond(
        self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let path = request.uri().path();
        if path != OPEN_PATH
            && let Some(hosts) = &self.hosts
            && let Err(refusal) = hosts.check(request.headers())
        {
            let id = request.body().request_id();
            let refusal = refusal.into_response_for(path, id).map(Either::Right);
            return future::Either::Left(future::ready(refusal));
        }
        request.body_mut().set_principal(Principal::Process);
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(|response| response.map(Either::Left)))
    }
}

/// Refuses a request with the cookie of a session that does not come from a page of this server.
///
/// `SameSite` keeps the cookie from other sites, but not from other ports of this host. A browser
/// names the origin of the page in `Origin`, except where it only reads from the same origin.
fn is_of_our_page(request: &Request<RequestBody>) -> Result<(), ApiError> {
    let headers = request.headers();
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if is_our_own(headers) && (only_reads || headers.contains_key(ORIGIN)) {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Forbidden,
        "a session is for pages of this server: Origin must be its Host",
    ))
}

/// Whether a request comes from no web page, or from a page of this server.
///
/// A browser is a loopback peer, whatever page it shows. With a body of `text/plain` any page could
/// send JSON to these routes. But the browser names the origin of the page in `Origin`.
fn is_our_own(headers: &HeaderMap) -> bool {
    headers.get_all(ORIGIN).iter().all(|origin| {
        let host = only(headers, &HOST);
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .map(|(_scheme, authority)| authority);
        // Both omit the default port of the scheme.
        matches!((authority, host), (Some(from), Some(to)) if from.eq_ignore_ascii_case(to))
    })
}

/// The value of a header that occurs once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
