//! Forward one HTTP request to one upstream and stream the response back.
//!
//! Node and control plane use it alike. It knows nothing of pools, models or retries.
//!
//! * **As fast as the socket.** The upstream connection is not a task: reading the response body
//!   drives it. One wake-up passes on everything that the upstream has sent, in one frame. Ready
//!   bytes are passed on at once, and a stream that waits for its next token holds no buffer.
//! * **Dropping is cancelling.** Dropping a response body early closes the upstream socket, which
//!   is the only form of cancellation that inference engines understand. A body that is read to its
//!   end returns the connection to the idle pool. A [`BodyGuard`] travels with the body and learns
//!   which of the two happened.
//! * **Four timeouts.** Connect, first byte, between frames, and the caller's deadline; see
//!   [`Timeouts`].
//! * **Precise errors.** [`ForwardError`] says whether the request can have reached the upstream,
//!   and whether this process caused the failure itself. [`StreamError`] says how a stream broke.
//!
//! [`StreamProxy::forward`] returns when the first byte of the body has arrived (or the body is
//! known to be empty), not with the head. Until then another upstream can still take over.

mod body;
mod delay;
mod error;
mod get;
mod limits;
mod outbound;
mod proxy;
mod resend;
mod timeouts;

pub use body::{BodyGuard, ProxyBody};
pub use error::{ForwardError, StreamError};
pub use get::{GetError, get, get_as, get_authorized};
pub use http1_client::{ProtocolError, ResponseError};
pub use limits::LIMITS;
pub use outbound::Outbound;
pub use proxy::StreamProxy;
pub use resend::Resend;
pub use timeouts::Timeouts;

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
