//! The part of `orchestratord check` beyond the common settings.

use daemon::{DirectoryUse, Report, STATE_DIR, check_directory};

use crate::{config::Config, settings::PROGRAM};

/// Checks what the configuration names. Mistakes in the alias file and the pool file are bad
/// settings.
pub(crate) fn preflight(config: &Config, report: &mut Report) {
    match &config.home {
        Some(home) => local_node::check(report, &PROGRAM, &home.node),
        None => {
            let dir = &config.settings.state_dir;
            check_directory(report, &PROGRAM, &STATE_DIR, dir, DirectoryUse::Write);
        }
    }
}
