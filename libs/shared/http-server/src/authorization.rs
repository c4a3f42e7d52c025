//! Whether the caller of a request may use its route.
//!
//! [`Authenticated`](crate::Authenticated) finds out who the caller is. Each route asks here
//! whether that caller may use it. A request without a known caller is refused.

use axum::{
    Extension, Router,
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bearer_auth::{Access, Principal, ScopeError};
use http::Method;
use pool_registry_types::ErrorCode;

use crate::{
    ApiError, HttpService, PeerAddr, RequestBody,
    audit::{self, Change, Subject},
};

/// The name of the path parameter that is the id of a node.
const NODE_PARAMETER: &str = "node_id";

/// Decides whether the caller of the request with this `body` may use `route`, a method and a path.
/// With `node`, whether it may use the route for this node.
///
/// # Errors
/// 403 when it may not, and 401 when the caller is unknown.
pub fn authorize(
    body: &RequestBody,
    route: (&Method, &str),
    access: Access,
    node: Option<&str>,
) -> Result<(), ApiError> {
    let peer = body.caller().and_then(|caller| caller.peer);
    judge(body.principal(), access, node, peer, route)
}

fn judge(
    principal: Option<&Principal>,
    access: Access,
    node: Option<&str>,
    peer: Option<PeerAddr>,
    route: (&Method, &str),
) -> Result<(), ApiError> {
    let Some(principal) = principal else {
        return match access {
            Access::Open => Ok(()),
            Access::AnyOf(_) => Err(ApiError::new(
                ErrorCode::Unauthorized,
                "the caller is unknown",
            )),
        };
    };
    let allowed = match node {
        Some(node) => principal.acts_for(access, node),
        None => principal.may(access),
    };
    allowed.map_err(|error| {
        let error = forbidden(&error);
        audit::request_refused(Some(principal), peer.map(|peer| peer.0.ip()), route, &error);
        error
    })
}

/// The response to a caller without the scope.
#[must_use]
pub fn forbidden(error: &ScopeError) -> ApiError {
    ApiError::new(ErrorCode::Forbidden, error.to_string())
}

/// The layer of each route of [`Routes`](crate::Routes). A path with a node is for that node. A
/// change that operators make is audited.
pub(crate) async fn guard(
    State(access): State<Access>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let node = match &params {
        Ok(params) => {
            let mut params = params.iter();
            params.find_map(|(name, value)| (name == NODE_PARAMETER).then_some(value))
        }
        // No node has an id that is not UTF-8.
        Err(_) => Some(""),
    };
    let extensions = request.extensions();
    let (principal, peer) = (extensions.get(), extensions.get().copied());
    let route = (request.method(), request.uri().path());
    if let Err(error) = judge(principal, access, node, peer, route) {
        return error.into_response();
    }
    if !audit::is_change(request.method(), access) {
        return next.run(request).await;
    }
    let change = Change {
        who: principal.cloned(),
        peer: peer.map(|PeerAddr(peer)| peer.ip()),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        subject: Subject::default(),
    };
    request.extensions_mut().insert(change.subject.clone());
    let response = next.run(request).await;
    change.ended(response.status(), response.extensions().get().copied());
    response
}

/// The routes of `router` for callers that are not authenticated: within this process, and on
/// listeners that serve everyone.
pub fn unguarded_router<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(Extension(Principal::Process))
}

/// A service for callers that are not authenticated: it serves them as this process itself.
#[derive(Debug, Clone)]
pub struct Unguarded<S>(S);

impl<S> Unguarded<S> {
    /// Serves everyone with `inner`.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S: HttpService> HttpService for Unguarded<S> {
    type Body = S::Body;

    fn respond(
        self,
        mut request: http::Request<RequestBody>,
    ) -> impl Future<Output = http::Response<S::Body>> + Send {
        request.body_mut().set_principal(Principal::Process);
        self.0.respond(request)
    }
}
