//! `cargo xtask <command>`: see `cargo xtask help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::commands::run(std::env::args().skip(1).collect())
}
