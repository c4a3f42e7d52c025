//! `cargo xtask sbom`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::arguments::Arguments;
use deploy_checks::bill_of_materials::{self, PROGRAMS};
use workspace_build::target;

pub(super) const USAGE: &str = "\
cargo xtask sbom [--out DIR]

Writes what each program is built from, as CycloneDX 1.6: PROGRAM.cdx.json.

  --out DIR  the directory of the files (target/sbom)";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let out: Option<PathBuf> = arguments.value("--out")?;
    arguments.finish()?;
    let out = out.unwrap_or_else(|| target().join("sbom"));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    for program in PROGRAMS {
        let bill = bill_of_materials::of(program)?;
        let file = out.join(format!("{program}.cdx.json"));
        let text = serde_json::to_string_pretty(&bill)? + "\n";
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}
