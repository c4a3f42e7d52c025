//! Tests from observations to events.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pool_registry_types::Handoff;

use super::support::{self, handoff};
use crate::{
    HandoffEvent, POLLS_TO_REFUSE, Refusal,
    index::{FileObservation, FileState, HandoffIndex},
    read::FileFingerprint,
};

fn good(name: &str, replica: &str, port: u16, slots: u32) -> FileObservation {
    FileObservation {
        name: name.into(),
        state: FileState::Valid(handoff(replica, port, slots)),
    }
}

fn gone(name: &str) -> FileObservation {
    FileObservation {
        name: name.into(),
        state: FileState::Absent,
    }
}

fn bad(name: &str, reason: Refusal, fingerprint: Option<FileFingerprint>) -> FileObservation {
    FileObservation {
        name: name.into(),
        state: FileState::Invalid {
            reason,
            fingerprint,
        },
    }
}

/// The directory of the index.
fn dir() -> &'static Path {
    Path::new("/d")
}

fn path(name: &str) -> PathBuf {
    dir().join(name)
}

fn appeared(name: &str, handoff: Handoff) -> HandoffEvent {
    support::appeared(dir(), name, handoff)
}

fn changed(name: &str, old: Handoff, new: Handoff) -> HandoffEvent {
    support::changed(dir(), name, old, new)
}

fn removed(name: &str, handoff: Handoff) -> HandoffEvent {
    support::removed(dir(), name, handoff)
}

fn half() -> Refusal {
    Refusal::NotJson("EOF".into())
}

fn refused(name: &str, reason: Refusal) -> HandoffEvent {
    HandoffEvent::Refused {
        path: path(name),
        reason,
    }
}

fn resolved(name: &str) -> HandoffEvent {
    HandoffEvent::Resolved { path: path(name) }
}

#[test]
fn a_refusal_stands_until_the_file_is_a_handoff_or_gone() {
    let mut index = index();
    let wrong = Refusal::WrongField("slots".into());
    assert_eq!(
        index.observe(vec![bad("a", wrong.clone(), None)]),
        [refused("a", wrong)]
    );
    assert_eq!(
        index.observe(vec![bad("a", half(), None)]),
        [],
        "an incomplete file is not resolved"
    );
    assert_eq!(
        index.observe(vec![good("a", "r0", 1, 1)]),
        [appeared("a", handoff("r0", 1, 1)), resolved("a")]
    );
    index.observe(vec![bad("b", Refusal::SymbolicLink, None)]);
    assert_eq!(index.observe(vec![gone("b")]), [resolved("b")]);
    let one = Refusal::SameReplica {
        other: "/d/a".into(),
    };
    index.observe(vec![bad("c", Refusal::SymbolicLink, None)]);
    assert_eq!(
        index.observe(vec![good("c", "r0", 2, 1)]),
        [refused("c", one)],
        "a new reason replaces the first"
    );
}

/// Two different fingerprints.
fn fingerprint() -> [FileFingerprint; 2] {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = |content| {
        let path = dir.path().join("x");
        fs::write(&path, content).unwrap();
        FileFingerprint::of(&fs::metadata(path).unwrap())
    };
    [fingerprint("1"), fingerprint("22")]
}

fn index() -> HandoffIndex {
    HandoffIndex::new("/d".into())
}

#[test]
fn a_file_appears_changes_and_goes() {
    let mut index = index();
    let (one, two) = (handoff("r0", 1, 1), handoff("r0", 1, 2));
    assert_eq!(
        index.observe(vec![good("a", "r0", 1, 1)]),
        [appeared("a", one.clone())]
    );
    assert_eq!(index.observe(vec![good("a", "r0", 1, 1)]), []);
    assert_eq!(
        index.observe(vec![good("a", "r0", 1, 2)]),
        [changed("a", one, two.clone())]
    );
    assert_eq!(index.observe(vec![gone("a")]), [removed("a", two)]);
    assert_eq!(index.observe(vec![gone("a")]), []);
}

#[test]
fn a_file_that_names_another_replica_removes_one_and_adds_one() {
    let mut index = index();
    index.observe(vec![good("a", "r0", 1, 1)]);
    assert_eq!(
        index.observe(vec![good("a", "r1", 1, 1)]),
        [
            removed("a", handoff("r0", 1, 1)),
            appeared("a", handoff("r1", 1, 1))
        ]
    );
}

// spec: HAND-4
#[test]
fn renaming_a_file_and_swapping_two_is_no_event() {
    let mut index = index();
    index.observe(vec![good("a", "r0", 1, 1), good("b", "r1", 2, 1)]);
    assert_eq!(index.observe(vec![gone("a"), good("c", "r0", 1, 1)]), []);
    assert_eq!(
        index.observe(vec![good("b", "r0", 1, 1), good("c", "r1", 2, 1)]),
        []
    );
    assert_eq!(index.observe(vec![gone("b"), gone("c")]).len(), 2);
}

// spec: HAND-5
#[test]
fn a_half_written_file_keeps_its_last_handoff_and_is_refused_after_three_polls() {
    let mut index = index();
    index.observe(vec![good("a", "r0", 1, 1)]);
    let [fingerprint, _] = fingerprint();
    assert_eq!(index.observe(vec![bad("a", half(), Some(fingerprint))]), []);
    for _ in 1..POLLS_TO_REFUSE {
        assert_eq!(index.poll_finished(), []);
    }
    assert_eq!(index.poll_finished(), [refused("a", half())]);
    assert_eq!(index.observe(vec![bad("a", half(), Some(fingerprint))]), []);
    assert_eq!(index.poll_finished(), [], "reported once");
    assert_eq!(
        index.observe(vec![good("a", "r0", 1, 1)]),
        [resolved("a")],
        "the same handoff as before"
    );
    assert_eq!(
        index.observe(vec![gone("a")]),
        [removed("a", handoff("r0", 1, 1))]
    );
}

#[test]
fn a_file_that_stays_incomplete_is_refused_although_it_changes() {
    let mut index = index();
    let fingerprint = fingerprint();
    let mut reported = 0;
    for poll in 0..POLLS_TO_REFUSE as usize {
        index.observe(vec![bad("a", half(), Some(fingerprint[poll % 2]))]);
        reported += index.poll_finished().len();
    }
    assert_eq!(reported, 1);
}

// spec: HAND-6
#[test]
fn a_refusal_is_reported_again_when_the_file_changes() {
    let mut index = index();
    let [first, second] = fingerprint();
    let wrong = || Refusal::WrongField("slots: no".into());
    assert_eq!(
        index.observe(vec![bad("a", wrong(), Some(first))]),
        [refused("a", wrong())]
    );
    assert_eq!(index.observe(vec![bad("a", wrong(), Some(first))]), []);
    assert_eq!(
        index.observe(vec![bad("a", wrong(), Some(second))]),
        [refused("a", wrong())]
    );
    assert_eq!(index.poll_finished(), []);
}

// spec: HAND-6
#[test]
fn a_wrong_field_keeps_the_last_handoff_and_a_symlink_does_not() {
    let mut index = index();
    index.observe(vec![good("a", "r0", 1, 1)]);
    let wrong = Refusal::WrongField("slots: no".into());
    assert_eq!(
        index.observe(vec![bad("a", wrong.clone(), None)]),
        [refused("a", wrong)]
    );
    assert_eq!(
        index.observe(vec![bad("a", Refusal::SymbolicLink, None)]),
        [
            removed("a", handoff("r0", 1, 1)),
            refused("a", Refusal::SymbolicLink)
        ]
    );
}

// spec: HAND-6
#[test]
fn a_corrected_file_that_conflicts_is_refused_for_the_conflict_again() {
    let mut index = index();
    index.observe(vec![good("b", "r0", 1, 1)]);
    let same_url = Refusal::SameUrl {
        other: PathBuf::from("/d/b"),
    };
    assert_eq!(
        index.observe(vec![good("a", "r1", 1, 2)]),
        [refused("a", same_url.clone())]
    );
    let wrong = Refusal::WrongField("slots: no".into());
    index.observe(vec![bad("a", wrong, None)]);
    assert_eq!(
        index.observe(vec![good("a", "r1", 1, 2)]),
        [refused("a", same_url)]
    );
    assert_eq!(
        index.observe(vec![good("a", "r1", 1, 2)]),
        [],
        "reported once"
    );
}

// spec: HAND-12
#[test]
fn of_two_files_for_one_replica_the_first_counts_and_the_second_follows() {
    let mut index = index();
    index.observe(vec![good("z", "r0", 1, 1)]);
    let other = |name: &str| Refusal::SameReplica {
        other: PathBuf::from("/d").join(name),
    };
    assert_eq!(
        index.observe(vec![good("a", "r0", 2, 1)]),
        [refused("a", other("z"))]
    );
    assert_eq!(
        index.observe(vec![good("a", "r0", 2, 1)]),
        [],
        "reported once"
    );
    let update = changed("z", handoff("r0", 1, 1), handoff("r0", 1, 9));
    assert_eq!(
        index.observe(vec![good("z", "r0", 1, 9)]),
        [update],
        "the first file may change"
    );
    let takeover = changed("a", handoff("r0", 1, 9), handoff("r0", 2, 1));
    assert_eq!(index.observe(vec![gone("z")]), [takeover, resolved("a")]);
}

// spec: HAND-12
#[test]
fn of_two_files_with_one_url_the_first_counts_and_the_second_follows() {
    let mut index = index();
    let same = Refusal::SameUrl {
        other: "/d/a".into(),
    };
    assert_eq!(
        index.observe(vec![good("a", "r0", 1, 1), good("b", "r1", 1, 1)]),
        [appeared("a", handoff("r0", 1, 1)), refused("b", same)]
    );
    let moved = changed("a", handoff("r0", 1, 1), handoff("r0", 2, 1));
    assert_eq!(
        index.observe(vec![good("a", "r0", 2, 1)]),
        [moved, appeared("b", handoff("r1", 1, 1)), resolved("b")],
        "the url is free"
    );
}

#[test]
fn a_conflicting_file_that_is_deleted_is_forgotten() {
    let mut index = index();
    index.observe(vec![good("a", "r0", 1, 1), good("b", "r0", 1, 1)]);
    assert_eq!(index.observe(vec![gone("b")]), [resolved("b")]);
    assert_eq!(
        index.observe(vec![gone("a")]),
        [removed("a", handoff("r0", 1, 1))]
    );
}

#[test]
fn conflicts_are_reported_as_of_the_end_of_a_batch() {
    let mut index = index();
    index.observe(vec![good("c", "r2", 3, 1)]);
    // When `a` is read, only its URL is taken. At the end of the batch its replica is taken, too.
    let batch = || vec![good("a", "r1", 3, 1), good("b", "r1", 1, 1)];
    let other = Refusal::SameReplica {
        other: "/d/b".into(),
    };
    assert_eq!(
        index.observe(batch()),
        [appeared("b", handoff("r1", 1, 1)), refused("a", other)]
    );
    assert_eq!(index.observe(batch()), []);
}
