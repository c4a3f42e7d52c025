//! Checks the handoff files of a node without watching them.

use std::{fs, path::Path};

use daemon::Report;
use pool_registry_types::{Handoff, limits::MAX_HANDOFF_BYTES, one_line};

use crate::handoff_filter::HandoffFilter;

/// The most files that are read. More of them have a common cause, and a check has to end.
const MAX_CHECKED_FILES: usize = 256;

/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 512;

/// Reports every handoff in `directory` that the node would refuse. A directory that cannot be read
/// has been reported before.
pub(crate) fn handoffs(report: &mut Report, directory: &Path, filter: &HandoffFilter) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<_> = paths
        .filter(|path| is_handoff(path))
        .take(MAX_CHECKED_FILES)
        .collect();
    paths.sort();
    for path in paths {
        if let Err(reason) = read(&path).and_then(|handoff| filter.check(&handoff)) {
            report.warning(
                path.display().to_string(),
                format!("is refused: {}", one_line(&reason, MAX_REASON_BYTES)),
                "correct or remove the file; the others are not affected",
            );
        }
    }
}

/// Temporary files of writers begin with a dot, or have another ending.
fn is_handoff(path: &Path) -> bool {
    let is_hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension().is_some_and(|ending| ending == "json")
}

fn read(path: &Path) -> Result<Handoff, String> {
    let metadata = path.symlink_metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        // A pipe would never end.
        return Err("it is no regular file".to_owned());
    }
    let limit = MAX_HANDOFF_BYTES as u64;
    let text = state_file::read_plain_text(path, limit).map_err(|error| error.to_string())?;
    let text = text.ok_or_else(|| format!("it has more than {MAX_HANDOFF_BYTES} bytes"))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CHECK-6
    #[test]
    fn each_refused_handoff_is_reported_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let good = concat!(
            r#"{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp","#,
            r#""url":"http://localhost:8081","slots":2}"#
        );
        for (name, text) in [
            ("good.json", good.to_owned()),
            ("cut.json", good[..20].to_owned()),
            ("elsewhere.json", good.replace("localhost", "192.0.2.1")),
            (".temporary.json", "{".to_owned()),
            ("other.txt", "{".to_owned()),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut report = Report::default();
        handoffs(&mut report, directory.path(), &HandoffFilter::default());
        let found: Vec<(&str, &str)> = report
            .findings()
            .iter()
            .map(|finding| {
                let name = finding.subject.rsplit('/').next().unwrap();
                (name, finding.found.as_str())
            })
            .collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].0 == "cut.json" && found[0].1.starts_with("is refused: "),
            "{found:?}"
        );
        assert!(
            found[1].0 == "elsewhere.json" && found[1].1.contains("url must lead to this machine"),
            "{found:?}"
        );
        handoffs(
            &mut report,
            Path::new("/does/not/exist"),
            &HandoffFilter::default(),
        );
    }
}
