//! The limits of keys: requests and tokens in a minute, tokens in a day, requests at once.
//!
//! Each request of a key with such limits asks [`KeyLimiter`] first. It gets a [`KeyPermit`], which
//! counts as a running request until it is dropped and takes the tokens that the request has used,
//! or it is refused with the time after which to retry.
//!
//! The decisions are pure and live in `core`; `limiter` adds a lock and clocks. A request takes the
//! lock twice, each time for some hundred nanoseconds and never across an await.

mod core;
mod limiter;
mod window;

pub use crate::{
    core::{LimitExceeded, LimitKind, Quota, RateWindow},
    limiter::{KeyLimiter, KeyPermit},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
