//! The arguments of `llorch ca`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use node_ca::Host;

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make a CA, and the certificate of the control plane
    Init(CaFiles),
    /// Give the control plane another certificate, such as one for other hosts
    Renew(CaFiles),
    /// Print the fingerprint of the CA's certificate
    Fingerprint {
        /// The directory of the CA
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CaFiles {
    /// The directory of the CA: ORCHESTRATORD_CA_DIR
    pub(crate) directory: PathBuf,
    /// A name or an address by which nodes and clients reach the control plane; several times for
    /// several. `localhost`, loopback and this machine's name come with them
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<Host>,
}
