//! Kills and power failures at every moment, and files whose bytes have changed.

use super::{disk::Disk, *};

// spec: KEEP-8
#[test]
fn a_kill_leaves_what_was_last_written() {
    let (directory, file) = kept();
    let store = FileStore::open(directory.path()).unwrap();
    store.apply(&put(&["c"])).unwrap();
    // What the next process finds: the file as it is, of a store that was never closed.
    let next = tempfile::tempdir().unwrap();
    fs::copy(&file, next.path().join(FILE_NAME)).unwrap();
    assert_eq!(
        names(&FileStore::open(next.path()).unwrap()),
        ["a", "b", "c"]
    );
}

// spec: KEEP-8
#[test]
fn a_power_failure_leaves_the_state_before_or_after() {
    let disk = Disk::default();
    let store = disk.store().unwrap();
    store.apply(&put(&["a", "b"])).unwrap();
    let before = names(&store);
    disk.watch();
    // More than one page, so that there is much to tear apart.
    let many: Vec<String> = (0..40).map(|i| format!("node-{i:02}")).collect();
    let mut changes = put(&many.iter().map(String::as_str).collect::<Vec<_>>());
    changes.extend(["a", "b"].map(|gone| Change::Remove(gone.parse().unwrap())));
    store.apply(&changes).unwrap();
    drop(store);
    let images = disk.images();
    let (mut old, mut new) = (0, 0);
    for image in images {
        let found = names(&Disk::with_image(image).store().unwrap());
        if found == before {
            old += 1;
        } else {
            assert_eq!(found, many);
            new += 1;
        }
    }
    assert!(
        old > 10 && new > 10,
        "{old} times before, {new} times after"
    );
}

// spec: KEEP-9
#[test]
fn changed_bytes_are_noticed_or_do_not_matter() {
    let (_directory, file) = kept();
    let good = fs::read(&file).unwrap();
    // Every byte would take minutes; a prime step reaches all kinds of pages and places in them.
    for at in (0..good.len()).step_by(97) {
        let mut image = good.clone();
        image[at] ^= 0x5a;
        match Disk::with_image(image)
            .store()
            .and_then(|store| store.load())
        {
            Ok(nodes) => assert_eq!(nodes.len(), 2, "byte {at}"),
            Err(error) => assert!(
                matches!(
                    error,
                    StoreError::Damaged { .. } | StoreError::Foreign { .. }
                ),
                "byte {at}: {error:?}"
            ),
        }
    }
}

#[test]
fn a_file_cut_short_is_refused() {
    let (_directory, file) = kept();
    let good = fs::read(&file).unwrap();
    for length in (1..good.len()).step_by(997) {
        let cut = Disk::with_image(good[..length].to_vec())
            .store()
            .and_then(|store| store.load());
        assert!(
            cut.is_err() || cut.is_ok_and(|nodes| nodes.len() == 2),
            "{length} bytes"
        );
    }
}
