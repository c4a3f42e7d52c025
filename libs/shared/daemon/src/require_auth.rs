//! When a token is required.

use std::{fmt, net::SocketAddr, str::FromStr};

/// When a missing token is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequireAuth {
    /// Never.
    Never,
    /// When other machines can connect.
    BeyondLoopback,
    /// Always.
    Always,
}

impl RequireAuth {
    pub(crate) fn at(self, addr: SocketAddr) -> bool {
        match self {
            Self::Never => false,
            Self::BeyondLoopback => !addr.ip().is_loopback(),
            Self::Always => true,
        }
    }
}

impl FromStr for RequireAuth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "false" | "0" => Ok(Self::Never),
            "beyond-loopback" => Ok(Self::BeyondLoopback),
            "true" | "1" => Ok(Self::Always),
            other => Err(format!(
                "must be true, false or beyond-loopback, not {other:?}"
            )),
        }
    }
}

impl fmt::Display for RequireAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "false",
            Self::BeyondLoopback => "beyond-loopback",
            Self::Always => "true",
        })
    }
}
