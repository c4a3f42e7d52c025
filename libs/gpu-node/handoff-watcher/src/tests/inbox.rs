//! From inotify's events to hints, and how they wake the thread.

use std::{path::Path, time::Duration};

use notify::{
    Event, EventKind,
    event::{
        AccessKind, AccessMode, CreateKind, DataChange, Flag, ModifyKind, RemoveKind, RenameMode,
    },
};

use crate::inbox::{Hints, Inbox, Woken, now};

const DIR: &str = "/run/x/engines";

fn hints(events: &[Event]) -> Hints {
    let mut hints = Hints::default();
    for event in events {
        hints.add(Path::new(DIR), &Ok(event.clone()));
    }
    hints
}

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(path.into())
}

fn names(names: &[&str]) -> Hints {
    Hints {
        names: names.iter().map(Into::into).collect(),
        ..Hints::default()
    }
}

#[test]
fn files_are_named_and_everything_else_is_left_out() {
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
        Hints::default(),
        "our own listing"
    );
}

#[test]
fn an_overflow_an_error_and_a_flood_mean_everything() {
    let everything = Hints {
        everything: true,
        ..Hints::default()
    };
    assert_eq!(
        hints(&[Event::new(EventKind::Other).set_flag(Flag::Rescan)]),
        everything
    );
    let mut on_error = Hints::default();
    on_error.add(Path::new(DIR), &Err(notify::Error::generic("x")));
    assert_eq!(on_error, everything);
    let create = EventKind::Create(CreateKind::File);
    let flood: Vec<Event> = (0..2000)
        .map(|i| event(create, &format!("{DIR}/{i}.json")))
        .collect();
    assert!(hints(&flood).everything);
    assert!(hints(&flood).names.len() < 2000);
}

#[test]
fn a_directory_on_the_way_means_everything_and_its_loss_a_new_watch() {
    let made = hints(&[event(EventKind::Create(CreateKind::Folder), "/run/x")]);
    assert!(made.everything && !made.moved);
    for kind in [
        EventKind::Remove(RemoveKind::Folder),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)),
    ] {
        let lost = hints(&[event(kind, DIR)]);
        assert!(lost.everything && lost.moved);
    }
    assert_eq!(
        hints(&[event(EventKind::Create(CreateKind::Folder), "/run/y")]),
        Hints::default()
    );
}

#[test]
fn waiting_ends_with_stop_first_then_time_then_hints() {
    let inbox = Inbox::default();
    let later = now() + Duration::from_secs(3600);
    let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
    inbox.event(Path::new(DIR), &Ok(event(close, "/run/x/engines/a.json")));
    assert_eq!(inbox.wait(now()), Woken::Due);
    assert_eq!(inbox.wait(later), Woken::Hints(names(&["a.json"])));
    assert_eq!(
        inbox.wait(now() + Duration::from_millis(1)),
        Woken::Due,
        "each hint is given once"
    );
    inbox.stop();
    assert_eq!(inbox.wait(now()), Woken::Stop);
}
