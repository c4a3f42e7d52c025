//! An HTTP server loop on hyper with a deadline and a limit for everything that a client can do
//! slowly or too often.
//!
//! | a client can | what happens |
//! |---|---|
//! | connect and send nothing | closed after [`Limits::first_byte`] |
//! | send half a header | closed after [`Limits::header`] |
//! | keep an idle connection | closed after [`Limits::idle`] |
//! | stall in the middle of a body | 408 after [`Limits::body_progress`] |
//! | send a body byte by byte | 408 below [`Limits::body_bytes_per_sec`] on average |
//! | send no `Host`, or two | 400 |
//! | not read the response | closed after [`Limits::write_progress`] |
//! | send many or long headers | 431 above [`MAX_HEADERS`] or [`Limits::max_header_bytes`] |
//! | send a large body | 413 above [`Limits::max_body_bytes`], unread if announced |
//! | open many connections | 503 above [`Limits::max_connections`] |
//! | keep unauthenticated connections | limited by [`UnauthenticatedLimits`] |
//! | leave, or close its sending side | the response future or body is dropped at once |
//!
//! The server notices that a client has left while it awaits or streams the response, also if the
//! client has sent (part of) its next request by then, up to 64 KiB. It does not notice while a
//! handler holds the rest of a body without reading it.
//!
//! With [`BoundServer::with_tls`] the same port serves TLS, and HTTP/2 to clients that offer it. An
//! unfinished handshake has the deadline of a header. On HTTP/2 a connection has at most 128
//! requests at a time and is closed when it resets too many, a stream that the client does not read
//! is reset after [`Limits::write_progress`], and the time without a request is [`Limits::idle`].
//!
//! Not limited: the memory of all buffered bodies together, at worst [`Limits::max_connections`]
//! times [`Limits::max_body_bytes`]. Services that buffer bodies keep the second small, or require
//! a token.
//!
//! Any `tower_service::Service` can respond, for example an `axum::Router`. This crate also
//! provides what control routes share: [`ApiError`] and the extractors [`ApiJson`] and [`ApiPath`],
//! which use the `/v2` error envelope, [`Routes`], which records the mounted routes,
//! [`event_stream`] for server-sent events, [`with_fallbacks`], and [`service_routes`] for
//! `/health`, `/ready` and `/metrics`.
//!
//! A server ends in three phases; see [`ServerHandle`].

mod accept;
mod answer;
mod api_error;
pub mod audit;
mod auth;
mod authorization;
mod body;
mod body_error;
mod bounds;
mod caller;
mod connection;
mod content_coding;
mod control;
#[cfg(test)]
mod counting_waker;
mod cross_origin;
mod driver;
mod event_stream;
mod extract;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod http1;
mod http2;
mod json_object;
mod judged_feed;
mod limits;
mod listener;
mod metrics_text;
mod mounted;
mod observed_io;
#[cfg(feature = "openapi")]
mod openapi;
mod permits;
mod phase;
mod quiet_waker;
mod refusal;
mod refused_head;
mod request_id;
mod response_body;
mod routes;
mod server;
mod service;
mod tls;
mod tls_peer;
mod whole_numbers;

pub use api_error::ApiError;
pub use auth::{Authenticated, OnlyFor};
pub use authorization::{Unguarded, authorize, forbidden, unguarded_router};
pub use bearer_auth::{Access, Principal, Scope};
pub use body::RequestBody;
pub use body_error::{ACCEPTED_CODINGS, BodyError};
pub use bounds::LIMITS;
pub use caller::{BoxError, Caller, PeerAddr};
pub use cross_origin::{AllowedOrigin, AllowedOrigins, CrossOrigin, OriginError};
pub use event_stream::{
    EventSource, accepts_events, endless_event_stream, event_stream, last_event_id,
};
pub use extract::{
    ApiJson, ApiPath, CONTROL_BODY_BYTES, read_body, read_json, without_byte_order_mark,
};
pub use hosts::{AllowedHosts, HostName, HostNameError};
pub use json_object::{object, optional_object};
pub use limits::{Limits, MAX_HEADERS, UnauthenticatedLimits};
pub use listener::{Listener, TcpListener};
pub use mounted::Routes;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use request_id::RequestId;
pub use routes::{
    Health, method_not_allowed, metrics_routes, not_found, service_routes, service_routes_of,
    with_fallbacks,
};
pub use server::{BoundServer, ServerHandle, adopt, bind, serve_on, serve_tls_on};
pub use service::{HttpService, OverTls, ResponseBody};
pub use tls::PlainHttp;

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
