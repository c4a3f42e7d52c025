//! The path of the file with the key that an engine demands.

use crate::{
    id::MAX_ECHO_CHARS,
    invalid::InvalidField,
    limits::MAX_PATH_BYTES,
    shared_str::{checked_str, shared_str},
    text::quoted,
};

shared_str! {
    /// The path of a file that holds the key of an engine: absolute, of at most [`MAX_PATH_BYTES`]
    /// bytes without control characters. The key itself stands in no message.
    KeyFile, read by KeyFile::new;
}

checked_str! {
    KeyFile refuses by check;
}

fn check(path: &str) -> Result<(), InvalidField> {
    let is_usable = path.starts_with('/')
        && path.len() <= MAX_PATH_BYTES
        && !path.chars().any(char::is_control);
    if is_usable {
        return Ok(());
    }
    Err(InvalidField::new(
        "api_key_file",
        format!(
            "must be the absolute path of a file that holds the engine's key, of at most \
             {MAX_PATH_BYTES} bytes, not {}",
            quoted(path, MAX_ECHO_CHARS)
        ),
    ))
}
