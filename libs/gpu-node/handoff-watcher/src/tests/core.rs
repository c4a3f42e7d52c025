//! From observations to events, case by case.

use std::{fs, path::PathBuf};

use super::support::handoff;
use crate::{
    Event, POLLS_TO_REFUSE, Refusal,
    core::{Core, Observation, Seen},
    read::Stamp,
};

fn good(name: &str, replica: &str, port: u16, slots: u32) -> Observation {
    Observation {
        name: name.into(),
        seen: Seen::Good(handoff(replica, port, slots)),
    }
}

fn gone(name: &str) -> Observation {
    Observation {
        name: name.into(),
        seen: Seen::Gone,
    }
}

fn bad(name: &str, reason: Refusal, stamp: Option<Stamp>) -> Observation {
    Observation {
        name: name.into(),
        seen: Seen::Bad { reason, stamp },
    }
}

fn half() -> Refusal {
    Refusal::NotJson("EOF".into())
}

fn refused(name: &str, reason: Refusal) -> Event {
    Event::Refused {
        path: PathBuf::from("/d").join(name),
        reason,
    }
}

fn resolved(name: &str) -> Event {
    Event::Resolved {
        path: PathBuf::from("/d").join(name),
    }
}

#[test]
fn a_refusal_stands_until_the_file_is_a_handoff_or_gone() {
    let mut core = core();
    let wrong = Refusal::WrongField("slots".into());
    assert_eq!(
        core.observe(vec![bad("a", wrong.clone(), None)]),
        [refused("a", wrong)]
    );
    assert_eq!(
        core.observe(vec![bad("a", half(), None)]),
        [],
        "somebody is writing: it is not resolved yet"
    );
    assert_eq!(
        core.observe(vec![good("a", "r0", 1, 1)]),
        [Event::Appeared(handoff("r0", 1, 1)), resolved("a")]
    );
    core.observe(vec![bad("b", Refusal::SymbolicLink, None)]);
    assert_eq!(core.observe(vec![gone("b")]), [resolved("b")]);
    let one = Refusal::SameReplica {
        other: "/d/a".into(),
    };
    core.observe(vec![bad("c", Refusal::SymbolicLink, None)]);
    assert_eq!(
        core.observe(vec![good("c", "r0", 2, 1)]),
        [refused("c", one)],
        "another reason takes the place of the first"
    );
}

/// Two stamps that differ.
fn stamps() -> [Stamp; 2] {
    let dir = tempfile::tempdir().unwrap();
    let stamp = |content| {
        let path = dir.path().join("x");
        fs::write(&path, content).unwrap();
        Stamp::of(&fs::metadata(path).unwrap())
    };
    [stamp("1"), stamp("22")]
}

fn core() -> Core {
    Core::new("/d".into())
}

#[test]
fn a_file_appears_changes_and_goes() {
    let mut core = core();
    let (one, two) = (handoff("r0", 1, 1), handoff("r0", 1, 2));
    assert_eq!(
        core.observe(vec![good("a", "r0", 1, 1)]),
        [Event::Appeared(one.clone())]
    );
    assert_eq!(core.observe(vec![good("a", "r0", 1, 1)]), []);
    let changed = Event::Changed {
        old: one,
        new: two.clone(),
    };
    assert_eq!(core.observe(vec![good("a", "r0", 1, 2)]), [changed]);
    assert_eq!(core.observe(vec![gone("a")]), [Event::Gone(two)]);
    assert_eq!(core.observe(vec![gone("a")]), []);
}

#[test]
fn a_file_that_names_another_replica_is_one_gone_and_one_come() {
    let mut core = core();
    core.observe(vec![good("a", "r0", 1, 1)]);
    assert_eq!(
        core.observe(vec![good("a", "r1", 1, 1)]),
        [
            Event::Gone(handoff("r0", 1, 1)),
            Event::Appeared(handoff("r1", 1, 1))
        ]
    );
}

// spec: HAND-4
#[test]
fn renaming_a_file_and_swapping_two_is_no_event() {
    let mut core = core();
    core.observe(vec![good("a", "r0", 1, 1), good("b", "r1", 2, 1)]);
    assert_eq!(core.observe(vec![gone("a"), good("c", "r0", 1, 1)]), []);
    assert_eq!(
        core.observe(vec![good("b", "r0", 1, 1), good("c", "r1", 2, 1)]),
        []
    );
    assert_eq!(core.observe(vec![gone("b"), gone("c")]).len(), 2);
}

// spec: HAND-5
#[test]
fn a_half_written_file_keeps_its_last_state_and_is_refused_after_three_polls() {
    let mut core = core();
    core.observe(vec![good("a", "r0", 1, 1)]);
    let [stamp, _] = stamps();
    assert_eq!(core.observe(vec![bad("a", half(), Some(stamp))]), []);
    for _ in 1..POLLS_TO_REFUSE {
        assert_eq!(core.polled(), []);
    }
    assert_eq!(core.polled(), [refused("a", half())]);
    assert_eq!(core.observe(vec![bad("a", half(), Some(stamp))]), []);
    assert_eq!(core.polled(), [], "said once");
    assert_eq!(
        core.observe(vec![good("a", "r0", 1, 1)]),
        [resolved("a")],
        "the same as before it broke"
    );
    assert_eq!(
        core.observe(vec![gone("a")]),
        [Event::Gone(handoff("r0", 1, 1))]
    );
}

#[test]
fn a_file_that_never_ends_being_written_is_refused_all_the_same() {
    let mut core = core();
    let stamps = stamps();
    let mut said = 0;
    for poll in 0..POLLS_TO_REFUSE as usize {
        core.observe(vec![bad("a", half(), Some(stamps[poll % 2]))]);
        said += core.polled().len();
    }
    assert_eq!(said, 1);
}

// spec: HAND-6
#[test]
fn a_refusal_is_said_again_when_the_file_changes() {
    let mut core = core();
    let [first, second] = stamps();
    let wrong = || Refusal::WrongField("slots: no".into());
    assert_eq!(
        core.observe(vec![bad("a", wrong(), Some(first))]),
        [refused("a", wrong())]
    );
    assert_eq!(core.observe(vec![bad("a", wrong(), Some(first))]), []);
    assert_eq!(
        core.observe(vec![bad("a", wrong(), Some(second))]),
        [refused("a", wrong())]
    );
    assert_eq!(core.polled(), []);
}

// spec: HAND-6
#[test]
fn a_wrong_field_keeps_the_last_state_and_a_symlink_does_not() {
    let mut core = core();
    core.observe(vec![good("a", "r0", 1, 1)]);
    let wrong = Refusal::WrongField("slots: no".into());
    assert_eq!(
        core.observe(vec![bad("a", wrong.clone(), None)]),
        [refused("a", wrong)]
    );
    assert_eq!(
        core.observe(vec![bad("a", Refusal::SymbolicLink, None)]),
        [
            Event::Gone(handoff("r0", 1, 1)),
            refused("a", Refusal::SymbolicLink)
        ]
    );
}

// spec: HAND-6
#[test]
fn a_mended_file_that_is_in_anothers_way_is_refused_for_that_again() {
    let mut core = core();
    core.observe(vec![good("b", "r0", 1, 1)]);
    let same_url = Refusal::SameUrl {
        other: PathBuf::from("/d/b"),
    };
    assert_eq!(
        core.observe(vec![good("a", "r1", 1, 2)]),
        [refused("a", same_url.clone())]
    );
    let wrong = Refusal::WrongField("slots: no".into());
    core.observe(vec![bad("a", wrong, None)]);
    assert_eq!(
        core.observe(vec![good("a", "r1", 1, 2)]),
        [refused("a", same_url)]
    );
    assert_eq!(core.observe(vec![good("a", "r1", 1, 2)]), [], "said once");
}

// spec: HAND-12
#[test]
fn of_two_files_for_one_replica_the_first_stays_and_the_second_follows() {
    let mut core = core();
    core.observe(vec![good("z", "r0", 1, 1)]);
    let other = |name: &str| Refusal::SameReplica {
        other: PathBuf::from("/d").join(name),
    };
    assert_eq!(
        core.observe(vec![good("a", "r0", 2, 1)]),
        [refused("a", other("z"))]
    );
    assert_eq!(core.observe(vec![good("a", "r0", 2, 1)]), [], "said once");
    let update = Event::Changed {
        old: handoff("r0", 1, 1),
        new: handoff("r0", 1, 9),
    };
    assert_eq!(
        core.observe(vec![good("z", "r0", 1, 9)]),
        [update],
        "the first may still change"
    );
    let takeover = Event::Changed {
        old: handoff("r0", 1, 9),
        new: handoff("r0", 2, 1),
    };
    assert_eq!(core.observe(vec![gone("z")]), [takeover, resolved("a")]);
}

// spec: HAND-12
#[test]
fn of_two_files_with_one_url_the_first_stays_and_the_second_follows() {
    let mut core = core();
    let same = Refusal::SameUrl {
        other: "/d/a".into(),
    };
    assert_eq!(
        core.observe(vec![good("a", "r0", 1, 1), good("b", "r1", 1, 1)]),
        [Event::Appeared(handoff("r0", 1, 1)), refused("b", same)]
    );
    let moved = Event::Changed {
        old: handoff("r0", 1, 1),
        new: handoff("r0", 2, 1),
    };
    assert_eq!(
        core.observe(vec![good("a", "r0", 2, 1)]),
        [moved, Event::Appeared(handoff("r1", 1, 1)), resolved("b")],
        "the url is free"
    );
}

#[test]
fn a_blocked_file_that_goes_is_forgotten() {
    let mut core = core();
    core.observe(vec![good("a", "r0", 1, 1), good("b", "r0", 1, 1)]);
    assert_eq!(core.observe(vec![gone("b")]), [resolved("b")]);
    assert_eq!(
        core.observe(vec![gone("a")]),
        [Event::Gone(handoff("r0", 1, 1))]
    );
}

#[test]
fn what_is_in_the_way_is_said_of_the_end_of_a_batch() {
    let mut core = core();
    core.observe(vec![good("c", "r2", 3, 1)]);
    // When `a` is looked at only its url is taken; when the batch is through, its replica is too.
    let batch = || vec![good("a", "r1", 3, 1), good("b", "r1", 1, 1)];
    let other = Refusal::SameReplica {
        other: "/d/b".into(),
    };
    assert_eq!(
        core.observe(batch()),
        [Event::Appeared(handoff("r1", 1, 1)), refused("a", other)]
    );
    assert_eq!(core.observe(batch()), []);
}
