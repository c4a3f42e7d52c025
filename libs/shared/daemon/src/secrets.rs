//! The variables that hold secrets of a daemon.

pub(crate) const TOKEN_VARIABLE: &str = "LLORCH_API_TOKEN";

/// The variables that hold secrets of a daemon. No process that it starts may inherit them.
pub const SECRET_VARIABLES: [&str; 1] = [TOKEN_VARIABLE];
