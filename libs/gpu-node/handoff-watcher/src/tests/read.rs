//! Tests of which files are read, and why others are refused.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::support::{handoff, json};
use crate::{
    MAX_FILE_BYTES, Refusal,
    read::{FileFingerprint, check_metadata, check_owner, parse, read},
};

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The refusals of a path: by its metadata, and by opening it.
fn refusals_of(path: &Path) -> [Refusal; 2] {
    [
        check_metadata(&fs::symlink_metadata(path).unwrap(), own_uid()).unwrap_err(),
        read(path, own_uid()).unwrap_err(),
    ]
}

#[test]
fn a_plain_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, json("r0", 1, 4)).unwrap();
    assert_eq!(read(&path, own_uid()), Ok(handoff("r0", 1, 4)));
}

// spec: HAND-7
#[test]
fn a_file_that_is_not_plain_is_refused_without_blocking() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("good.json"), json("r0", 1, 4)).unwrap();
    symlink(at("good.json"), at("link.json")).unwrap();
    assert_eq!(refusals_of(&at("link.json"))[0], Refusal::SymbolicLink);
    assert!(matches!(
        refusals_of(&at("link.json"))[1],
        Refusal::Unreadable(_)
    ));

    // The FIFO has no writer, so a blocking open would hang.
    mknodat(CWD, at("fifo.json"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert_eq!(
        refusals_of(&at("fifo.json")),
        [Refusal::NotAFile, Refusal::NotAFile]
    );
    fs::create_dir(at("dir.json")).unwrap();
    assert_eq!(
        refusals_of(&at("dir.json")),
        [Refusal::NotAFile, Refusal::NotAFile]
    );
    let _socket = UnixListener::bind(at("socket.json")).unwrap();
    assert_eq!(refusals_of(&at("socket.json"))[0], Refusal::NotAFile);
}

// spec: HAND-8
#[test]
fn a_large_file_is_refused_at_any_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.json");
    let padded = |bytes: u64| {
        let json = json("r0", 1, 4);
        let spaces = usize::try_from(bytes).unwrap() - json.len();
        json + &" ".repeat(spaces)
    };
    fs::write(&path, padded(MAX_FILE_BYTES)).unwrap();
    assert!(read(&path, own_uid()).is_ok());
    let bytes = MAX_FILE_BYTES + 1;
    fs::write(&path, padded(bytes)).unwrap();
    assert_eq!(
        refusals_of(&path),
        [Refusal::TooLarge { bytes }, Refusal::TooLarge { bytes }]
    );
    // A sparse file of a terabyte.
    let bytes = 1 << 40;
    File::create(&path).unwrap().set_len(bytes).unwrap();
    assert_eq!(
        refusals_of(&path),
        [Refusal::TooLarge { bytes }, Refusal::TooLarge { bytes }]
    );
}

// spec: HAND-7
#[test]
fn only_files_of_this_user_and_of_root_are_accepted() {
    for (owner, ours, taken) in [
        (1000, 1000, true),
        (0, 1000, true),
        (1001, 1000, false),
        (1000, 0, false),
        (0, 0, true),
    ] {
        assert_eq!(check_owner(owner, ours).is_ok(), taken, "{owner} {ours}");
    }
    let refusal = check_owner(1001, 1000).unwrap_err();
    assert!(refusal.to_string().contains("1001"));
}

#[test]
fn wrong_content_is_distinguished_from_incomplete_content() {
    let whole = json("r0", 1, 4);
    for end in 0..whole.len() {
        let refusal = parse(&whole.as_bytes()[..end]).unwrap_err();
        assert!(refusal.is_transient(), "{end}: {refusal:?}");
    }
    assert!(parse(whole.as_bytes()).is_ok());
    assert!(parse(format!("{whole}\n ").as_bytes()).is_ok());
    // The rest of longer content that was overwritten in place.
    assert!(
        parse(format!("{whole}}}").as_bytes())
            .unwrap_err()
            .is_transient()
    );
    assert_eq!(parse(b"{\xff"), Err(Refusal::NotUtf8 { offset: 1 }));
    assert!(matches!(
        parse(&b"[".repeat(60_000)),
        Err(Refusal::NotJson(_) | Refusal::WrongField(_))
    ));

    for (from, to, field) in [
        (r#""slots":4"#, r#""slots":0"#, "slots"),
        (r#""slots":4"#, r#""slots":"4""#, "slots"),
        (r#""slots":4"#, r#""sluts":4"#, "slots"),
        (
            r#""replica_id":"r0""#,
            r#""replica_id":"../r0""#,
            "replica_id",
        ),
        ("http:", "ftp:", "url"),
    ] {
        let refusal = parse(whole.replace(from, to).as_bytes()).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::WrongField(text) if text.contains(field)),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_fingerprint_is_reliable_when_it_is_old_enough() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, "x").unwrap();
    let fingerprint = FileFingerprint::of(&fs::metadata(&path).unwrap());
    let now = SystemTime::now();
    assert!(
        !fingerprint.is_reliable(now),
        "another write may fall into the same tick"
    );
    assert!(
        !fingerprint.is_reliable(now - Duration::from_secs(3600)),
        "the clock went back"
    );
    assert!(fingerprint.is_reliable(now + Duration::from_secs(10)));
}
