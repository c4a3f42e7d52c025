//! The limit of open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one and returns it; `u64::MAX` stands for no
/// limit.
///
/// The soft limit is 1024 on most systems, for programs that use `select`. Here each connection
/// takes a descriptor, so a thousand clients would reach it. A limit that cannot be raised stays as
/// it is.
pub fn raise_descriptor_limit() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files cannot be raised");
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    tracing::debug!(before = ?before.current, now, "limit of open files");
    now
}
