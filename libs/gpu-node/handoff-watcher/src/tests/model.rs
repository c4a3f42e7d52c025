//! Random histories of a directory, looked at late, twice or in part: what is told converges to
//! what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    time::{Duration, SystemTime},
};

use pool_registry_types::Handoff;
use proptest::prelude::*;

use super::support::{Replay, handoff, json, put};
use crate::{
    Refusal,
    core::{Core, Observation, Seen},
    read::MAX_FILE_BYTES,
    scan::Scanner,
};

#[derive(Debug, Clone, Copy)]
enum Content {
    Good { replica: u8, port: u16, slots: u32 },
    Half,
    WrongField,
    Oversized,
    Link,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Write { file: u8, content: Content },
    Rename { from: u8, to: u8 },
    Delete { file: u8 },
    Hint { file: u8 },
    Poll,
}

fn step(files: u8) -> impl Strategy<Value = Step> {
    let content = prop_oneof![
        6 => (0..3_u8, 1..4_u16, 1..3_u32)
            .prop_map(|(replica, port, slots)| Content::Good { replica, port, slots }),
        1 => Just(Content::Half),
        1 => Just(Content::WrongField),
        1 => Just(Content::Oversized),
        1 => Just(Content::Link),
    ];
    prop_oneof![
        4 => (0..files, content).prop_map(|(file, content)| Step::Write { file, content }),
        1 => (0..files, 0..files).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => (0..files).prop_map(|file| Step::Delete { file }),
        3 => (0..files).prop_map(|file| Step::Hint { file }),
        1 => Just(Step::Poll),
    ]
}

fn name(file: u8) -> OsString {
    format!("{file}.json").into()
}

fn what_it_says(replica: u8, port: u16, slots: u32) -> Handoff {
    handoff(&format!("r{replica}"), port, slots)
}

fn look(name: OsString, content: Option<&Content>) -> Observation {
    let bad = |reason| Seen::Bad {
        reason,
        stamp: None,
    };
    let seen = match content {
        None => Seen::Gone,
        Some(&Content::Good {
            replica,
            port,
            slots,
        }) => Seen::Good(what_it_says(replica, port, slots)),
        Some(Content::Half) => bad(Refusal::NotJson("EOF".into())),
        Some(Content::WrongField) => bad(Refusal::WrongField("slots".into())),
        Some(Content::Oversized) => bad(Refusal::TooLarge {
            bytes: MAX_FILE_BYTES + 1,
        }),
        Some(Content::Link) => bad(Refusal::SymbolicLink),
    };
    Observation { name, seen }
}

/// What each file last said, as far as it was looked at.
#[derive(Default)]
struct LastGood(BTreeMap<OsString, Handoff>);

impl LastGood {
    fn saw(&mut self, observation: &Observation) {
        match &observation.seen {
            Seen::Good(handoff) => {
                self.0.insert(observation.name.clone(), handoff.clone());
            }
            Seen::Bad { reason, .. } if reason.keeps_last_good() => {}
            Seen::Gone | Seen::Bad { .. } => {
                self.0.remove(&observation.name);
            }
        }
    }

    /// Everything told is said by a file, and every file either has its say or contradicts one that
    /// has.
    fn check(&self, told: &Replay) {
        let said = |handoff: &Handoff| told.replicas.values().any(|told| told == handoff);
        for handoff in told.replicas.values() {
            assert!(
                self.0.values().any(|good| good == handoff),
                "nobody says {handoff:?}"
            );
        }
        for good in self.0.values().filter(|good| !said(good)) {
            let blocked = told.replicas.values().any(|told| {
                told.url == good.url
                    || (&told.pool_id, &told.replica_id) == (&good.pool_id, &good.replica_id)
            });
            assert!(blocked, "nothing speaks against {good:?}");
        }
    }
}

proptest! {
    // spec: HAND-14
    #[test]
    fn what_is_told_is_what_files_say(steps in prop::collection::vec(step(5), 1..60)) {
        let mut directory: BTreeMap<OsString, Content> = BTreeMap::new();
        let (mut core, mut told, mut last_good) = (Core::new("/d".into()), Replay::default(), LastGood::default());
        let everything: BTreeSet<OsString> = (0..5).map(name).collect();
        let mut observe = |core: &mut Core, observations: Vec<Observation>| {
            observations.iter().for_each(|observation| last_good.saw(observation));
            told.apply(core.observe(observations));
            last_good.check(&told);
        };
        for step in steps {
            match step {
                Step::Write { file, content } => { directory.insert(name(file), content); }
                Step::Delete { file } => { directory.remove(&name(file)); }
                Step::Rename { from, to } => {
                    if let Some(content) = directory.remove(&name(from)) {
                        directory.insert(name(to), content);
                    }
                }
                Step::Hint { file } => observe(&mut core, vec![look(name(file), directory.get(&name(file)))]),
                Step::Poll => {
                    let looks = everything.iter().map(|name| look(name.clone(), directory.get(name)));
                    observe(&mut core, looks.collect());
                }
            }
        }
        let looks = || everything.iter().map(|name| look(name.clone(), directory.get(name))).collect::<Vec<_>>();
        observe(&mut core, looks());
        prop_assert_eq!(core.observe(looks()), vec![], "nothing changed, nothing told");
        for (path, reason) in &told.standing {
            let name = path.file_name().unwrap();
            prop_assert!(directory.contains_key(name), "{:?} is gone, and so is what was wrong with it", name);
            let is_blocked = matches!(reason, Refusal::SameReplica { .. } | Refusal::SameUrl { .. });
            let is_good = matches!(directory[name], Content::Good { .. });
            prop_assert!(!is_good || is_blocked, "{:?} is refused: {}", name, reason);
        }
    }
}

proptest! {
    // Each case makes a directory on disk.
    #![proptest_config(ProptestConfig::with_cases(64))]
    // spec: HAND-1
    #[test]
    fn a_real_directory_converges(steps in prop::collection::vec(step(4), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let path = |file: u8| dir.path().join(name(file));
        let mut scanner = Scanner::new(dir.path().to_owned(), None);
        let (mut core, mut told, mut last_good) = (Core::new(dir.path().to_owned()), Replay::default(), LastGood::default());
        let mut observe = |core: &mut Core, observations: Vec<Observation>| {
            observations.iter().for_each(|observation| last_good.saw(observation));
            told.apply(core.observe(observations));
            last_good.check(&told);
        };
        for step in steps {
            match step {
                Step::Write { file, content } => write(dir.path(), file, content),
                Step::Delete { file } => drop(fs::remove_file(path(file))),
                Step::Rename { from, to } => drop(fs::rename(path(from), path(to))),
                Step::Hint { file } => observe(&mut core, scanner.look_at([name(file)], SystemTime::now())),
                Step::Poll => observe(&mut core, scanner.scan(SystemTime::now()).unwrap()),
            }
        }
        observe(&mut core, scanner.scan(SystemTime::now()).unwrap());
        // What is there in the end, read afresh: every good file must be known as it is.
        let late = SystemTime::now() + Duration::from_secs(3600);
        let fresh = Scanner::new(dir.path().to_owned(), None).scan(late).unwrap();
        let before = last_good.0.clone();
        fresh.iter().for_each(|observation| last_good.saw(observation));
        prop_assert_eq!(&before, &last_good.0);
        // And once the stamps are old enough, nothing is even read.
        scanner.scan(late).unwrap();
        let reads = scanner.reads;
        prop_assert_eq!(scanner.scan(late).unwrap(), vec![]);
        prop_assert_eq!(scanner.reads, reads);
    }
}

fn write(dir: &std::path::Path, file: u8, content: Content) {
    let name = format!("{file}.json");
    match content {
        Content::Good {
            replica,
            port,
            slots,
        } => put(dir, &name, &json(&format!("r{replica}"), port, slots)),
        // In place, as a careless writer does.
        Content::Half => {
            drop(fs::remove_file(dir.join(&name)));
            fs::write(dir.join(&name), r#"{"pool_id":"p","#).unwrap();
        }
        Content::WrongField => put(dir, &name, "{}"),
        Content::Oversized => put(
            dir,
            &name,
            &" ".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1),
        ),
        Content::Link => {
            drop(fs::remove_file(dir.join(&name)));
            std::os::unix::fs::symlink("elsewhere", dir.join(&name)).unwrap();
        }
    }
}
