//! `cargo xtask tiny-model`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::arguments::Arguments;
use tiny_model::TinyModel;

pub(super) const USAGE: &str = "\
cargo xtask tiny-model OUT [--ctx N] [--name NAME] [--eos-after N] [--pad-mb N] [--seed N]

Writes a GGUF model of about 350 kB with known answers: a chat is answered \" one two three …\".

  --ctx N        the trained context in its metadata, in tokens (8192)
  --name NAME    the name in its metadata (tiny-chain)
  --eos-after N  ends the answer of a chat after N words (never)
  --pad-mb N     adds about N MiB of weights: slower to load and to run (0)
  --seed N       the seed of its random weights (1)";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let default = TinyModel::default();
    let model = TinyModel {
        ctx: arguments.value("--ctx")?.unwrap_or(default.ctx),
        name: arguments.value("--name")?.unwrap_or(default.name),
        eos_after: arguments.value("--eos-after")?,
        pad_mb: arguments.value("--pad-mb")?.unwrap_or(default.pad_mb),
        seed: arguments.value("--seed")?.unwrap_or(default.seed),
    };
    let out = PathBuf::from(
        arguments
            .positional()
            .context("where to? usage: cargo xtask tiny-model OUT")?,
    );
    arguments.finish()?;
    model.write(&out)?;
    println!(
        "{}: {} bytes",
        out.display(),
        std::fs::metadata(&out)?.len()
    );
    Ok(())
}
