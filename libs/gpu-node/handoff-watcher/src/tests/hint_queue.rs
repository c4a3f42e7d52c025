//! Tests of hints from inotify events, and of waiting for them.

use std::{path::Path, time::Duration};

use notify::{
    Event, EventKind,
    event::{
        AccessKind, AccessMode, CreateKind, DataChange, Flag, ModifyKind, RemoveKind, RenameMode,
    },
};

use crate::hint_queue::{ChangeHints, HintQueue, Wakeup, now};

const DIR: &str = "/run/x/engines";

fn hints(events: &[Event]) -> ChangeHints {
    let mut hints = ChangeHints::default();
    for event in events {
        hints.add(Path::new(DIR), &Ok(event.clone()));
    }
    hints
}

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(path.into())
}

fn names(names: &[&str]) -> ChangeHints {
    ChangeHints {
        names: names.iter().map(Into::into).collect(),
        ..ChangeHints::default()
    }
}

#[test]
fn changed_files_are_named_and_other_paths_ignored() {
    let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
    let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    assert_eq!(
        hints(&[
            event(data, "/run/x/engines/a.json"),
            event(closed, "/run/x/engines/a.json"),
            event(renamed, "/run/x/engines/b.json"),
            event(opened, "/run/x/engines/opened.json"),
            event(data, "/run/x/engines/.b.json"),
            event(data, "/run/x/engines/b.json.tmp"),
            event(data, "/run/x/other/c.json"),
        ]),
        names(&["a.json", "b.json"])
    );
    assert_eq!(
        hints(&[event(opened, DIR)]),
        ChangeHints::default(),
        "our own listing"
    );
}

#[test]
fn an_overflow_an_error_and_many_names_cause_a_rescan() {
    let rescan = ChangeHints {
        rescan: true,
        ..ChangeHints::default()
    };
    assert_eq!(
        hints(&[Event::new(EventKind::Other).set_flag(Flag::Rescan)]),
        rescan
    );
    let mut on_error = ChangeHints::default();
    on_error.add(Path::new(DIR), &Err(notify::Error::generic("x")));
    assert_eq!(on_error, rescan);
    let create = EventKind::Create(CreateKind::File);
    let flood: Vec<Event> = (0..2000)
        .map(|i| event(create, &format!("{DIR}/{i}.json")))
        .collect();
    assert!(hints(&flood).rescan);
    assert!(hints(&flood).names.len() < 2000);
}

#[test]
fn a_change_of_a_parent_directory_causes_a_rescan_and_its_loss_a_new_watch() {
    let made = hints(&[event(EventKind::Create(CreateKind::Folder), "/run/x")]);
    assert!(made.rescan && !made.watch_lost);
    for kind in [
        EventKind::Remove(RemoveKind::Folder),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)),
    ] {
        let lost = hints(&[event(kind, DIR)]);
        assert!(lost.rescan && lost.watch_lost);
    }
    assert_eq!(
        hints(&[event(EventKind::Create(CreateKind::Folder), "/run/y")]),
        ChangeHints::default()
    );
}

#[test]
fn stop_comes_before_a_poll_and_a_poll_before_hints() {
    let hints = HintQueue::default();
    let later = now() + Duration::from_secs(3600);
    let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
    hints.push(Path::new(DIR), &Ok(event(close, "/run/x/engines/a.json")));
    assert_eq!(hints.wait(now()), Wakeup::PollDue);
    assert_eq!(hints.wait(later), Wakeup::Hints(names(&["a.json"])));
    assert_eq!(
        hints.wait(now() + Duration::from_millis(1)),
        Wakeup::PollDue,
        "each hint is returned once"
    );
    hints.stop();
    assert_eq!(hints.wait(now()), Wakeup::Stop);
}
