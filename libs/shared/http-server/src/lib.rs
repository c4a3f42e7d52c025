//! An HTTP/1.1 accept loop on hyper with a deadline and a cap for everything a client can do
//! slowly.
//!
//! | what a client can do slowly or too much | what happens |
//! |---|---|
//! | connect and say nothing | closed after [`Limits::first_byte`] |
//! | send half a header | closed after [`Limits::header`] |
//! | keep an idle connection | closed after [`Limits::idle`] |
//! | stall in the middle of a body | 408 after [`Limits::body_progress`] |
//! | send a body byte by byte | 408 when it is slower than [`Limits::body_bytes_per_sec`] on the whole |
//! | send no `Host`, or two | 400 |
//! | not read the answer | closed after [`Limits::write_progress`] |
//! | send many or long headers | 431 above [`MAX_HEADERS`] or [`Limits::max_header_bytes`] |
//! | send a large body | 413 above [`Limits::max_body_bytes`], before reading when it is announced |
//! | open many connections | 503 above [`Limits::max_connections`] |
//! | keep connections without being authenticated | the oldest is closed above [`UnauthenticatedLimits::max_connections`], each after [`UnauthenticatedLimits::life`] |
//! | leave, or close its sending side | the response future or body is dropped at once |
//!
//! A client that leaves is noticed while its answer is awaited or streams, also when it has sent
//! (part of) its next request by then, up to 64 KiB. It is not noticed while a handler holds the
//! rest of a body without reading it.
//!
//! Not bounded: what all buffered bodies take together. That is [`Limits::max_connections`] times
//! [`Limits::max_body_bytes`] at worst; whoever reads bodies whole keeps the second small or the
//! routes behind a token.
//!
//! Any `tower_service::Service` answers the requests; an `axum::Router` is one. Around it this
//! crate offers what control routes share: [`ApiError`] and the extractors [`ApiJson`] and
//! [`ApiPath`], which speak the `/v2` error envelope, [`Routes`], which knows what is mounted,
//! [`event_stream`] for server-sent events, [`with_fallbacks`], and [`service_routes`] for
//! `/health`, `/ready` and `/metrics`.
//!
//! A server ends in three phases, see [`ServerHandle`].

mod accept;
mod api_error;
mod auth;
mod body;
mod bounds;
mod connection;
mod control;
#[cfg(test)]
mod counted;
mod event_stream;
mod extract;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod limits;
mod listener;
mod metrics_text;
mod mounted;
mod observed_io;
#[cfg(feature = "openapi")]
mod openapi;
mod phase;
mod places;
mod quiet_waker;
mod refusal;
mod request_id;
mod response_body;
mod routes;
mod server;
mod service;
mod whole_numbers;

pub use api_error::ApiError;
pub use auth::{Authenticated, OnlyFor};
pub use body::{BodyError, RequestBody};
pub use bounds::LIMITS;
pub use event_stream::{EventSource, accepts_events, event_stream, last_event_id};
pub use extract::{ApiJson, ApiPath, CONTROL_BODY_BYTES, read_body, read_json};
pub use hosts::{AllowedHosts, HostName, HostNameError};
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
pub use server::{BoundServer, ServerHandle, adopt, bind, serve_on};
pub use service::{BoxError, Caller, HttpService, PeerAddr, ResponseBody};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
