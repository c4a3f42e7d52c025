//! Why a request body could not be read.

use std::{io, time::Duration};

use axum::Error as AxumError;
use thiserror::Error;

use crate::caller::BoxError;

/// The content codings of request bodies that are decoded, as in `Accept-Encoding`.
pub const ACCEPTED_CODINGS: &str = "gzip, zstd";

/// Why a request body could not be read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// It exceeds its limit; 413.
    #[error("the body is larger than the {limit} bytes allowed here")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The client stalled; 408.
    #[error("the client sent too little of the body: it was waited for {after:?}")]
    TooSlow {
        /// The time waited: for the next piece, or in total.
        after: Duration,
    },
    /// `Content-Encoding` names another coding than those that are decoded; 415.
    #[error(
        "the Content-Encoding of the body is not known here: it must be one of {ACCEPTED_CODINGS}, \
         or left out"
    )]
    UnknownCoding,
    /// The body is not what `Content-Encoding` says; 400.
    #[error("the body cannot be decoded as its Content-Encoding says: {0}")]
    Undecodable(#[source] io::Error),
    /// The client broke off, or sent something that is not a body; 400.
    #[error("the body could not be read")]
    Broken(#[source] BoxError),
}

impl BodyError {
    /// Finds the error of a body that middleware has wrapped.
    pub(crate) fn from_boxed(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => match other.downcast::<AxumError>() {
                Ok(wrapped) => Self::from_boxed(wrapped.into_inner()),
                Err(other) => Self::Broken(other),
            },
        }
    }
}
