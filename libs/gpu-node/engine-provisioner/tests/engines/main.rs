//! Engines as real processes: started, crashed, hung, replaced, adopted and stopped.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code; the lint only knows functions marked as tests"
)]

mod adoption;
mod failures;
mod lifecycle;
mod node;
mod reload;
