//! The message for a person who interrupts a command that leaves work behind.

use std::sync::OnceLock;

static MESSAGE: OnceLock<String> = OnceLock::new();

/// Sets the message. Only the first call takes effect.
pub(crate) fn set(message: String) {
    let _ = MESSAGE.set(message);
}

/// The message, if a command has set one.
pub(crate) fn get() -> Option<&'static str> {
    MESSAGE.get().map(String::as_str)
}
