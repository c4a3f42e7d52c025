//! How the page, its files and the stream describe themselves.
#![expect(dead_code, reason = "the page's paths are answered before any router")]

use utoipa::OpenApi as _;

use crate::{
    live::__path_live,
    session::{__path_close, __path_open, __path_show},
};

/// The descriptions of what [`Page`](crate::Page) and [`Live`](crate::Live) answer.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Described::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(page, file, live, open, show, close))]
struct Described;

/// The page.
///
/// For people, in a browser; what it shows it asks for by the other routes, with the token that its
/// user gives it.
#[utoipa::path(get, path = "/", tag = "page", security(()),
    responses(
        (status = 200, description = "HTML.", body = String, content_type = "text/html"),
        (status = 304, description = "The one whose `ETag` is in `If-None-Match`."),
    ))]
fn page() {}

/// A script, style sheet or picture of the page.
///
/// The page names them. Each version of them is kept at a path of its own, which never changes.
#[utoipa::path(get, path = "/assets/{version}/{file}", tag = "page", security(()),
    params(
        ("version" = String, Path, description = "As the page says it."),
        ("file" = String, Path, description = "Its name."),
    ),
    responses(
        (status = 200, description = "The file.",
            content((String = "text/css"), (String = "text/javascript"),
                (String = "image/svg+xml"))),
        (status = 304, description = "The one whose `ETag` is in `If-None-Match`."),
        (status = 404, description = "NOT_FOUND"),
    ))]
fn file() {}
