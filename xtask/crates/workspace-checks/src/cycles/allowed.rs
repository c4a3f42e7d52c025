//! The file cycles that are allowed, each with its reason.

/// A group of files of one crate that may use each other.
pub(super) struct AllowedCycle {
    pub(super) files: &'static [&'static str],
    pub(super) reason: &'static str,
}

pub(super) const ALLOWED: &[AllowedCycle] = &[];
