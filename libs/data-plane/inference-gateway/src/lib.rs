//! The OpenAI-compatible data path: `/v1/*`.
//!
//! A request passes these files once each, in this order:
//!
//! 1. `path_router`: the listener hands `/v1/*` to the gateway.
//! 2. `gateway`: the path and method select a route.
//! 3. `inference_request`: reads the body, the model (`model_name`, `peek`) and the options.
//! 4. `inference`: gets a slot ([`admission`]), sends the request to a node
//!    ([`node_transport`]), and sends it again where `retry` decides so.
//! 5. `attempt`: what a node's response or failure says about its endpoint.
//! 6. `response`: makes the client's response of the node's.
//! 7. `streaming_body`: passes the response on. A stream that breaks ends in a well-formed error
//!    event (`sse`, `dialect`).
//!
//! `observer` holds the facts about the request meanwhile, and reports them to `metrics` and
//! `access_log` when it ends.
//!
//! The body goes to the engine exactly as the client sent it, with two exceptions: a model's name
//! replaces an alias ([`Aliases`]), and the stream of a key asks for the usage (`usage_option`).
//! Hop-by-hop headers and the client's `Authorization` stop here. Prompts and completions never
//! reach a log.

mod access_log;
mod aliases;
mod attempt;
mod attribution;
mod body;
mod config;
mod context_length;
mod dialect;
mod error;
mod error_response;
mod explain;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod inference;
mod inference_request;
mod key_use;
mod limits;
mod log_context;
mod metrics;
mod model_name;
mod models;
mod multipart;
mod observer;
mod ollama;
mod ollama_body;
#[cfg(feature = "openapi")]
mod openapi;
mod options;
mod path_router;
mod peek;
mod query;
mod redirect;
mod response;
mod response_headers;
mod retry;
mod retry_budget;
mod route;
mod scan;
mod sse;
mod stored_responses;
#[cfg(feature = "openapi")]
mod strategy_schema;
mod stream_timing;
mod streaming_body;
mod token_count;
mod token_use;
mod traffic;
mod usage_event;
mod usage_option;
mod usage_scan;
mod whole_answer;

pub use aliases::{AliasProblem, AliasProblems, Aliases, MAX_ALIASES_FILE_BYTES};
pub use body::GatewayBody;
pub use config::GatewayConfig;
pub use explain::{CandidateAnswer, ExplainAnswer, ExplainRequest, explain_routes};
pub use gateway::Gateway;
pub use inference_request::QueueTimeout;
pub use limits::LIMITS;
pub use metrics::GatewayMetrics;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use path_router::PathRouter;
pub use traffic::{Percentiles, RecentError, Traffic};

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
