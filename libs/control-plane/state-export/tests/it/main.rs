//! What is written is read as it was, and nothing else is taken.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod damage;
mod directories;
mod round_trip;
mod support;
