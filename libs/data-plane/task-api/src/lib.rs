//! Inference that runs by itself: `/v2/tasks`.
//!
//! A client enqueues a task and may go away. The task runs as a request through the very same
//! gateway as everybody else's, and everything it tells is kept: any number of readers follow it as
//! server-sent events, and one that lost its connection goes on with `Last-Event-ID`, without a
//! token lost or doubled.
//!
//! | route | answer |
//! |---|---|
//! | `POST /v2/tasks` | 202: id, place in the line, predicted start, links |
//! | `GET /v2/tasks/{task_id}` | how far it is |
//! | `GET /v2/tasks/{task_id}/events` | `started`, `token`…, `metrics`, `end`, or `error` |
//! | `POST /v2/tasks/{task_id}/cancel` | 204; no token after it |
//!
//! The decisions are pure: `log` (append, read from anywhere), `task` (one life, exactly one end),
//! `shelf` (what is kept and what is forgotten). `live` puts a lock and wake-ups around one task,
//! `run` sends it through the gateway, and `answer` reads what comes back.

mod answer;
mod api;
mod config;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod live;
mod log;
#[cfg(feature = "openapi")]
mod openapi;
mod request;
mod routes;
mod run;
mod shelf;
mod task;
mod view;

pub use api::TaskApi;
pub use config::TaskConfig;
pub use limits::LIMITS;
#[cfg(feature = "openapi")]
pub use openapi::openapi;
pub use routes::TASK_BODY_BYTES;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
