//! The page before whatever else a listener serves.

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse as _};
use futures_util::{FutureExt as _, future};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::Either;
use http_server::{ApiError, HttpService, RequestBody};
use pool_registry_types::ErrorCode;

use crate::assets::{Asset, Assets, Representation};

/// The path of the page.
const ROOT: &str = "/";
/// The path of its files.
const ASSETS: &str = "/assets/";

/// Scripts, styles and images come only from files of this server, requests go only to it, text
/// cannot become markup, and no site can put the page into a frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for \
     'script'; trusted-types 'none'",
);

/// The page may change with the next start: it is asked for each time, and answered 304 while it is
/// the same.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// A file never changes: its path names its content.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// Answers `/` and `/assets/…`, and passes everything else to `inner`. It needs no token, so it
/// comes before authentication.
#[derive(Debug, Clone)]
pub struct Page<S> {
    assets: Arc<Assets>,
    inner: S,
}

impl<S> Page<S> {
    /// The page before `inner`. Compresses the files, once.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self {
            assets: Arc::new(Assets::new()),
            inner,
        }
    }
}

/// Whether [`Page`] answers requests to this path itself.
#[must_use]
pub fn is_of_page(path: &str) -> bool {
    path == ROOT || path.starts_with(ASSETS)
}

impl<S: HttpService> HttpService for Page<S> {
    type Body = Either<Body, S::Body>;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        let path = request.uri().path();
        if is_of_page(path) {
            let file = answer(&self.assets, request.method(), path, request.headers());
            return future::Either::Left(future::ready(file.map(Either::Left)));
        }
        let answer = self.inner.respond(request);
        future::Either::Right(answer.map(|response| response.map(Either::Right)))
    }
}

/// The answer to a request for the page or one of its files.
fn answer(assets: &Assets, method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
    let (asset, keep) = match (path, assets.file(path)) {
        (ROOT, _) => (&assets.page, ASK_AGAIN),
        (_, Some(file)) => (file, FOR_GOOD),
        (_, None) => {
            let message = "no such file of the page; load the page again";
            return ApiError::new(ErrorCode::NotFound, message).into_response();
        }
    };
    if method != Method::GET && method != Method::HEAD {
        let message = format!("the page takes GET and HEAD, not {method}");
        let mut refusal = ApiError::new(ErrorCode::MethodNotAllowed, message).into_response();
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    let zipped = takes_gzip(headers);
    let Representation { bytes, tag } = if zipped { &asset.gzip } else { &asset.plain };
    let mut response = Response::new(Body::empty());
    common_headers(response.headers_mut(), asset, tag, keep);
    if is_known(headers, asset) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let out = response.headers_mut();
    out.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if zipped {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if method == Method::GET {
        *response.body_mut() = Body::from(bytes.clone());
    }
    response
}

fn common_headers(out: &mut HeaderMap, asset: &Asset, tag: &HeaderValue, keep: HeaderValue) {
    out.insert(CONTENT_TYPE, asset.kind.clone());
    out.insert(ETAG, tag.clone());
    out.insert(CACHE_CONTROL, keep);
    out.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    out.insert(CONTENT_SECURITY_POLICY, POLICY);
    out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    out.insert(OPENER_POLICY, SAME_ORIGIN);
    out.insert(RESOURCE_POLICY, SAME_ORIGIN);
}

/// Whether a client has the file already, in whatever encoding (RFC 9110, 13.1.2).
fn is_known(headers: &HeaderMap, asset: &Asset) -> bool {
    let ours = [&asset.plain.tag, &asset.gzip.tag].map(HeaderValue::as_bytes);
    items(headers, &IF_NONE_MATCH).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || ours.contains(&tag.as_bytes())
    })
}

/// Whether a client accepts gzip. Weights are not compared; only a weight of zero excludes it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    items(headers, &ACCEPT_ENCODING).any(|item| {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        coding.trim().eq_ignore_ascii_case("gzip")
            && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
    })
}

/// The items of a header that is a list.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests;
