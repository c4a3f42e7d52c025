//! The arguments of `llorch engine`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use llorch_client::{DrainTarget, NodeId};
use pool_registry_types::{HttpUrl, PoolId, ReplicaId};

#[derive(Debug, Subcommand)]
pub(crate) enum Engine {
    /// Search this machine for engines; changes nothing
    Discover {
        /// The ports to search on loopback, separated by commas, instead of the usual ones
        #[arg(long, value_name = "PORT", value_delimiter = ',')]
        ports: Vec<u16>,
        #[command(flatten)]
        directory: HandoffDirectory,
    },
    /// Announce an engine of this machine to its node, also after a restart of the machine
    Add(AddEngine),
    /// Remove what `engine add` has written; running requests finish
    Remove {
        /// POOL/REPLICA, or the URL of the engine
        engine: String,
        #[command(flatten)]
        directory: HandoffDirectory,
    },
    /// List the engines of all nodes
    List {
        /// Only this node
        #[arg(long)]
        node: Option<NodeId>,
    },
    /// Restart the engines of a pool that its node has started, one after the other
    Restart {
        /// NODE/POOL
        pool: DrainTarget,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AddEngine {
    /// Where the engine listens, such as http://localhost:8000
    #[arg(value_name = "URL")]
    pub(crate) engine: HttpUrl,
    /// How many requests it serves at once [default: what it reports]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slots: Option<u32>,
    /// A file with the API key that it demands; the node must be able to read it
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Its pool [default: the kind of the engine]
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<PoolId>,
    /// Its name in the pool [default: its port]
    #[arg(long, value_name = "REPLICA")]
    pub(crate) replica: Option<ReplicaId>,
    #[command(flatten)]
    pub(crate) directory: HandoffDirectory,
}

/// Where persistent handoffs are.
#[derive(Debug, Args)]
pub(crate) struct HandoffDirectory {
    /// The node's directory of persistent handoffs [default: that of the daemon here]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}
