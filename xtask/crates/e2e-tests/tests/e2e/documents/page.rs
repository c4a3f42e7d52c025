//! What a page of the documentation shows.

use anyhow::{Context, Result, ensure};
use workspace_build::root;

/// The blocks of commands whose comment names `test`, in order.
pub(super) fn blocks(page: &str, test: &str) -> Result<Vec<String>> {
    let text = read(page)?;
    let mark = format!("<!-- run: e2e documents::{test} -->\n```sh\n");
    let blocks: Vec<String> = text
        .split(&mark)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned()))
        .collect();
    ensure!(!blocks.is_empty(), "{page} has no block for {test}");
    Ok(blocks)
}

/// The output that the page shows below the block `command`.
pub(super) fn output_below(page: &str, command: &str) -> Result<String> {
    let text = read(page)?;
    let below = text.split_once(&format!("{command}\n```\n\n```text\n"));
    let output = below.and_then(|(_, rest)| rest.split_once("\n```"));
    Ok(output
        .with_context(|| format!("{page} shows no output"))?
        .0
        .to_owned())
}

/// The first line that contains `part`.
pub(super) fn line_with(page: &str, part: &str) -> Result<String> {
    let text = read(page)?;
    let line = text.lines().find(|line| line.contains(part));
    Ok(line
        .with_context(|| format!("{page} has no line with {part:?}"))?
        .to_owned())
}

fn read(page: &str) -> Result<String> {
    std::fs::read_to_string(root().join(page)).with_context(|| format!("cannot read {page}"))
}
