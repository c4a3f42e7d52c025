//! The file itself: what it keeps, who may read it, and what it says when it is not what it should
//! be.

mod crash;
mod disk;
mod round_trip;

use std::{
    cell::Cell,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use redb::{Database, TableDefinition};
use tempfile::TempDir;

use super::*;
use crate::{StoreError, conformance};

fn put(names: &[&str]) -> Vec<Change> {
    names
        .iter()
        .map(|name| Change::Put(Arc::new(conformance::node(name, UNIX_EPOCH))))
        .collect()
}

fn names(store: &FileStore) -> Vec<String> {
    let nodes = store.load().unwrap();
    nodes
        .iter()
        .map(|node| node.node_id().to_string())
        .collect()
}

/// A directory with a store that keeps `a` and `b`, and the store's file.
fn kept() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.apply(&put(&["a", "b"])).unwrap();
    let file = store.path().to_owned();
    (directory, file)
}

fn refusal(directory: &Path) -> StoreError {
    match FileStore::open(directory) {
        Ok(store) => store.load().unwrap_err(),
        Err(error) => error,
    }
}

// spec: KEEP-11
#[test]
fn it_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    conformance::check(|| {
        count.set(count.get() + 1);
        let own = directory.path().join(count.get().to_string());
        Box::new(FileStore::open(&own).unwrap())
    });
    conformance::check_keys(|| {
        count.set(count.get() + 1);
        let name = format!("{}", count.get());
        Box::new(FileStore::open(&directory.path().join(name)).unwrap())
    });
    conformance::check_joins(|| {
        let own = directory.path().join("joins");
        Box::new(FileStore::open(&own).unwrap())
    });
    conformance::check_all(|| {
        let own = directory.path().join("all");
        Box::new(FileStore::open(&own).unwrap())
    });
}

#[test]
fn it_keeps_what_it_has_over_restarts() {
    let (directory, _) = kept();
    for _ in 0..3 {
        let store = FileStore::open(directory.path()).unwrap();
        assert_eq!(names(&store), ["a", "b"]);
    }
}

// spec: KEEP-10
#[test]
fn its_directory_is_for_this_user_only() {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("run/state");
    let store = FileStore::open(&directory).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(store.path()), 0o600);
    // Others may have business above it: it is made as any other.
    fs::create_dir(above.path().join("other")).unwrap();
    assert_eq!(
        mode(directory.parent().unwrap()),
        mode(&above.path().join("other"))
    );
    let entries: Vec<_> = fs::read_dir(&directory).unwrap().flatten().collect();
    assert_eq!(entries.len(), 1, "nothing unfinished is left: {entries:?}");
}

#[test]
fn a_relative_directory_will_do() {
    assert!(create::directory(Path::new(".")).is_ok());
    assert!(create::directory(Path::new("Cargo.toml")).is_err());
}

// spec: KEEP-9
#[test]
fn one_process_at_a_time_has_it() {
    let (directory, file) = kept();
    let first = FileStore::open(directory.path()).unwrap();
    let error = FileStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains(file.to_str().unwrap()) && said.contains("stop that one"),
        "{said}"
    );
    // The first does not notice.
    first.apply(&put(&["c"])).unwrap();
    drop(first);
    assert_eq!(
        names(&FileStore::open(directory.path()).unwrap()),
        ["a", "b", "c"]
    );
}

// spec: KEEP-9
#[test]
fn of_two_that_begin_together_one_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| FileStore::open(directory.path())))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    let (open, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(open.len(), 1, "{refused:?}");
    for error in refused {
        assert!(matches!(error, Err(StoreError::InUse { .. })), "{error:?}");
    }
}

// spec: KEEP-9
#[test]
fn what_is_not_ours_is_named_and_left_alone() {
    for content in [&b""[..], b"x", b"[node]\nname = \"a\"\n", &[0; 100_000]] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE_NAME);
        fs::write(&file, content).unwrap();
        let error = refusal(directory.path());
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        let said = error.to_string();
        assert!(
            said.contains(file.to_str().unwrap()) && said.contains("move it away"),
            "{said}"
        );
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = Database::create(directory.path().join(FILE_NAME)).unwrap();
    let transaction = other.begin_write().unwrap();
    let table: TableDefinition<'_, u64, u64> = TableDefinition::new("nodes");
    transaction.open_table(table).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(other);
    let error = refusal(directory.path());
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
}

/// Writes into the file behind the store's back.
fn tamper(file: &Path, work: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    work(&transaction);
    transaction.commit().unwrap();
}

// spec: KEEP-9
#[test]
fn a_later_schema_is_refused() {
    let (directory, file) = kept();
    let meta: TableDefinition<'_, &str, u64> = TableDefinition::new("llorch-registry");
    tamper(&file, |transaction| {
        let mut meta = transaction.open_table(meta).unwrap();
        meta.insert("schema", schema::VERSION + 1).unwrap();
    });
    let error = refusal(directory.path());
    assert!(
        matches!(error, StoreError::Newer { found, known, .. } if found == known + 1),
        "{error:?}"
    );
    tamper(&file, |transaction| {
        transaction
            .open_table(meta)
            .unwrap()
            .remove("schema")
            .unwrap();
    });
    let error = refusal(directory.path());
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

// spec: KEEP-9
#[test]
fn a_record_that_is_not_understood_is_not_skipped() {
    let good = serde_json::to_vec(&conformance::node("a", UNIX_EPOCH)).unwrap();
    for (key, record) in [
        ("c", &b"{\"node_id\":\"c\""[..]),
        ("c", &good),
        ("../c", b"{}"),
    ] {
        let (directory, file) = kept();
        let nodes: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("nodes");
        tamper(&file, |transaction| {
            transaction
                .open_table(nodes)
                .unwrap()
                .insert(key, record)
                .unwrap();
        });
        let error = refusal(directory.path());
        let said = error.to_string();
        assert!(
            matches!(error, StoreError::Damaged { .. })
                && said.contains(key)
                && said.contains("drains"),
            "{said}"
        );
    }
}

// spec: KEEP-15
#[test]
fn a_registration_that_is_not_understood_costs_no_drain_and_no_start() {
    let (directory, file) = kept();
    let mut bad = serde_json::to_value(conformance::node("c", UNIX_EPOCH)).unwrap();
    // As an earlier version wrote it, which had no bound there.
    bad["life"]["registration"]["pools"] = (0..512).map(|i| format!("pool-{i}")).collect();
    let record = bad.to_string();
    let nodes: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("nodes");
    tamper(&file, |transaction| {
        let mut nodes = transaction.open_table(nodes).unwrap();
        nodes.insert("c", record.as_bytes()).unwrap();
    });
    let (log, _guard) = captured_log::Log::of_this_thread(tracing::Level::WARN);
    let store = FileStore::open(directory.path()).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.len(), 3, "the others are whole");
    let mut expected = conformance::node("c", UNIX_EPOCH).to_persisted(UNIX_EPOCH);
    expected.registered = None;
    assert_eq!(loaded[2].to_persisted(UNIX_EPOCH), expected);
    assert!(loaded[2].is_drained());
    assert_eq!(log.count("node_id=c"), 1);
    assert_eq!(log.count("pools must have at most 256 entries, not 512"), 1);
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let above = tempfile::tempdir().unwrap();
    fs::write(above.path().join("file"), "").unwrap();
    let error = refusal(&above.path().join("file"));
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
    // A directory in place of the file.
    fs::create_dir(above.path().join(FILE_NAME)).unwrap();
    let error = refusal(above.path());
    assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
}
