//! An executable of llama.cpp.

use std::{path::Path, process::Command};

/// The environment variable that names an executable to use instead of a fetched one.
pub const VARIABLE: &str = "LLAMA_SERVER";

/// The version that the executable prints, or why it does not run.
pub(crate) fn version(path: &Path) -> Result<String, String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|error| format!("it does not start: {error}"))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        Ok(text
            .lines()
            .find(|line| line.starts_with("version"))
            .unwrap_or("version unknown")
            .to_owned())
    } else {
        Err(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn asks_an_executable_for_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let good = script(
            "good",
            "#!/bin/sh\necho 'noise'; echo 'version: 1 (abc)' >&2\n",
        );
        let bad = script(
            "bad",
            "#!/bin/sh\necho 'libgomp.so.1: cannot open shared object file' >&2; exit 127\n",
        );
        assert_eq!(version(&good).unwrap(), "version: 1 (abc)");
        assert!(version(&bad).unwrap_err().contains("libgomp.so.1"));
        assert!(
            version(&directory.path().join("none"))
                .unwrap_err()
                .contains("does not start")
        );
    }
}
