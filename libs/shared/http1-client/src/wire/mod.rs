//! The client side of HTTP/1.1: pure functions and state machines over bytes, without a socket or a
//! clock.
//!
//! [`BodyDecoder`] decodes all chunks of a read in one pass. hyper's client decodes one chunk at a
//! time and sends each through a channel.

mod body;
mod error;
mod request;
mod response;

pub(crate) use body::BodyDecoder;
pub use body::{MAX_CHUNK_OVERHEAD_BYTES, MAX_SIZE_DIGITS};
pub use error::ProtocolError;
pub use request::RequestHead;
pub(crate) use response::parse_head;
pub use response::{MAX_HEAD_BYTES, MAX_HEADERS, ResponseHead};
