//! `orchestratord check`: what a start needs beside the settings that every daemon has.

use daemon::{
    Report,
    check::{Use, directory},
};

use crate::config::{Config, PROGRAM, Profile};

/// Looks at what the configuration names; a bad alias file is a bad setting.
pub(crate) fn look(config: &Config, report: &mut Report) {
    match &config.profile {
        Profile::Home { runtime_dir, .. } => {
            directory(report, &PROGRAM, "RUNTIME_DIR", runtime_dir, Use::Read);
        }
        Profile::Cloud { state_dir, .. } => {
            directory(report, &PROGRAM, "STATE_DIR", state_dir, Use::Write);
        }
    }
}
