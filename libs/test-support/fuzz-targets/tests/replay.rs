//! Runs every target over its corpus, on the stable toolchain: what fuzzing found once stays found.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fuzz_targets::TARGETS;

/// A corpus is cloned with the repository and read by people.
const MAX_CORPUS_BYTES: u64 = 1024 * 1024;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_input_of_every_corpus_keeps_the_properties() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let inputs = entries(&directory("corpus").join(target.name));
        assert!(!inputs.is_empty(), "{} has an empty corpus", target.name);
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            if std::panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
                broken.push(input);
            }
        }
    }
    assert_eq!(broken, Vec::<PathBuf>::new(), "see the panics above");
}

#[test]
fn every_target_has_a_corpus_and_a_dictionary_and_each_of_them_a_target() {
    let names: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    for kind in ["corpus", "dictionaries"] {
        let found: BTreeSet<_> = entries(&directory(kind))
            .iter()
            .map(|path| stem(path))
            .collect();
        assert_eq!(found, names, "{kind}");
    }
}

#[test]
fn the_corpus_is_small() {
    let bytes: u64 = entries(&directory("corpus"))
        .iter()
        .flat_map(|target| entries(target))
        .map(|input| input.metadata().unwrap().len())
        .sum();
    assert!(bytes <= MAX_CORPUS_BYTES, "{bytes} bytes");
}
