//! Files on a real disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
};

use captured_log::Log;
use rustix::fs::{CWD, Mode, mkfifoat};
use state_file::{
    LineLog, MAX_SET_ASIDE, ReadError, StateFileError, create_directory, read, read_lines, recover,
    set_aside, write,
};

fn number(bytes: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(bytes);
    text.trim()
        .parse()
        .map_err(|_| format!("{text:?} is no number"))
}

fn names(dir: &Path) -> Vec<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

// spec: KEEP-19
#[test]
fn a_write_replaces_the_file_and_leaves_no_temporary_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    assert_eq!(read(&path, number).unwrap(), None);
    write(&path, b"1").unwrap();
    let first = fs::metadata(&path).unwrap().ino();
    // Left by a killed process: a file longer than the next write, and a link.
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "kept").unwrap();
    symlink(&elsewhere, dir.path().join(".x.json.tmp")).unwrap();
    write(&path, b"22").unwrap();
    assert_eq!(read(&path, number).unwrap(), Some(22));
    assert_ne!(
        first,
        fs::metadata(&path).unwrap().ino(),
        "it was written in place"
    );
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
    assert_eq!(names(dir.path()), ["elsewhere", "x.json"]);
}

// spec: KEEP-19
#[test]
fn a_write_that_fails_leaves_the_old_content_and_no_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::create_dir(&path).unwrap();
    assert!(write(&path, b"1").is_err(), "a directory is in its place");
    assert_eq!(names(dir.path()), ["x"]);
    assert!(write(Path::new("/"), b"1").is_err());
    // The temporary file cannot be created.
    let blocked = dir.path().join(".y.tmp");
    fs::write(dir.path().join("y"), "old").unwrap();
    fs::create_dir(&blocked).unwrap();
    assert!(write(&dir.path().join("y"), b"new").is_err());
    assert_eq!(fs::read_to_string(dir.path().join("y")).unwrap(), "old");
}

#[test]
fn directories_are_made_with_those_above_them() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    create_directory(&deep).unwrap();
    create_directory(&deep).unwrap();
    assert!(deep.is_dir());
    create_directory(Path::new(".")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(create_directory(&dir.path().join("file/x")).is_err());
}

/// Creates something at a path.
type Put = fn(&Path);

// spec: KEEP-20
#[test]
fn a_damaged_file_is_set_aside() {
    let damages: [(&str, Put); 7] = [
        ("empty", |path| fs::write(path, "").unwrap()),
        ("cut off", |path| fs::write(path, "12x").unwrap()),
        ("garbage", |path| fs::write(path, [0xff; 64]).unwrap()),
        ("long garbage", |path| {
            fs::write(path, "x".repeat(100_000)).unwrap();
        }),
        ("too long", |path| {
            let file = fs::File::create(path).unwrap();
            file.set_len(state_file::MAX_BYTES + 1).unwrap();
        }),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
    ];
    for (name, put) in damages {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        put(&path);
        let said = Log::of(|| {
            let found = recover(&path, number, "counting begins again");
            assert_eq!(found.unwrap(), None, "{name}");
        });
        assert_eq!(names(dir.path()), ["x.unreadable-1"], "{name}");
        for part in [
            "WARN",
            path.to_str().unwrap(),
            "x.unreadable-1",
            "counting begins again",
        ] {
            assert!(said.contains(part), "{name}: {said}");
        }
        assert!(said.len() < 2000, "{name}: {} bytes", said.len());
        write(&path, b"7").unwrap();
        assert_eq!(recover(&path, number, "").unwrap(), Some(7), "{name}");
    }
}

// spec: KEEP-21
#[test]
fn an_unreadable_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    // Not even root can read it.
    symlink(&path, &path).unwrap();
    assert!(matches!(read(&path, number), Err(ReadError::Failed(_))));
    let error = recover(&path, number, "").unwrap_err();
    assert!(
        matches!(error, StateFileError::Unreadable { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(names(dir.path()), ["x"]);
}

// spec: KEEP-20
#[test]
fn the_number_of_damaged_files_is_bounded_and_the_first_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    for number in 0..MAX_SET_ASIDE + 3 {
        fs::write(&path, number.to_string()).unwrap();
        set_aside(&path, "", "").unwrap();
    }
    assert_eq!(names(dir.path()).len(), MAX_SET_ASIDE as usize);
    let kept = |number: u32| {
        fs::read_to_string(dir.path().join(format!("x.unreadable-{number}"))).unwrap()
    };
    assert_eq!((kept(1).as_str(), kept(MAX_SET_ASIDE).as_str()), ("0", "7"));
}

// spec: KEEP-24
#[test]
fn a_file_without_an_end_is_read_up_to_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pools.toml");
    fs::write(&path, "four").unwrap();
    assert_eq!(
        state_file::read_text(&path, 4).unwrap().as_deref(),
        Some("four")
    );
    assert_eq!(state_file::read_text(&path, 3).unwrap(), None);
    // Its reported length is 0.
    assert_eq!(
        state_file::read_text(Path::new("/dev/zero"), 4096).unwrap(),
        None
    );
    fs::write(&path, [0xff]).unwrap();
    let error = state_file::read_text(&path, 4).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

// spec: AUTH-66
#[test]
fn a_file_that_is_read_again_is_a_plain_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    for wrong in [&path, Path::new("/dev/zero"), dir.path()] {
        let error = state_file::read_plain_text(wrong, 4).unwrap_err();
        assert_eq!(error.to_string(), "it is no plain file", "{wrong:?}");
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "four").unwrap();
    let text = state_file::read_plain_text(&path, 4).unwrap();
    assert_eq!(text.as_deref(), Some("four"));
}

// spec: KEEP-20
#[test]
fn what_is_written_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    let bytes = vec![b' '; usize::try_from(state_file::MAX_BYTES).unwrap() + 1];
    let length = |bytes: &[u8]| Ok::<_, String>(bytes.len());
    let (most, _) = bytes.split_at(bytes.len() - 1);
    state_file::write(&path, most).unwrap();
    assert_eq!(state_file::read(&path, length).unwrap(), Some(most.len()));
    let error = state_file::write(&path, &bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    assert_eq!(state_file::read(&path, length).unwrap(), Some(most.len()));
}

fn lines(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    read_lines(path, 8, |line| {
        lines.push(String::from_utf8(line.to_vec()).unwrap());
    })
    .unwrap();
    lines
}

// spec: KEEP-50
#[test]
fn a_log_keeps_whole_lines_and_drops_the_rest_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    assert!(lines(&path).is_empty());
    let mut log = LineLog::open(&path).unwrap();
    log.append(b"one\ntwo\n").unwrap();
    log.append(b"three\n").unwrap();
    assert_eq!((lines(&path).len(), log.bytes()), (3, 14));
    drop(log);
    // A power failure in the middle of a line, longer than a block that is read at once.
    for rest in ["f".repeat(5000), "f".to_owned()] {
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(rest.as_bytes());
        fs::write(&path, text).unwrap();
        assert_eq!(lines(&path)[..3], ["one", "two", "three"]);
        let mut log = LineLog::open(&path).unwrap();
        assert_eq!(log.bytes(), 14);
        log.append(b"").unwrap();
        assert_eq!(lines(&path), ["one", "two", "three"]);
    }
    let mut log = LineLog::rewrite(&path, b"new\n").unwrap();
    log.append(b"12345678901\n\n").unwrap();
    assert_eq!(lines(&path), ["new", "12345678", "901", ""]);
    fs::write(&path, "no line").unwrap();
    assert_eq!(LineLog::open(&path).unwrap().bytes(), 0);
    assert_eq!(names(dir.path()), ["log"]);
}

// spec: JOIN-2
#[test]
fn only_its_user_can_read_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    // An earlier file that all could read, and what a killed process left.
    std::fs::write(&path, "old").unwrap();
    std::fs::write(directory.path().join(".secret.tmp"), "rest").unwrap();
    state_file::write_private(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
