//! Forward one HTTP request to one upstream and stream the answer back.
//!
//! Node and control plane use it alike; it knows nothing of pools, models or retries. What it
//! promises:
//!
//! * **As fast as the socket.** The upstream connection is not a task of its own: whoever reads the
//!   response body drives it. One wake-up passes on everything the upstream has sent, in one frame,
//!   and nothing is waited for, so a single token leaves at once and many travel together. All
//!   chunks of a read are decoded in one pass, and a stream that waits for its next token holds no
//!   buffer.
//! * **Dropping is cancelling.** A response body dropped early closes the upstream socket, which is
//!   the only cancel that inference engines understand. A body read to its end gives the connection
//!   back. What a caller holds for the upstream's sake goes with the body as a [`BodyGuard`], and
//!   is told apart: done, or broken off.
//! * **Four clocks.** Connect, first byte, between frames, and the caller's own deadline; see
//!   [`Clocks`].
//! * **Honest errors.** [`ForwardError`] says whether a request can have reached the upstream, so
//!   that a caller knows what another try may cost, and whether the failure is this process's own;
//!   [`StreamError`] says how a stream that had begun came to its end.
//!
//! [`StreamProxy::forward`] returns when the first byte of the body is there (or the body is known
//! to be empty), not when the head is: a head alone is worth nothing to a client, and an upstream
//! that dies between the two can still be replaced by another one unnoticed.

mod body;
mod connect;
mod delay;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod get;
mod headers;
mod limits;
mod link;
mod pool;
mod proxy;
mod resend;
mod timer;
mod wire;

pub use body::{BodyGuard, ProxyBody, StreamError};
pub use get::{GetError, get};
pub use limits::LIMITS;
pub use link::BrokenAnswer;
pub use proxy::{Clocks, ForwardError, Outbound, StreamProxy};
pub use resend::Resend;
pub use wire::NotHttp;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
