//! Directories: who may be in them, what is replaced, and the CA.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::UNIX_EPOCH};

use node_ca::CaDirectory;
use registry_store::FileStore;
use state_export::{
    CONTROL_PLANE_LOCK, CaFiles, ImportOptions, Profile, StateError, export_directory, import,
    read_file, write_file,
};

use crate::support::{Amounts, into, make_ca, some, state};

fn exported(directory: &Path) -> Result<state_export::StateExport, StateError> {
    export_directory(directory, None, "0.1.0", UNIX_EPOCH)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

// spec: KEEP-10, KEEP-73
#[test]
fn all_files_are_for_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = directory.path().join("state");
    import(&some(Profile::Home), &into(&state_dir)).unwrap();
    let home = state_dir.join("home");
    assert_eq!(mode(&home), 0o700);
    let usage = fs::read_dir(home.join("usage")).unwrap();
    let mut files: Vec<_> = usage.map(|entry| entry.unwrap().path()).collect();
    files.extend([home.join("registry.redb"), home.join("node-id")]);
    assert_eq!(files.len(), 5);
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let file = directory.path().join("backup");
    fs::write(&file, "an old one").unwrap();
    write_file(&file, &some(Profile::Home)).unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(read_file(&file).unwrap(), some(Profile::Home));
}

// spec: KEEP-73
#[test]
fn state_that_is_there_is_replaced_only_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let old = some(Profile::Cloud);
    import(&old, &into(directory.path())).unwrap();
    let none = Amounts {
        nodes: 0,
        keys: 1,
        tokens: 0,
        revoked: 0,
        usage: 0,
    };
    let new = state(Profile::Cloud, none, 1);
    let error = import(&new, &into(directory.path()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has state already (registry.redb)"),
        "{error}"
    );
    assert_eq!(exported(directory.path()).unwrap().records, old.records);
    let options = ImportOptions {
        replace: true,
        ..into(directory.path())
    };
    import(&new, &options).unwrap();
    let found = exported(directory.path()).unwrap();
    assert_eq!((found.records, found.usage), (new.records, new.usage));
    assert!(!directory.path().join(".import").exists());
    // The other profile has a directory of its own.
    import(&some(Profile::Home), &into(directory.path())).unwrap();
    let both = exported(directory.path()).unwrap_err();
    assert!(matches!(both, StateError::BothProfiles(_)), "{both}");
}

// spec: KEEP-73
#[test]
fn a_control_plane_that_runs_keeps_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    import(&some(Profile::Cloud), &into(directory.path())).unwrap();
    let (name, role) = CONTROL_PLANE_LOCK;
    let lock = state_file::lock_directory(directory.path(), name, role).unwrap();
    let options = ImportOptions {
        replace: true,
        ..into(directory.path())
    };
    let pid = format!("process {} is the control plane", std::process::id());
    for error in [
        import(&some(Profile::Cloud), &options).unwrap_err(),
        exported(directory.path()).unwrap_err(),
    ] {
        assert!(error.to_string().contains(&pid), "{error}");
    }
    drop(lock);
    // One of another directory's lock, such as an earlier version, holds the file itself.
    let store = FileStore::open(directory.path()).unwrap();
    assert!(matches!(
        exported(directory.path()),
        Err(StateError::Store(_))
    ));
    drop(store);
    assert!(exported(directory.path()).is_ok());
}

// spec: KEEP-73
#[test]
fn a_directory_without_state_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().to_owned(), directory.path().join("none")] {
        assert!(matches!(exported(&path), Err(StateError::NoState(_))));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

// spec: KEEP-75
#[test]
fn a_ca_goes_where_no_other_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    make_ca(&at("ca"));
    let mut export = some(Profile::Cloud);
    export.add_ca(CaFiles::read(&at("ca")).unwrap());
    assert!(!format!("{export:?}").contains("PRIVATE KEY"));
    write_file(&at("backup"), &export).unwrap();
    let export = read_file(&at("backup")).unwrap();

    let error = import(&export, &into(&at("state"))).unwrap_err();
    assert!(matches!(error, StateError::CaWithoutDirectory), "{error}");
    let with = |state: &str, ca: &str| ImportOptions {
        ca_dir: Some(at(ca)),
        ..into(&at(state))
    };
    make_ca(&at("other"));
    let error = import(&export, &with("state", "other")).unwrap_err();
    assert!(matches!(error, StateError::CaDirectoryInUse(_)), "{error}");
    assert!(!at("state").join("registry.redb").exists());
    fs::create_dir(at("empty")).unwrap();
    for (state, ca) in [("a", "new"), ("b", "empty"), ("c", "new")] {
        import(&export, &with(state, ca)).unwrap();
        let made = CaDirectory::open(&at(ca)).unwrap();
        assert_eq!(Some(made.fingerprint()), export.ca_sha256);
        assert_eq!(
            made.server_hosts().unwrap()[0].to_string(),
            "control.example"
        );
        assert_eq!(mode(&at(ca).join("ca.key")), 0o600);
        assert_eq!(mode(&at(ca).join("server.pem")), 0o600);
    }
    let without = ImportOptions {
        without_ca: true,
        ..into(&at("d"))
    };
    import(&export, &without).unwrap();
    let no_ca = import(&some(Profile::Cloud), &with("e", "f")).unwrap_err();
    assert!(matches!(no_ca, StateError::NoCa), "{no_ca}");
}

// spec: KEEP-75
#[test]
fn files_of_another_ca_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    make_ca(&at("one"));
    make_ca(&at("two"));
    let [one, two] = ["one", "two"].map(|name| CaFiles::read(&at(name)).unwrap());
    let mut export = some(Profile::Cloud);
    export.add_ca(CaFiles {
        key: two.key,
        ..one.clone()
    });
    let options = ImportOptions {
        ca_dir: Some(at("ca")),
        ..into(&at("state"))
    };
    assert!(matches!(import(&export, &options), Err(StateError::Ca(_))));
    export.add_ca(CaFiles {
        fingerprint: two.fingerprint,
        ..one
    });
    assert!(matches!(
        import(&export, &options),
        Err(StateError::CaDiffers)
    ));
    assert!(!at("ca").exists() && !at("state").join("registry.redb").exists());
    assert_eq!(fs::read_dir(at("state")).unwrap().count(), 1, "its lock");
}
