//! The arguments of `llorch store`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Write all state of a control plane to one file: nodes, drains, keys, join tokens, usage
    #[command(after_help = EXPORT_HELP)]
    Export(ExportState),
    /// Put the state of such a file into the state directory of a control plane that is stopped
    #[command(after_help = IMPORT_HELP)]
    Import(ImportState),
}

const EXPORT_HELP: &str = "\
Without --state-dir the control plane at --url makes the export while it runs; that needs a key \
with the scope operator. The file has mode 0600. Tokens are in it as digests only. With --ca-dir \
it has the private key of the CA: its reader can make nodes, and a control plane, that yours \
trust. Settings, files of keys and pool files are not in it, and nor is the state of nodes.";

const IMPORT_HELP: &str = "\
The file is verified as a whole before anything is written. A kill leaves the old state or the new \
one. Run it as the user of the service: the files get mode 0600.";

#[derive(Debug, Args)]
pub(crate) struct ExportState {
    /// The file to write; one that exists is replaced when the new one is complete
    pub(crate) file: PathBuf,
    /// The state directory of a control plane that is stopped: ORCHESTRATORD_STATE_DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The profile, where the state directory has state of both
    #[arg(long, requires = "state_dir")]
    pub(crate) profile: Option<Profile>,
    /// Add the CA in this directory of this machine, its private key included
    #[arg(long, value_name = "DIR", conflicts_with = "without_ca")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// Leave the CA out, where the control plane has one
    #[arg(long)]
    pub(crate) without_ca: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportState {
    /// The file of `llorch store export`
    pub(crate) file: PathBuf,
    /// The state directory: ORCHESTRATORD_STATE_DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// The directory for the CA of the file: ORCHESTRATORD_CA_DIR; empty, or not there yet
    #[arg(long, value_name = "DIR", conflicts_with = "without_ca")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// Leave out the CA of the file
    #[arg(long)]
    pub(crate) without_ca: bool,
    /// Replace the state that is there
    #[arg(long)]
    pub(crate) replace: bool,
}

/// How a control plane runs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Profile {
    /// One machine
    Home,
    /// Many machines
    Cloud,
}
