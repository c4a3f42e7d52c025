//! The OpenAPI document of a daemon, and a page to read it.
//!
//! Each API crate describes its own routes. [`Reference`] merges the descriptions, adds what holds
//! for every route, and serves the result: `GET /openapi.json` for programs and `GET /docs/api` for
//! people. Both are the same on every machine and reveal nothing about this one. Serve
//! [`OPEN_PATHS`] without a token: a browser that follows a link cannot present one.

mod document;
mod flatten;
mod page;

use std::sync::{Arc, LazyLock};

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

/// The description of one crate's routes.
pub type Part = fn() -> OpenApi;

/// The document of a daemon. It is written when it is asked for the first time: that takes 10 MiB
/// for a moment, and most daemons are never asked.
#[derive(Debug, Clone)]
pub struct Reference(Arc<LazyLock<Written, Box<dyn FnOnce() -> Written + Send>>>);

#[derive(Debug)]
struct Written {
    json: String,
    html: String,
}

impl Reference {
    /// Of `parts` and of the routes that serve the document.
    #[must_use]
    pub fn new(about: About, parts: impl IntoIterator<Item = Part>) -> Self {
        let parts: Vec<Part> = parts.into_iter().chain([Own::openapi as Part]).collect();
        Self(Arc::new(LazyLock::new(Box::new(move || {
            let parts = parts.into_iter().map(|part| part());
            let document = document::complete(&about, parts);
            Written {
                json: serde_json::to_string_pretty(&document).unwrap_or_default() + "\n",
                html: page::render(&document),
            }
        }))))
    }

    /// The document as it is served and committed.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0.json
    }

    /// The routes that serve the document.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let (json, html) = (self.clone(), self.clone());
        Routes::new()
            .get("/openapi.json", Access::Open, async move || {
                served("application/json", json.0.json.clone())
            })
            .get("/docs/api", Access::Open, async move || {
                served("text/html; charset=utf-8", html.0.html.clone())
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
