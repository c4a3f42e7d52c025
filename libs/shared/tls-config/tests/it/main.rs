//! Files and handshakes, with certificates made for each test.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod files;
mod handshakes;
mod reloads;
