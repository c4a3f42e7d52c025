//! Joins a machine to a control plane, and renews the certificate that it got.

mod client;
mod error;
mod files;
mod join;
mod key;
mod reachable;
mod renew;

pub use crate::{
    error::JoinError,
    files::JoinedFiles,
    join::{JoinPlan, Joined, join},
    renew::{Renewal, renew},
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
