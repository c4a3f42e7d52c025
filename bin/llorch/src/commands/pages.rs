//! `completions` and `man`: made from the command line's own description.

use std::{
    io::{self, Write as _},
    path::Path,
};

use clap::CommandFactory as _;

use crate::{
    args::{Cli, Shell},
    exit::{Failure, Outcome},
};

/// A completion script on standard output.
pub(crate) fn completions(shell: Shell) -> Outcome {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Into memory first: clap_complete panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "llorch", &mut script);
    Ok(io::stdout().lock().write_all(&script)?)
}

/// The manual page on standard output, or all pages into a directory.
pub(crate) fn man(out: Option<&Path>) -> Outcome {
    let command = Cli::command();
    match out {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok(io::stdout().lock().write_all(&page)?)
        }
        Some(directory) => clap_mangen::generate_to(command, directory).map_err(|error| {
            Failure::usage(format!("cannot write to {}: {error}", directory.display()))
        }),
    }
}
