//! Tests that have a long form beside the one that always runs.

/// The variable that asks for the long forms of tests; `cargo xtask e2e --long` sets it.
pub const LONG: &str = "LLORCH_E2E_LONG";

/// Whether the long forms of tests are to run.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os(LONG).is_some_and(|value| !value.is_empty())
}
