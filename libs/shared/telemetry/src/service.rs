//! The identity of a process.

/// The process that exports spans.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// The program.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its instance, if there are several.
    pub instance: Option<&'a str>,
}
