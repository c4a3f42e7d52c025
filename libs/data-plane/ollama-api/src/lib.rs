//! Ollama's API in terms of OpenAI's: requests, whole answers, streams, and what is known of
//! models.
//!
//! Pure functions from JSON to JSON. The caller does the I/O, and passes the time in.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod answer;
mod error;
mod models;
mod options;
mod request;
mod tools;

pub use answer::{Answer, Moment, embeddings};
pub use error::{RequestError, error, error_of};
pub use models::{API_VERSION, running, show, tags, version};
pub use request::{
    Kind, OpenAiRequest, Translation, chat_request, embed_request, generate_request,
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
