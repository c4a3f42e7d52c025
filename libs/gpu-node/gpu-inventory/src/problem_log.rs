//! Which problems have been logged, so that each is logged once, and once when it is over.

use std::collections::{BTreeMap, BTreeSet};

/// The most unknown device names that are kept; masks come from files.
const MAX_NAMES: usize = 1024;

/// The logged problems that still exist.
#[derive(Debug, Default)]
pub(crate) struct ProblemLog {
    problems: BTreeMap<String, String>,
    names: BTreeSet<String>,
}

/// What has to be logged now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProblemChanges {
    /// New problems: the subject and the problem.
    pub(crate) begun: Vec<(String, String)>,
    /// Problems that are over: the subject and the problem.
    pub(crate) over: Vec<(String, String)>,
}

impl ProblemLog {
    /// Applies all current problems, by subject.
    pub(crate) fn update(&mut self, now: BTreeMap<String, String>) -> ProblemChanges {
        let changes = ProblemChanges {
            begun: difference(&now, &self.problems, |old, new| old == new),
            over: difference(&self.problems, &now, |_, _| true),
        };
        self.problems = now;
        changes
    }

    /// Whether `name` was not yet logged as an unknown device.
    pub(crate) fn is_new_name(&mut self, name: &str) -> bool {
        self.names.len() < MAX_NAMES
            && !self.names.contains(name)
            && self.names.insert(name.to_owned())
    }
}

/// The entries of `these` that are not in `those`, compared by `same`.
fn difference(
    these: &BTreeMap<String, String>,
    those: &BTreeMap<String, String>,
    same: impl Fn(&str, &str) -> bool,
) -> Vec<(String, String)> {
    let missing =
        |(key, text): &(&String, &String)| !those.get(*key).is_some_and(|other| same(text, other));
    let found = these.iter().filter(missing);
    found
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn a_problem_is_logged_when_it_begins_changes_and_ends() {
        let mut log = ProblemLog::default();
        let entries = |list: &[(&str, &str)]| map(list).into_iter().collect::<Vec<_>>();
        for (now, begun, over) in [
            (&[("a", "1")] as &[_], &[("a", "1")] as &[_], &[] as &[_]),
            (&[("a", "1")], &[], &[]),
            (&[("a", "2"), ("b", "1")], &[("a", "2"), ("b", "1")], &[]),
            (&[("b", "1")], &[], &[("a", "2")]),
            (&[], &[], &[("b", "1")]),
        ] {
            let expected = ProblemChanges {
                begun: entries(begun),
                over: entries(over),
            };
            assert_eq!(log.update(map(now)), expected, "{now:?}");
        }
    }

    #[test]
    fn names_are_logged_once_and_bounded() {
        let mut log = ProblemLog::default();
        assert!(log.is_new_name("GPU7"));
        assert!(!log.is_new_name("GPU7"));
        let new = (0..5000)
            .filter(|i| log.is_new_name(&i.to_string()))
            .count();
        assert_eq!(new, MAX_NAMES - 1);
    }
}
