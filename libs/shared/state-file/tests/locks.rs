//! Locks of directories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, Command, Stdio},
};

use state_file::{DirectoryLock, InUse, lock_directory};

/// The directory that a child of this test locks.
const LOCKS: &str = "STATE_FILE_TEST_LOCKS";

fn lock(dir: &Path) -> Result<Option<DirectoryLock>, InUse> {
    lock_directory(dir, "node", "the node")
}

/// Runs this test again as a process that holds the lock until its standard input closes.
fn other_process(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_a_lock_for_another_test", "--nocapture"])
        .env(LOCKS, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let locked = said.lines().any(|line| line.unwrap().contains("locked"));
    assert!(locked, "the child has the lock");
    child
}

#[test]
fn holds_a_lock_for_another_test() {
    let Some(dir) = std::env::var_os(LOCKS) else {
        return;
    };
    let _lock = lock(Path::new(&dir)).unwrap().unwrap();
    println!("locked");
    std::io::stdout().flush().unwrap();
    std::io::stdin().lines().for_each(drop);
}

// spec: CONF-20
#[test]
fn the_second_process_learns_the_id_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = other_process(dir.path());
    let refused = lock(dir.path()).unwrap_err();
    assert_eq!(refused.pid, Some(first.id()));
    let said = refused.to_string();
    let expected = format!("process {} is the node there already", first.id());
    assert!(said.contains(&expected), "{said}");
    // Its lock ends with the process, and the remaining file is no lock.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(dir.path().join(".node.lock").exists());
    assert!(lock(dir.path()).unwrap().is_some());
}

// spec: CONF-20
#[test]
fn a_lock_ends_with_its_holder_and_is_for_one_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let first = lock(dir.path()).unwrap();
    assert_eq!(lock(dir.path()).unwrap_err().pid, Some(std::process::id()));
    let other = lock_directory(dir.path(), "control-plane", "the control plane").unwrap();
    assert!(other.is_some());
    drop(first);
    assert!(lock(dir.path()).unwrap().is_some());
}

// spec: CONF-21
#[test]
fn a_directory_that_cannot_be_written_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    assert!(lock(&dir.path().join("missing")).unwrap().is_none());
    // Not even root can lock something that is not a regular file.
    symlink("/dev/null", dir.path().join(".node.lock")).unwrap();
    assert!(lock(dir.path()).unwrap().is_none());
    fs::remove_file(dir.path().join(".node.lock")).unwrap();
    fs::create_dir(dir.path().join(".node.lock")).unwrap();
    assert!(lock(dir.path()).unwrap().is_none());
}

// spec: CONF-21
#[test]
fn a_lock_that_cannot_be_written_is_respected() {
    let dir = tempfile::tempdir().unwrap();
    let held = lock(dir.path()).unwrap();
    let path = dir.path().join(".node.lock");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(lock(dir.path()).unwrap_err().pid, Some(std::process::id()));
    drop(held);
    assert!(lock(dir.path()).unwrap().is_some());
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
}
