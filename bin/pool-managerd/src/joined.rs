//! The settings of a node that has joined: they are below those of the environment.

use std::{io::ErrorKind, path::PathBuf};

use daemon::STATE_DIR;
use node_join::JoinedFiles;
use service_runtime::env::Environment;

use crate::settings::PROGRAM;

/// Settings that only make sense together: where one is set, the others of the file do not count.
const TOGETHER: &[&[&str]] = &[
    &["POOL_MANAGERD_TLS_CERT_FILE", "POOL_MANAGERD_TLS_KEY_FILE"],
    &["POOL_MANAGERD_TLS_CA_FILE", "POOL_MANAGERD_TLS_CA_SHA256"],
];

/// The state directory of the settings.
pub(crate) fn state_dir(environment: &Environment) -> PathBuf {
    let name = STATE_DIR.variable(PROGRAM.prefix);
    let set = environment.value(&name).map(PathBuf::from);
    set.unwrap_or_else(|| STATE_DIR.default_value())
}

/// Adds the settings that `pool-managerd join` has written. A node that has not joined has none.
///
/// # Errors
/// When the file cannot be read, or a line is wrong; the text names the file.
pub(crate) fn add_settings(environment: &mut Environment) -> Result<(), String> {
    let files = JoinedFiles::in_directory(state_dir(environment));
    let file = files.settings();
    let shown = file.display();
    let text = match files.read_settings() {
        Ok(text) => text,
        // A state directory that is none is told with the other settings.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => {
            return Err(format!(
                "cannot read {shown}: {error}; it belongs to the user that joined"
            ));
        }
    };
    let settings = parse(&text).map_err(|line| {
        format!("{shown}: line {line} must be NAME=VALUE; join again with --replace")
    })?;
    let is_set: Vec<&str> = TOGETHER
        .iter()
        .filter(|group| group.iter().any(|name| environment.value(name).is_some()))
        .flat_map(|group| group.iter().copied())
        .collect();
    for (name, value) in settings {
        if !is_set.contains(&name) {
            environment.default_to(name, value);
        }
    }
    Ok(())
}

/// The settings of the file, or the number of the first wrong line.
fn parse(text: &str) -> Result<Vec<(&str, &str)>, usize> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| line.split_once('=').ok_or(index + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(directory: &std::path::Path, others: &[(&str, &str)]) -> Environment {
        let own = [("POOL_MANAGERD_STATE_DIR", directory.to_str().unwrap())];
        Environment::from_pairs(own.into_iter().chain(others.iter().copied()))
    }

    // spec: JOIN-32
    #[test]
    fn the_environment_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("joined.env");
        std::fs::write(
            &file,
            "# a comment\n\nORCHESTRATORD_URL=https://control:8080?a=b\n\
             POOL_MANAGERD_NODE_ID=gpu-1\nPOOL_MANAGERD_TLS_CERT_FILE=/a\n\
             POOL_MANAGERD_TLS_KEY_FILE=/a\nPOOL_MANAGERD_TLS_CA_FILE=/ca\n",
        )
        .unwrap();
        let set = [
            ("POOL_MANAGERD_NODE_ID", "other"),
            ("POOL_MANAGERD_TLS_KEY_FILE", "/b"),
        ];
        let mut found = environment(directory.path(), &set);
        add_settings(&mut found).unwrap();
        for (name, value) in [
            ("ORCHESTRATORD_URL", Some("https://control:8080?a=b")),
            ("POOL_MANAGERD_NODE_ID", Some("other")),
            ("POOL_MANAGERD_TLS_CERT_FILE", None),
            ("POOL_MANAGERD_TLS_KEY_FILE", Some("/b")),
            ("POOL_MANAGERD_TLS_CA_FILE", Some("/ca")),
        ] {
            assert_eq!(found.value(name), value, "{name}");
        }
        std::fs::write(&file, "ORCHESTRATORD_URL=x\nnonsense\n").unwrap();
        let error = add_settings(&mut environment(directory.path(), &[])).unwrap_err();
        assert!(error.contains("joined.env: line 2"), "{error}");
        std::fs::remove_file(&file).unwrap();
        add_settings(&mut environment(directory.path(), &[])).unwrap();
    }
}
