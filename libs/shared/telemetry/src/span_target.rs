//! The target of the spans of a request.

/// The target of the spans `request`, `admission`, `placement`, `dispatch` and `stream`:
/// `RUST_LOG=info,request=debug` puts them around the lines of a request.
pub const REQUEST: &str = "request";
