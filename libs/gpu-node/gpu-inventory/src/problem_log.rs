//! Saying each problem once, and once when it is over.

use std::collections::{BTreeMap, BTreeSet};

/// The most names of devices that are remembered as unknown; masks come from files, which may be
/// many.
const MAX_NAMES: usize = 1024;

/// What was said and still holds.
#[derive(Debug, Default)]
pub(crate) struct Said {
    problems: BTreeMap<String, String>,
    names: BTreeSet<String>,
}

/// What has to be said now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// What has the problem, and which.
    pub(crate) begun: Vec<(String, String)>,
    /// What has its problem no more, and which that was.
    pub(crate) over: Vec<(String, String)>,
}

impl Said {
    /// Takes all the problems there are now, by what has them.
    pub(crate) fn update(&mut self, now: BTreeMap<String, String>) -> News {
        let news = News {
            begun: difference(&now, &self.problems, |old, new| old == new),
            over: difference(&self.problems, &now, |_, _| true),
        };
        self.problems = now;
        news
    }

    /// Whether `name` is new as the name of no device.
    pub(crate) fn is_new_name(&mut self, name: &str) -> bool {
        self.names.len() < MAX_NAMES
            && !self.names.contains(name)
            && self.names.insert(name.to_owned())
    }
}

/// What is in `these` and not, in the sense of `same`, in `those`.
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
    fn a_problem_is_said_when_it_begins_changes_and_ends() {
        let mut said = Said::default();
        let news = |entries: &[(&str, &str)]| map(entries).into_iter().collect::<Vec<_>>();
        for (now, begun, over) in [
            (&[("a", "1")] as &[_], &[("a", "1")] as &[_], &[] as &[_]),
            (&[("a", "1")], &[], &[]),
            (&[("a", "2"), ("b", "1")], &[("a", "2"), ("b", "1")], &[]),
            (&[("b", "1")], &[], &[("a", "2")]),
            (&[], &[], &[("b", "1")]),
        ] {
            let expected = News {
                begun: news(begun),
                over: news(over),
            };
            assert_eq!(said.update(map(now)), expected, "{now:?}");
        }
    }

    #[test]
    fn names_are_said_once_and_not_without_end() {
        let mut said = Said::default();
        assert!(said.is_new_name("GPU7"));
        assert!(!said.is_new_name("GPU7"));
        let new = (0..5000)
            .filter(|i| said.is_new_name(&i.to_string()))
            .count();
        assert_eq!(new, MAX_NAMES - 1);
    }
}
