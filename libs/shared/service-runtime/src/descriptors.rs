//! How many files a process may have open: as many as it is allowed to ask for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files from the soft to the hard one and says what it is now; `u64::MAX`
/// for none.
///
/// The soft limit is 1024 on most systems, for the sake of programs that use `select`. Here each
/// connection is a descriptor, so a thousand clients would be the end. A limit that cannot be
/// raised stays what it is.
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
