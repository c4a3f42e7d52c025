//! Inference tasks that run in the background: `/v2/tasks`.
//!
//! A client submits a task and may disconnect. The task runs as a request through the same gateway
//! as every other request, and its events are stored. Any number of readers follow them as
//! server-sent events. A reader that lost its connection resumes with `Last-Event-ID`, and misses
//! or repeats no token.
//!
//! | route | answer |
//! |---|---|
//! | `POST /v2/tasks` | 202: id, position in the queue, predicted start, links |
//! | `GET /v2/tasks/{task_id}` | the state of the task |
//! | `GET /v2/tasks/{task_id}/events` | `started`, `token`…, `metrics`, `end`, or `error` |
//! | `POST /v2/tasks/{task_id}/cancel` | 204; no token follows |
//!
//! The decisions are pure: `log` (append, read from any position), `task` (states, exactly one
//! end), `store` (what is kept and what is forgotten). `handle` adds a lock and wake-ups around one
//! task, `reader` follows its events, `run` sends its request through the gateway, and `response`
//! reads the engine's response.

mod api;
mod config;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod limits;
mod log;
#[cfg(feature = "openapi")]
mod new_task;
#[cfg(feature = "openapi")]
mod openapi;
mod reader;
mod request;
mod response;
mod routes;
mod run;
#[cfg(feature = "openapi")]
mod schema;
mod shared;
mod store;
mod task;
mod view;

pub use api::TaskApi;
pub use config::TaskConfig;
pub use limits::LIMITS;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use routes::TASK_BODY_BYTES;

/// The README's examples are compiled with the tests, and run where possible.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
