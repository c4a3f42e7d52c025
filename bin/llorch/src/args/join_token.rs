//! The arguments of `llorch join-token`.

use std::time::Duration;

use clap::{Args, Subcommand};
use llorch_client::NodeId;

use super::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum JoinToken {
    /// Create a join token, and print it with the command that uses it
    Create(CreateJoinToken),
    /// List the join tokens of the server
    List,
    /// Revoke a join token; nodes that have joined with it stay
    Revoke {
        /// The id of the join token
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateJoinToken {
    /// The only node that it is for
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<NodeId>,
    /// How many nodes may join with it [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) uses: Option<u32>,
    /// Its life, such as 1h, at most 30days [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
}
