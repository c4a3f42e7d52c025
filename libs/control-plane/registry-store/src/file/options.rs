//! Options of the database.

use redb::Database;

/// The cache is small, because a thousand nodes take about two megabytes.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}
