//! The whole, on a real directory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use notify::{EventKind, event::Flag};

use super::support::{Replay, handoff, json, put};
use pool_registry_types::Handoff;

use crate::{Config, Event, HandoffWatcher, Refusal, inbox::Inbox, scan::Scanner};

/// So long that no test passes because of a poll.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(10);
/// When an event has not come by then it will not.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watched {
    events: mpsc::Receiver<Event>,
    _watcher: HandoffWatcher,
}

fn watch(dir: &Path, poll_interval: Duration, events: bool) -> Watched {
    let (sender, receiver) = mpsc::channel();
    let config = Config {
        poll_interval,
        events,
        ..Config::new(dir)
    };
    let watcher = HandoffWatcher::start(config, move |event| drop(sender.send(event))).unwrap();
    Watched {
        events: receiver,
        _watcher: watcher,
    }
}

impl Watched {
    fn any(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// The next event about a file.
    fn next(&self) -> Event {
        match self.any() {
            Event::Scanned => self.any(),
            event => event,
        }
    }
}

/// Waits until the watcher has begun, which it shows by telling what is there.
fn begun(dir: &Path, poll_interval: Duration, events: bool) -> Watched {
    put(dir, "first.json", &json("first", 1, 1));
    let watched = watch(dir, poll_interval, events);
    assert_eq!(watched.next(), Event::Appeared(handoff("first", 1, 1)));
    watched
}

// spec: HAND-2
#[test]
fn a_file_is_seen_without_any_poll() {
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), NEVER, true);
    put(dir.path(), "a.json", &json("r0", 2, 1));
    assert_eq!(watched.next(), Event::Appeared(handoff("r0", 2, 1)));
    put(dir.path(), "a.json", &json("r0", 2, 4));
    assert_eq!(
        watched.next(),
        Event::Changed {
            old: handoff("r0", 2, 1),
            new: handoff("r0", 2, 4)
        }
    );
    // In place, as a careless writer does.
    fs::write(dir.path().join("a.json"), json("r0", 2, 5)).unwrap();
    assert_eq!(
        watched.next(),
        Event::Changed {
            old: handoff("r0", 2, 4),
            new: handoff("r0", 2, 5)
        }
    );
    fs::remove_file(dir.path().join("a.json")).unwrap();
    assert_eq!(watched.next(), Event::Gone(handoff("r0", 2, 5)));
}

// spec: HAND-3
#[test]
fn a_file_is_seen_without_any_event() {
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), SOON, false);
    put(dir.path(), "a.json", &json("r0", 2, 1));
    assert_eq!(watched.next(), Event::Appeared(handoff("r0", 2, 1)));
    fs::remove_file(dir.path().join("a.json")).unwrap();
    assert_eq!(watched.next(), Event::Gone(handoff("r0", 2, 1)));
}

// spec: HAND-9
#[test]
fn a_directory_made_later_is_seen_without_any_poll() {
    for round in 0..20 {
        let root = tempfile::tempdir().unwrap();
        let engines = root.path().join(".runtime/engines");
        let watched = watch(&engines, NEVER, true);
        // As `mkdir -p` and a quick start script do it: at any moment of the watcher's own start.
        fs::create_dir_all(&engines).unwrap();
        put(&engines, "a.json", &json("r0", 2, 1));
        assert_eq!(
            watched.next(),
            Event::Appeared(handoff("r0", 2, 1)),
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
        assert!(matches!(watched.next(), Event::Gone(_)));
        fs::create_dir_all(&engines).unwrap();
        put(&engines, "a.json", &json("r0", 2, slots));
        assert_eq!(watched.next(), Event::Appeared(handoff("r0", 2, slots)));
    }
}

// spec: HAND-9
#[test]
fn another_directory_in_its_place_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let (engines, other) = (root.path().join("engines"), root.path().join("other"));
    fs::create_dir(&engines).unwrap();
    fs::create_dir(&other).unwrap();
    put(&other, "a.json", &json("r0", 2, 1));
    let watched = begun(&engines, NEVER, true);
    fs::rename(&engines, root.path().join("old")).unwrap();
    assert_eq!(watched.next(), Event::Gone(handoff("first", 1, 1)));
    fs::rename(&other, &engines).unwrap();
    assert_eq!(watched.next(), Event::Appeared(handoff("r0", 2, 1)));
    put(&engines, "b.json", &json("r1", 3, 1));
    assert_eq!(watched.next(), Event::Appeared(handoff("r1", 3, 1)));
}

#[test]
fn another_parent_in_its_place_is_found_by_the_poll() {
    let root = tempfile::tempdir().unwrap();
    let engines = root.path().join("runtime/engines");
    fs::create_dir_all(&engines).unwrap();
    let watched = begun(&engines, SOON, true);
    fs::rename(root.path().join("runtime"), root.path().join("old")).unwrap();
    assert_eq!(watched.next(), Event::Gone(handoff("first", 1, 1)));
    fs::create_dir_all(&engines).unwrap();
    put(&engines, "a.json", &json("r0", 2, 1));
    assert_eq!(watched.next(), Event::Appeared(handoff("r0", 2, 1)));
}

// spec: HAND-5
#[test]
fn a_half_written_file_keeps_its_state_then_is_refused_then_fixed() {
    let dir = tempfile::tempdir().unwrap();
    let watched = begun(dir.path(), SOON, true);
    let path = dir.path().join("first.json");
    let whole = json("first", 1, 2);
    fs::write(&path, &whole[..30]).unwrap();
    // The very next event: nothing is gone, nothing is said before three polls.
    assert!(
        matches!(watched.next(), Event::Refused { path: said, reason: Refusal::NotJson(_) } if said == path)
    );
    put(dir.path(), "first.json", &whole);
    assert_eq!(
        watched.next(),
        Event::Changed {
            old: handoff("first", 1, 1),
            new: handoff("first", 1, 2)
        }
    );
    assert_eq!(watched.next(), Event::Resolved { path });
}

// spec: HAND-15
#[test]
fn the_end_of_the_first_look_is_told_once_and_after_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a.json", &json("r0", 1, 1));
    put(dir.path(), "b.json", "{}");
    let watched = watch(dir.path(), SOON, true);
    assert!(matches!(watched.any(), Event::Appeared(_)));
    assert!(matches!(watched.any(), Event::Refused { .. }));
    assert_eq!(watched.any(), Event::Scanned);
    put(dir.path(), "c.json", &json("r1", 2, 1));
    assert!(
        matches!(watched.any(), Event::Appeared(_)),
        "it is said once"
    );

    let missing = watch(&dir.path().join("missing"), NEVER, true);
    assert_eq!(
        missing.any(),
        Event::Scanned,
        "there is nothing to wait for"
    );
}

// spec: HAND-16
#[test]
fn what_nobody_has_a_use_for_is_refused_like_any_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let rule = |handoff: &Handoff| match handoff.slots {
        0..=4 => Ok(()),
        more => Err(format!("slots must be at most 4 here, not {more}")),
    };
    let _watcher = HandoffWatcher::start_with_rule(
        Config::new(dir.path()),
        Some(Box::new(rule)),
        move |event| {
            drop(sender.send(event));
        },
    )
    .unwrap();
    let next = || receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), Event::Scanned);
    let path = dir.path().join("a.json");
    put(dir.path(), "a.json", &json("r0", 1, 9));
    let reason = Refusal::Unwanted("slots must be at most 4 here, not 9".to_owned());
    let refused = Event::Refused {
        path: path.clone(),
        reason,
    };
    assert_eq!(next(), refused);
    put(dir.path(), "a.json", &json("r0", 1, 4));
    assert_eq!(next(), Event::Appeared(handoff("r0", 1, 4)));
    assert_eq!(next(), Event::Resolved { path });
    put(dir.path(), "a.json", &json("r0", 1, 9));
    assert_eq!(next(), refused, "the last good state stays");
}

// spec: HAND-13
#[test]
fn what_is_refused_disturbs_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("0.json")).unwrap();
    put(dir.path(), "1.json", r#"{"pool_id":"p"}"#);
    put(dir.path(), ".hidden.json", &json("hidden", 7, 1));
    put(dir.path(), "2.json", &json("r2", 2, 1));
    put(dir.path(), "3.json", &json("r2", 3, 1));
    let watched = watch(dir.path(), NEVER, true);
    assert_eq!(watched.next(), Event::Appeared(handoff("r2", 2, 1)));
    let refused = |name: &str, reason| Event::Refused {
        path: dir.path().join(name),
        reason,
    };
    assert_eq!(watched.next(), refused("0.json", Refusal::SymbolicLink));
    assert!(
        matches!(watched.next(), Event::Refused { reason: Refusal::WrongField(text), .. } if text.contains("replica_id"))
    );
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
    let mut told = Replay::default();
    while told.replicas.len() < usize::from(FILES) {
        told.apply([watched.next()]);
    }
    assert!(told.refused.is_empty());
}

// spec: HAND-11
#[test]
fn an_overflow_is_answered_by_looking_at_everything() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "first.json", &json("first", 1, 1));
    let inbox = Arc::new(Inbox::default());
    let (sender, receiver) = mpsc::channel();
    // A watch that never says anything by itself: its queue has overflowed.
    let silent = Box::new(|_: &Path| Ok(Box::new(()) as Box<dyn Send>));
    let _watcher = HandoffWatcher::start_with(
        dir.path().to_owned(),
        NEVER,
        Arc::clone(&inbox),
        Some(silent),
        Scanner::new(dir.path().to_owned(), None),
        move |event| {
            if event != Event::Scanned {
                drop(sender.send(event));
            }
        },
    );
    assert_eq!(
        receiver.recv_timeout(PATIENCE),
        Ok(Event::Appeared(handoff("first", 1, 1)))
    );
    put(dir.path(), "a.json", &json("r0", 2, 1));
    inbox.event(
        dir.path(),
        &Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan)),
    );
    assert_eq!(
        receiver.recv_timeout(PATIENCE),
        Ok(Event::Appeared(handoff("r0", 2, 1)))
    );
}

#[test]
fn stopping_ends_the_thread_and_the_events() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel();
    let watcher = HandoffWatcher::start(Config::new(dir.path()), move |event| {
        drop(sender.send(event))
    })
    .unwrap();
    watcher.stop();
    put(dir.path(), "a.json", &json("r0", 2, 1));
    // The callback went with its thread.
    let event = receiver.iter().find(|event| *event != Event::Scanned);
    assert_eq!(event, None);
}
