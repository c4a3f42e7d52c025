//! Reads the key of an engine from its file.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
};

use pool_registry::{EngineKey, MAX_KEY_BYTES};
use rustix::fs::OFlags;

/// Room for the key and for white space around it.
const MAX_KEY_FILE_BYTES: u64 = 2 * MAX_KEY_BYTES as u64;

/// Reads the key in the file `path`. It blocks for as long as the file system does.
///
/// # Errors
/// Why there is no key, and what to do, for people. Never holds the content of the file.
pub fn read_key(path: &str) -> Result<EngineKey, String> {
    let unreadable = |error: io::Error| {
        format!(
            "api_key_file {path} cannot be read: {error}; write the engine's key into it, \
             readable by this process"
        )
    };
    let text = read(path).map_err(unreadable)?;
    EngineKey::new(&text).map_err(|error| format!("api_key_file {path} holds no key: {error}"))
}

fn read(path: &str) -> io::Result<String> {
    // A FIFO must not block the reader.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_KEY_FILE_BYTES).read_to_end(&mut bytes)?;
    // The standard error would repeat nothing of it either, but names no remedy.
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PROBE-13
    #[test]
    fn a_key_is_read_and_its_absence_explained_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("good"), "sesame\n").unwrap();
        assert_eq!(read_key(&path("good")).unwrap().header(), "Bearer sesame");
        std::fs::write(path("two"), "open sesame\n").unwrap();
        std::fs::write(path("empty"), "\n").unwrap();
        std::fs::write(path("binary"), b"sesame\xff").unwrap();
        std::fs::write(path("long"), "s".repeat(100_000)).unwrap();
        for (name, expected) in [
            ("two", "one key of printable ASCII"),
            ("empty", "it is empty"),
            ("binary", "it is not UTF-8"),
            ("long", "more than 4096 bytes"),
            ("none", "No such file"),
            (".", "it is not a file"),
        ] {
            let reason = read_key(&path(name)).unwrap_err();
            assert!(reason.starts_with("api_key_file /"), "{reason}");
            assert!(reason.contains(expected), "{name}: {reason}");
            assert!(!reason.contains("sesame"), "{reason}");
        }
    }
}
