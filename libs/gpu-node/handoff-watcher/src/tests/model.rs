//! Property tests: random histories of a directory that is read late, twice or in part. The
//! reported state converges to the directory.

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
    MAX_FILE_BYTES, Refusal,
    index::{FileObservation, FileState, HandoffIndex},
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

fn handoff_of(replica: u8, port: u16, slots: u32) -> Handoff {
    handoff(&format!("r{replica}"), port, slots)
}

fn observation(name: OsString, content: Option<&Content>) -> FileObservation {
    let invalid = |reason| FileState::Invalid {
        reason,
        fingerprint: None,
    };
    let state = match content {
        None => FileState::Absent,
        Some(&Content::Good {
            replica,
            port,
            slots,
        }) => FileState::Valid(handoff_of(replica, port, slots)),
        Some(Content::Half) => invalid(Refusal::NotJson("EOF".into())),
        Some(Content::WrongField) => invalid(Refusal::WrongField("slots".into())),
        Some(Content::Oversized) => invalid(Refusal::TooLarge {
            bytes: MAX_FILE_BYTES + 1,
        }),
        Some(Content::Link) => invalid(Refusal::SymbolicLink),
    };
    FileObservation { name, state }
}

/// The last valid handoff of each file that was read.
#[derive(Default)]
struct LastGood(BTreeMap<OsString, Handoff>);

impl LastGood {
    fn saw(&mut self, observation: &FileObservation) {
        match &observation.state {
            FileState::Valid(handoff) => {
                self.0.insert(observation.name.clone(), handoff.clone());
            }
            FileState::Invalid { reason, .. } if reason.keeps_last_state() => {}
            FileState::Absent | FileState::Invalid { .. } => {
                self.0.remove(&observation.name);
            }
        }
    }

    /// Every reported handoff is in a file. Every file is reported, or conflicts with one that is.
    fn check(&self, reported: &Replay) {
        let is_reported =
            |handoff: &Handoff| reported.replicas.values().any(|other| other == handoff);
        for handoff in reported.replicas.values() {
            assert!(
                self.0.values().any(|good| good == handoff),
                "no file contains {handoff:?}"
            );
        }
        for good in self.0.values().filter(|good| !is_reported(good)) {
            let blocked = reported.replicas.values().any(|other| {
                other.url == good.url
                    || (&other.pool_id, &other.replica_id) == (&good.pool_id, &good.replica_id)
            });
            assert!(blocked, "nothing conflicts with {good:?}");
        }
    }
}

proptest! {
    // spec: HAND-14
    #[test]
    fn reported_handoffs_are_those_of_the_files(steps in prop::collection::vec(step(5), 1..60)) {
        let mut directory: BTreeMap<OsString, Content> = BTreeMap::new();
        let mut index = HandoffIndex::new("/d".into());
        let (mut reported, mut last_good) = (Replay::default(), LastGood::default());
        let everything: BTreeSet<OsString> = (0..5).map(name).collect();
        let mut observe = |index: &mut HandoffIndex, observations: Vec<FileObservation>| {
            observations.iter().for_each(|observation| last_good.saw(observation));
            reported.apply(index.observe(observations));
            last_good.check(&reported);
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
                Step::Hint { file } => {
                    let seen = observation(name(file), directory.get(&name(file)));
                    observe(&mut index, vec![seen]);
                }
                Step::Poll => {
                    let names = everything.iter();
                    let all = names.map(|name| observation(name.clone(), directory.get(name)));
                    observe(&mut index, all.collect());
                }
            }
        }
        let observe_all = || -> Vec<FileObservation> {
            let names = everything.iter();
            names.map(|name| observation(name.clone(), directory.get(name))).collect()
        };
        observe(&mut index, observe_all());
        prop_assert_eq!(index.observe(observe_all()), vec![], "nothing changed");
        for (path, reason) in &reported.refused_now {
            let name = path.file_name().unwrap();
            prop_assert!(
                directory.contains_key(name),
                "{:?} is gone, so its refusal must be resolved", name
            );
            let is_blocked =
                matches!(reason, Refusal::SameReplica { .. } | Refusal::SameUrl { .. });
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
        let mut index = HandoffIndex::new(dir.path().to_owned());
        let (mut reported, mut last_good) = (Replay::default(), LastGood::default());
        let mut observe = |index: &mut HandoffIndex, observations: Vec<FileObservation>| {
            observations.iter().for_each(|observation| last_good.saw(observation));
            reported.apply(index.observe(observations));
            last_good.check(&reported);
        };
        for step in steps {
            match step {
                Step::Write { file, content } => write(dir.path(), file, content),
                Step::Delete { file } => drop(fs::remove_file(path(file))),
                Step::Rename { from, to } => drop(fs::rename(path(from), path(to))),
                Step::Hint { file } => {
                    let seen = scanner.read_files([name(file)], SystemTime::now());
                    observe(&mut index, seen);
                }
                Step::Poll => observe(&mut index, scanner.scan(SystemTime::now()).unwrap()),
            }
        }
        observe(&mut index, scanner.scan(SystemTime::now()).unwrap());
        // Read all files again: every valid file must be known.
        let late = SystemTime::now() + Duration::from_secs(3600);
        let fresh = Scanner::new(dir.path().to_owned(), None).scan(late).unwrap();
        let before = last_good.0.clone();
        fresh.iter().for_each(|observation| last_good.saw(observation));
        prop_assert_eq!(&before, &last_good.0);
        // Once the fingerprints are old enough, no file is read.
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
        // In place, without a rename.
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
