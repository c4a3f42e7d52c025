//! Debian packages, and checks of everything below `ci/deploy`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask prints to a terminal; there is no log"
)]

pub mod auditable;
pub mod bill_of_materials;
pub mod home_engines;
pub mod installed;
pub mod machine;
pub mod manifests;
mod manual;
pub mod names;
pub mod package;
pub mod release;
pub mod units;
