//! The OpenAI-compatible data path: `/v1/*`.
//!
//! The way of a request: peek at `model` and `stream` without touching the body (`peek`), get a
//! slot ([`admission`]), forward ([`stream_proxy`]), and pass the answer on as it comes (`answer`).
//! Until the first byte of the answer is there, a failing endpoint is replaced by another one,
//! within the request's deadline and a budget (`budget`); after it, a broken stream ends in a
//! well-formed error event (`sse`), never in silence.
//!
//! Bytes are sacred: the body goes to the engine exactly as the client sent it, except that a
//! model's name takes the place of an alias ([`Aliases`]). Hop-by-hop headers and the
//! client's `Authorization` stop here. Prompts and completions never reach a log.

mod about;
mod aliases;
mod answer;
mod attempt;
mod budget;
mod dialect;
mod explain;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod journey;
mod limits;
mod metrics;
mod models;
mod multipart;
mod named;
#[cfg(feature = "openapi")]
mod openapi;
mod options;
mod path_router;
mod peek;
mod record;
mod reply;
mod route;
mod scan;
mod sse;
mod traffic;

pub use aliases::{AliasProblem, AliasProblems, Aliases, MAX_ALIASES_FILE_BYTES};
pub use answer::GatewayBody;
pub use explain::{CandidateAnswer, ExplainAnswer, ExplainRequest, explain_routes};
pub use gateway::{Gateway, GatewayConfig};
pub use journey::QueueTimeout;
pub use limits::LIMITS;
pub use metrics::GatewayMetrics;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use path_router::PathRouter;
pub use traffic::{Percentiles, RecentError, Traffic};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
