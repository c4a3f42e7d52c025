//! `orchestratord check`: what a start needs beside the settings that every daemon has.

use daemon::{
    Report,
    check::{Use, directory},
};

use crate::config::{Config, PROGRAM};

/// Looks at what the configuration names; a bad alias or pool file is a bad setting.
pub(crate) fn preflight(config: &Config, report: &mut Report) {
    match &config.home {
        Some(home) => local_node::check(report, &PROGRAM, &home.node),
        None => directory(
            report,
            &PROGRAM,
            "STATE_DIR",
            &config.settings.state_dir,
            Use::Write,
        ),
    }
}
