//! The OpenAPI document of a daemon, and a page to read it.
//!
//! Each API crate describes its own routes. [`Reference`] merges the descriptions, adds what holds
//! for every route, and serves the result: `GET /openapi.json` for programs and `GET /docs/api` for
//! people. Both are the same on every machine and reveal nothing about this one. Serve
//! [`OPEN_PATHS`] without a token: a browser that follows a link cannot present one.

mod document;
mod flatten;
mod page;

use std::sync::Arc;

use axum::response::IntoResponse as _;
use http::{
    HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use http_server::{Access, Routes};
use utoipa::{OpenApi as _, openapi::OpenApi};

pub use document::About;

/// The page may load its own style sheet only: no script, no picture, no frame around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors \
     'none'",
);
const STYLE: &str = include_str!("page.css");

/// The paths of the document and its page, open to all clients.
pub const OPEN_PATHS: [&str; 3] = ["/openapi.json", "/docs/api", "/docs/api.css"];

/// A document that is ready to be served.
#[derive(Debug, Clone)]
pub struct Reference {
    json: Arc<str>,
    html: Arc<str>,
}

impl Reference {
    /// Merges `parts` and the description of the routes that serve the document.
    #[must_use]
    pub fn new(about: &About, parts: impl IntoIterator<Item = OpenApi>) -> Self {
        let document = document::complete(about, parts.into_iter().chain([Own::openapi()]));
        let json = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        Self {
            html: page::render(&document).into(),
            json: json.into(),
        }
    }

    /// The document as it is served and committed.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The routes that serve the document.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let (json, html) = (Arc::clone(&self.json), Arc::clone(&self.html));
        Routes::new()
            .get("/openapi.json", Access::Open, async move || {
                served("application/json", json.to_string())
            })
            .get("/docs/api", Access::Open, async move || {
                served("text/html; charset=utf-8", html.to_string())
            })
            .get("/docs/api.css", Access::Open, async || {
                served("text/css; charset=utf-8", STYLE.to_owned())
            })
    }
}

type Headers = [(HeaderName, HeaderValue); 5];

fn served(kind: &'static str, text: String) -> axum::response::Response {
    let headers: Headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // The tag changes with each version of the daemon.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

/// The descriptions of the routes above.
#[derive(utoipa::OpenApi)]
#[openapi(paths(document_route, page_route, style_route))]
struct Own;

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "reference", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 \
        document.", body = Object, content_type = "application/json")))]
#[expect(dead_code, reason = "what it describes is a closure")]
fn document_route() {}

/// This document, as a page.
#[utoipa::path(get, path = "/docs/api", tag = "reference", security(()),
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")))]
#[expect(dead_code, reason = "what it describes is a closure")]
fn page_route() {}

/// The style of that page.
#[utoipa::path(get, path = "/docs/api.css", tag = "reference", security(()),
    responses((status = 200, description = "A style \
        sheet.", body = String, content_type = "text/css")))]
#[expect(dead_code, reason = "what it describes is a closure")]
fn style_route() {}

#[cfg(test)]
mod tests;

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
