//! Small crates with and without cycles.

use std::{collections::BTreeMap, io, path::Path};

use super::{allowed::AllowedCycle, module_tree::ModuleTree, representative, shown};

/// The cycles of a crate with these files below `src`.
fn cycles(files: &[(&str, &str)]) -> Vec<String> {
    let files: BTreeMap<_, _> = files
        .iter()
        .map(|(name, source)| (Path::new("src").join(name), *source))
        .collect();
    let read = |path: &Path| {
        let source = files.get(path).map(|source| (*source).to_owned());
        source.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let tree = ModuleTree::read(Path::new("src/lib.rs"), &read).unwrap();
    let mut graph = tree.graph();
    graph.rename(|path| path.strip_prefix("src").unwrap().to_owned());
    let allowed = [AllowedCycle {
        files: &["allowed.rs", "allowed_too.rs"],
        reason: "a test",
    }];
    graph.rename(|path| representative(&allowed, path));
    graph.cycles().iter().map(|cycle| shown(cycle)).collect()
}

// spec: PACK-15
#[test]
fn files_that_use_each_other_are_a_cycle() {
    let a_and_b = "mod a; mod b;";
    for (lib, a, b) in [
        (
            a_and_b,
            "use crate::b::B; pub struct A;",
            "use crate::a::A; pub struct B;",
        ),
        (a_and_b, "use super::b;", "fn f() { super::a::f() }"),
        (
            a_and_b,
            "fn f(b: &crate::b::B) {}",
            "use super::a::{f, g as h};",
        ),
        (
            a_and_b,
            "use super::*; fn f() { b::g() }",
            "use crate::a::f;",
        ),
        // The root re-exports what `a` and `b` define.
        (
            "mod a; mod b; pub use a::A; pub use b::B;",
            "use crate::B; pub struct A;",
            "use crate::A; pub struct B;",
        ),
    ] {
        let found = cycles(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b)]);
        assert_eq!(found, ["file cycle: a.rs -> b.rs -> a.rs"], "{a} {b}");
    }
}

// spec: PACK-15
#[test]
fn a_cycle_may_have_many_files_and_leads_through_directories() {
    let found = cycles(&[
        ("lib.rs", "mod a; mod b; mod free; use free::f;"),
        (
            "a/mod.rs",
            "pub mod deep; use crate::b::B; use crate::free::f;",
        ),
        ("a/deep.rs", "use super::super::free::f; pub fn g() {}"),
        ("b.rs", "pub mod inner; use inner::I;"),
        ("b/inner.rs", "use crate::a::A; pub struct I;"),
        ("free.rs", "pub fn f() {}"),
    ]);
    assert_eq!(
        found,
        ["file cycle: a/mod.rs -> b.rs -> b/inner.rs -> a/mod.rs"]
    );
}

// spec: PACK-15
#[test]
fn a_parent_that_uses_its_child_is_not_used_by_it() {
    let child = "use crate::Config; pub fn f() {}";
    let found = cycles(&[
        (
            "lib.rs",
            "mod child; pub struct Config; fn g() { child::f() }",
        ),
        ("child.rs", child),
    ]);
    assert_eq!(found, ["file cycle: child.rs -> lib.rs -> child.rs"]);
    // To declare and to publish it is no use.
    let found = cycles(&[
        ("lib.rs", "mod child; pub use child::f; pub struct Config;"),
        ("child.rs", child),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

// spec: PACK-15
#[test]
fn tests_comments_and_literals_make_no_cycle() {
    let found = cycles(&[
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod fixtures;"),
        (
            "a.rs",
            "use crate::b::B; pub struct A; mod inline { use super::A; }",
        ),
        (
            "b.rs",
            "/// [`crate::a::A`]\npub struct B; const S: &str = \"crate::a::A\";\n\
             #[cfg(test)]\nmod tests { use crate::a::A; }",
        ),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

// spec: PACK-15
#[test]
fn the_files_of_an_allowed_cycle_are_one_file() {
    let lib = "mod allowed; mod allowed_too; mod other;";
    let files = |other| {
        [
            ("lib.rs", lib),
            ("allowed.rs", "use crate::allowed_too::g; pub fn f() {}"),
            (
                "allowed_too.rs",
                "use crate::{allowed::f, other::h}; pub fn g() {}",
            ),
            ("other.rs", other),
        ]
    };
    assert!(cycles(&files("pub fn h() {}")).is_empty());
    assert_eq!(
        cycles(&files("use crate::allowed::f; pub fn h() {}")),
        ["file cycle: allowed.rs -> other.rs -> allowed.rs"]
    );
}
