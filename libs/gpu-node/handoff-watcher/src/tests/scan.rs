//! Tests of scanning many files without reading them all.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime},
};

use super::support::{json, put};
use crate::{
    index::FileState,
    scan::{Scanner, is_candidate},
};

#[test]
fn only_changed_files_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..200_u16 {
        put(
            dir.path(),
            &format!("{i}.json"),
            &json(&format!("r{i}"), 1000 + i, 1),
        );
    }
    let mut scanner = Scanner::new(dir.path().to_owned(), None);
    // Long after they were written, their fingerprints are reliable.
    let late = SystemTime::now() + Duration::from_secs(3600);
    assert_eq!(scanner.scan(late).unwrap().len(), 200);
    assert_eq!(scanner.reads, 200);
    assert_eq!(scanner.scan(late).unwrap(), []);
    assert_eq!(scanner.reads, 200);

    put(dir.path(), "7.json", &json("r7", 1007, 2));
    fs::set_permissions(dir.path().join("8.json"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(dir.path().join("9.json")).unwrap();
    let seen = scanner.scan(late).unwrap();
    let names: Vec<_> = seen
        .iter()
        .map(|observation| observation.name.to_str().unwrap())
        .collect();
    assert_eq!(names, ["7.json", "8.json", "9.json"]);
    assert_eq!(seen[2].state, FileState::Absent);
    assert_eq!(scanner.reads, 202);
}

#[test]
fn a_file_just_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a.json", &json("r0", 1, 1));
    let mut scanner = Scanner::new(dir.path().to_owned(), None);
    scanner.scan(SystemTime::now()).unwrap();
    scanner.scan(SystemTime::now()).unwrap();
    assert_eq!(scanner.reads, 2);
}

#[test]
fn a_missing_directory_is_empty_and_one_that_cannot_be_listed_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let engines = dir.path().join("engines");
    let mut scanner = Scanner::new(engines.clone(), None);
    let now = SystemTime::now();
    assert_eq!(scanner.scan(now).unwrap(), []);
    fs::create_dir(&engines).unwrap();
    put(&engines, "a.json", &json("r0", 1, 1));
    assert_eq!(scanner.scan(now).unwrap().len(), 1);
    fs::remove_dir_all(&engines).unwrap();
    assert_eq!(scanner.scan(now).unwrap()[0].state, FileState::Absent);
    // A link to itself can be neither listed nor is it absent.
    std::os::unix::fs::symlink(&engines, &engines).unwrap();
    assert!(scanner.scan(now).is_err());
}

// spec: HAND-4
#[test]
fn temporary_names_are_ignored() {
    for (name, candidate) in [
        ("pool-0_r0.json", true),
        ("x.json", true),
        (".x.json", false),
        (".json", false),
        ("x.json.tmp", false),
        ("x.json~", false),
        ("x.JSON", false),
        ("json", false),
    ] {
        assert_eq!(is_candidate(name.as_ref()), candidate, "{name}");
    }
}
