//! Tests of the watcher on a real directory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use notify::{EventKind, event::Flag};

use super::support::{Replay, appeared, changed, handoff, json, put, removed};
use pool_registry_types::Handoff;

use crate::{HandoffEvent, HandoffWatcher, Refusal, hint_queue::HintQueue, scan::Scanner};

/// No poll happens during a test.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(10);
/// An event that has not come by then is a failure.
const DEADLINE: Duration = Duration::from_secs(60);

struct Watched {
    events: mpsc::Receiver<HandoffEvent>,
    _watcher: HandoffWatcher,
}

fn watch(dir: &Path, poll_interval: Duration, events: bool) -> Watched {
    let (sender, receiver) = mpsc::channel();
    let builder = HandoffWatcher::builder(dir).poll_interval(poll_interval);
    let builder = if events {
        builder
    } else {
        builder.without_inotify()
    };
    let watcher = builder
        .start(move |event| drop(sender.send(event)))
        .unwrap();
    Watched {
        events: receiver,
        _watcher: watcher,
    }
}

impl Watched {
    fn any(&self) -> HandoffEvent {
        self.events.recv_timeout(DEADLINE).expect("an event")
    }

    /// The next event about a file.
    fn next(&self) -> HandoffEvent {
        match self.any() {
            HandoffEvent::Scanned => self.any(),
            event => event,
        }
    }
}

/// Waits until the watcher has started, which it shows by reporting what is there.
fn begun(dir: &Path, poll_interval: Duration, events: bool) -> Watched {
    put(dir, "first.json", &json("first", 1, 1));
    let watched = watch(dir, poll_interval, events);
    assert_eq!(
        watched.next(),
        appeared(dir, "first.json", handoff("first", 1, 1))
    );
    watched
}

// spec: HAND-2
#[test]
fn a_file_is_seen_without_any_poll() {
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), NEVER, true);
    put(dir.path(), "a.json", &json("r0", 2, 1));
    assert_eq!(
        watched.next(),
        appeared(dir.path(), "a.json", handoff("r0", 2, 1))
    );
    put(dir.path(), "a.json", &json("r0", 2, 4));
    assert_eq!(
        watched.next(),
        changed(
            dir.path(),
            "a.json",
            handoff("r0", 2, 1),
            handoff("r0", 2, 4)
        )
    );
    // In place, without a rename.
    fs::write(dir.path().join("a.json"), json("r0", 2, 5)).unwrap();
    assert_eq!(
        watched.next(),
        changed(
            dir.path(),
            "a.json",
            handoff("r0", 2, 4),
            handoff("r0", 2, 5)
        )
    );
    fs::remove_file(dir.path().join("a.json")).unwrap();
    assert_eq!(
        watched.next(),
        removed(dir.path(), "a.json", handoff("r0", 2, 5))
    );
}

// spec: HAND-3
#[test]
fn a_file_is_seen_without_any_event() {
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), SOON, false);
    put(dir.path(), "a.json", &json("r0", 2, 1));
    assert_eq!(
        watched.next(),
        appeared(dir.path(), "a.json", handoff("r0", 2, 1))
    );
    fs::remove_file(dir.path().join("a.json")).unwrap();
    assert_eq!(
        watched.next(),
        removed(dir.path(), "a.json", handoff("r0", 2, 1))
    );
}

// spec: HAND-9
#[test]
fn a_directory_made_later_is_seen_without_any_poll() {
    for round in 0..20 {
        let root = tempfile::tempdir().unwrap();
        let engines = root.path().join(".runtime/engines");
        let watched = watch(&engines, NEVER, true);
        // As `mkdir -p` and a start script do, at any moment of the start of the watcher.
        fs::create_dir_all(&engines).unwrap();
        put(&engines, "a.json", &json("r0", 2, 1));
        assert_eq!(
            watched.next(),
            appeared(&engines, "a.json", handoff("r0", 2, 1)),
            "round {round}"
        );
    }
}

// spec: HAND-9
#[test]
fn a_directory_that_goes_and_comes_back_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let engines = root.path().join(".runtime/engines");
    fs::create_dir_all(&engines).unwrap();
    let watched = begun(&engines, NEVER, true);
    for slots in 1..5 {
        fs::remove_dir_all(root.path().join(".runtime")).unwrap();
        assert!(matches!(watched.next(), HandoffEvent::Gone { .. }));
        fs::create_dir_all(&engines).unwrap();
        put(&engines, "a.json", &json("r0", 2, slots));
        assert_eq!(
            watched.next(),
            appeared(&engines, "a.json", handoff("r0", 2, slots))
        );
    }
}

// spec: HAND-9
#[test]
fn a_directory_that_is_replaced_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let (engines, other) = (root.path().join("engines"), root.path().join("other"));
    fs::create_dir(&engines).unwrap();
    fs::create_dir(&other).unwrap();
    put(&other, "a.json", &json("r0", 2, 1));
    let watched = begun(&engines, NEVER, true);
    fs::rename(&engines, root.path().join("old")).unwrap();
    assert_eq!(
        watched.next(),
        removed(&engines, "first.json", handoff("first", 1, 1))
    );
    fs::rename(&other, &engines).unwrap();
    assert_eq!(
        watched.next(),
        appeared(&engines, "a.json", handoff("r0", 2, 1))
    );
    put(&engines, "b.json", &json("r1", 3, 1));
    assert_eq!(
        watched.next(),
        appeared(&engines, "b.json", handoff("r1", 3, 1))
    );
}

#[test]
fn a_replaced_parent_directory_is_found_by_the_poll() {
    let root = tempfile::tempdir().unwrap();
    let engines = root.path().join("runtime/engines");
    fs::create_dir_all(&engines).unwrap();
    let watched = begun(&engines, SOON, true);
    fs::rename(root.path().join("runtime"), root.path().join("old")).unwrap();
    assert_eq!(
        watched.next(),
        removed(&engines, "first.json", handoff("first", 1, 1))
    );
    fs::create_dir_all(&engines).unwrap();
    put(&engines, "a.json", &json("r0", 2, 1));
    assert_eq!(
        watched.next(),
        appeared(&engines, "a.json", handoff("r0", 2, 1))
    );
}

// spec: HAND-5
#[test]
fn a_half_written_file_keeps_its_handoff_then_is_refused_then_fixed() {
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), SOON, true);
    let path = dir.path().join("first.json");
    let whole = json("first", 1, 2);
    fs::write(&path, &whole[..30]).unwrap();
    // This is the next event: nothing is gone, and nothing is reported before three polls.
    assert!(matches!(
        watched.next(),
        HandoffEvent::Refused { path: refused, reason: Refusal::NotJson(_) } if refused == path
    ));
    put(dir.path(), "first.json", &whole);
    assert_eq!(
        watched.next(),
        changed(
            dir.path(),
            "first.json",
            handoff("first", 1, 1),
            handoff("first", 1, 2)
        )
    );
    assert_eq!(watched.next(), HandoffEvent::Resolved { path });
}

// spec: HAND-15
#[test]
fn the_end_of_the_first_scan_is_reported_once_and_after_existing_files() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a.json", &json("r0", 1, 1));
    put(dir.path(), "b.json", "{}");
    let watched = watch(dir.path(), SOON, true);
    assert!(matches!(watched.any(), HandoffEvent::Appeared { .. }));
    assert!(matches!(watched.any(), HandoffEvent::Refused { .. }));
    assert_eq!(watched.any(), HandoffEvent::Scanned);
    put(dir.path(), "c.json", &json("r1", 2, 1));
    assert!(
        matches!(watched.any(), HandoffEvent::Appeared { .. }),
        "it is reported once"
    );

    let missing = watch(&dir.path().join("missing"), NEVER, true);
    assert_eq!(
        missing.any(),
        HandoffEvent::Scanned,
        "a missing directory is empty"
    );
}

// spec: HAND-16
#[test]
fn a_handoff_that_the_filter_rejects_is_refused_like_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let filter = |handoff: &Handoff| match handoff.slots() {
        0..=4 => Ok(()),
        more => Err(format!("slots must be at most 4 here, not {more}")),
    };
    let _watcher = HandoffWatcher::builder(dir.path())
        .filter(filter)
        .start(move |event| drop(sender.send(event)))
        .unwrap();
    let next = || receiver.recv_timeout(DEADLINE).unwrap();
    assert_eq!(next(), HandoffEvent::Scanned);
    let path = dir.path().join("a.json");
    put(dir.path(), "a.json", &json("r0", 1, 9));
    let reason = Refusal::Rejected("slots must be at most 4 here, not 9".to_owned());
    let refused = HandoffEvent::Refused {
        path: path.clone(),
        reason,
    };
    assert_eq!(next(), refused);
    put(dir.path(), "a.json", &json("r0", 1, 4));
    assert_eq!(next(), appeared(dir.path(), "a.json", handoff("r0", 1, 4)));
    assert_eq!(next(), HandoffEvent::Resolved { path });
    put(dir.path(), "a.json", &json("r0", 1, 9));
    assert_eq!(next(), refused, "the last valid handoff stays");
}

// spec: HAND-13
#[test]
fn a_refused_file_does_not_affect_other_files() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("0.json")).unwrap();
    put(dir.path(), "1.json", r#"{"pool_id":"p"}"#);
    put(dir.path(), ".hidden.json", &json("hidden", 7, 1));
    put(dir.path(), "2.json", &json("r2", 2, 1));
    put(dir.path(), "3.json", &json("r2", 3, 1));
    let watched = watch(dir.path(), NEVER, true);
    assert_eq!(
        watched.next(),
        appeared(dir.path(), "2.json", handoff("r2", 2, 1))
    );
    let refused = |name: &str, reason| HandoffEvent::Refused {
        path: dir.path().join(name),
        reason,
    };
    assert_eq!(watched.next(), refused("0.json", Refusal::SymbolicLink));
    assert!(matches!(
        watched.next(),
        HandoffEvent::Refused { reason: Refusal::WrongField(text), .. }
            if text.contains("replica_id")
    ));
    let other: PathBuf = dir.path().join("2.json");
    assert_eq!(
        watched.next(),
        refused("3.json", Refusal::SameReplica { other })
    );
}

// spec: HAND-10
#[test]
fn thousands_of_files_at_once_all_arrive() {
    const FILES: u16 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), NEVER, true);
    for i in 0..FILES {
        put(
            dir.path(),
            &format!("{i}.json"),
            &json(&format!("r{i}"), 1000 + i, 1),
        );
    }
    let mut reported = Replay::default();
    while reported.replicas.len() < usize::from(FILES) {
        reported.apply([watched.next()]);
    }
    assert!(reported.refused.is_empty());
}

// spec: HAND-11
#[test]
fn an_overflow_causes_a_full_scan() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "first.json", &json("first", 1, 1));
    let hints = Arc::new(HintQueue::default());
    let (sender, receiver) = mpsc::channel();
    // A watch without events of its own: its queue has overflowed.
    let silent = Box::new(|_: &Path| Ok(Box::new(()) as Box<dyn Send>));
    let _watcher = HandoffWatcher::spawn(
        dir.path().to_owned(),
        NEVER,
        Arc::clone(&hints),
        Some(silent),
        Scanner::new(dir.path().to_owned(), None),
        move |event| {
            if event != HandoffEvent::Scanned {
                drop(sender.send(event));
            }
        },
    );
    assert_eq!(
        receiver.recv_timeout(DEADLINE),
        Ok(appeared(dir.path(), "first.json", handoff("first", 1, 1)))
    );
    put(dir.path(), "a.json", &json("r0", 2, 1));
    hints.push(
        dir.path(),
        &Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan)),
    );
    assert_eq!(
        receiver.recv_timeout(DEADLINE),
        Ok(appeared(dir.path(), "a.json", handoff("r0", 2, 1)))
    );
}

#[test]
fn stopping_ends_the_thread_and_the_events() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let watcher = HandoffWatcher::builder(dir.path())
        .start(move |event| drop(sender.send(event)))
        .unwrap();
    watcher.stop();
    put(dir.path(), "a.json", &json("r0", 2, 1));
    // The callback was dropped with its thread.
    let event = receiver
        .iter()
        .find(|event| *event != HandoffEvent::Scanned);
    assert_eq!(event, None);
}
