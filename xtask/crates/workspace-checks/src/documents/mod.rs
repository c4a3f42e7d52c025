//! Documents: links resolve, named source files exist, and shell commands are run by a test or
//! marked with the reason why not.

mod commands;
mod links;
mod text;

use anyhow::Result;

use self::text::Document;
use crate::{layers::members, source_files::SourceFile};

/// All problems of the documents in `files`.
pub(crate) fn problems(files: &[SourceFile]) -> Result<Vec<String>> {
    let documents: Vec<Document<'_>> = files
        .iter()
        .filter(|file| file.extension() == "md")
        .map(|file| Document::new(&file.path, &file.text))
        .collect();
    let crates: Vec<_> = members()?
        .into_iter()
        .filter_map(|member| Some(member.manifest.parent()?.to_owned()))
        .collect();
    let mut problems = links::problems(&documents, &crates);
    for document in &documents {
        problems.extend(commands::problems(document, files));
    }
    Ok(problems)
}
