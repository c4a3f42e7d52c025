//! Which file uses which, and the cycles among them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
};

#[derive(Debug, Default)]
pub(super) struct FileGraph {
    uses: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl FileGraph {
    pub(super) fn add(&mut self, user: &Path, used: &Path) {
        if user != used {
            self.uses
                .entry(user.to_owned())
                .or_default()
                .insert(used.to_owned());
        }
    }

    /// Gives files other names. Files that get the same name become one.
    pub(super) fn rename(&mut self, name: impl Fn(&Path) -> PathBuf) {
        for (user, used) in std::mem::take(&mut self.uses) {
            for used in used {
                self.add(&name(&user), &name(&used));
            }
        }
    }

    /// A shortest cycle of each group of files that use each other, in order of its first file.
    pub(super) fn cycles(&self) -> Vec<Vec<PathBuf>> {
        let mut reported = BTreeSet::new();
        let mut cycles = Vec::new();
        for file in self.uses.keys() {
            if reported.contains(file) {
                continue;
            }
            if let Some(cycle) = self.shortest_cycle(file) {
                reported.extend(self.group(file));
                cycles.push(cycle);
            }
        }
        cycles
    }

    fn used_by(&self, file: &Path) -> impl Iterator<Item = &PathBuf> {
        self.uses.get(file).into_iter().flatten()
    }

    /// The files that a file reaches, each with the one before it on a shortest way.
    fn reached(&self, start: &Path) -> BTreeMap<&Path, PathBuf> {
        let mut before = BTreeMap::new();
        let mut queue = VecDeque::from([start.to_owned()]);
        while let Some(file) = queue.pop_front() {
            for used in self.used_by(&file) {
                if !before.contains_key(used.as_path()) {
                    before.insert(used.as_path(), file.clone());
                    queue.push_back(used.clone());
                }
            }
        }
        before
    }

    fn shortest_cycle(&self, file: &Path) -> Option<Vec<PathBuf>> {
        let before = self.reached(file);
        let mut cycle = vec![before.get(file)?.clone()];
        while let Some(last) = cycle.last().filter(|last| *last != file) {
            cycle.push(before.get(last.as_path())?.clone());
        }
        cycle.reverse();
        Some(cycle)
    }

    /// The files that use a file and are used by it, directly or through others.
    fn group(&self, file: &Path) -> Vec<PathBuf> {
        self.reached(file)
            .into_keys()
            .filter(|other| self.reached(other).contains_key(file))
            .map(Path::to_owned)
            .collect()
    }
}
