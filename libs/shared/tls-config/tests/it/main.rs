//! Files and handshakes, with certificates made for each test.

mod files;
mod handshakes;
mod reloads;
