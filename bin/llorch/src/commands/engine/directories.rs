//! The directories of handoffs of the daemon on this machine.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use engine_discovery::{HandoffStore, StoreError, is_same_listener};
use pool_registry_types::{Handoff, HttpUrl};

use crate::{
    args,
    exit::{Failure, Outcome},
};

/// The daemons that watch handoffs, by the prefix of their variables.
const PREFIXES: [&str; 2] = ["POOL_MANAGERD_", "ORCHESTRATORD_"];

/// The state and runtime directories of a start by hand, and those of the packages.
const KNOWN: [(&str, &str); 3] = [
    (".runtime/state", ".runtime/engines"),
    ("/var/lib/llorch/pool-managerd", "/run/llorch/engines"),
    ("/var/lib/llorch/orchestratord", "/run/llorch/engines"),
];

/// The directory of persistent handoffs in a state directory.
const IN_STATE: &str = "handoffs";

/// Where handoffs of this machine are.
pub(super) struct Directories {
    /// The persistent ones.
    pub(super) store: HandoffStore,
    /// The directory of the starters of engines, if it is known.
    runtime: Option<HandoffStore>,
}

impl Directories {
    /// The directory of the command line, of the environment, or of the only daemon that has a
    /// state directory here.
    pub(super) fn find(args: &args::HandoffDirectory) -> Result<Self, Failure> {
        let variables = |name: &str| PREFIXES.map(|prefix| set(&format!("{prefix}{name}")));
        let runtime = variables("RUNTIME_DIR").into_iter().flatten().next();
        let chosen = args.directory.clone().map(|dir| vec![dir]);
        let chosen = chosen.or_else(|| distinct(variables("ENGINES_DIR")));
        let chosen = chosen.or_else(|| {
            let states = distinct(variables("STATE_DIR"))?;
            Some(states.iter().map(|dir| dir.join(IN_STATE)).collect())
        });
        if let Some(dirs) = chosen {
            return Self::only(&dirs, runtime);
        }
        let here = KNOWN
            .iter()
            .filter(|(state, _)| Path::new(state).is_dir())
            .collect::<Vec<_>>();
        // A start by hand in this directory is what its user means.
        let by_hand = here.first().filter(|(state, _)| !state.starts_with('/'));
        let here = by_hand.map_or(here.clone(), |by_hand| vec![by_hand]);
        let dirs: Vec<PathBuf> = here
            .iter()
            .map(|(state, _)| Path::new(state).join(IN_STATE))
            .collect();
        let runtime = runtime.or_else(|| here.first().map(|(_, runtime)| runtime.into()));
        Self::only(&dirs, runtime)
    }

    fn only(dirs: &[PathBuf], runtime: Option<PathBuf>) -> Result<Self, Failure> {
        match dirs {
            [dir] => Ok(Self {
                store: HandoffStore::new(dir),
                runtime: runtime.map(HandoffStore::new),
            }),
            [] => Err(Failure::usage(
                "no daemon has a state directory here; name the directory of its handoffs with \
                 --directory, or set POOL_MANAGERD_ENGINES_DIR or ORCHESTRATORD_ENGINES_DIR",
            )),
            several => {
                let shown: Vec<String> = several
                    .iter()
                    .map(|dir| dir.display().to_string())
                    .collect();
                Err(Failure::usage(format!(
                    "there are several daemons here; choose the directory of one with \
                     --directory: {}",
                    shown.join(", ")
                )))
            }
        }
    }

    /// Every handoff of both directories. A directory that cannot be read has none.
    pub(super) fn handoffs(&self) -> Vec<(PathBuf, Handoff)> {
        let stores = [Some(&self.store), self.runtime.as_ref()];
        let lists = stores.into_iter().flatten().map(HandoffStore::list);
        lists.flat_map(Result::unwrap_or_default).collect()
    }

    /// Fails when a handoff announces the engine at `url`, and names it.
    pub(super) fn check_not_announced(&self, url: &HttpUrl) -> Outcome {
        let all = self.handoffs();
        let announced = all
            .iter()
            .find(|(_, handoff)| is_same_listener(&handoff.url, url));
        match announced {
            None => Ok(()),
            Some((path, handoff)) => Err(Failure::usage(format!(
                "{} announces the engine at {url} already, as {}/{}; remove it first: llorch \
                 engine remove {url}",
                path.display(),
                handoff.pool_id,
                handoff.replica_id
            ))),
        }
    }
}

/// A directory or file that cannot be used.
pub(super) fn failed(error: &StoreError) -> Failure {
    Failure::usage(error.to_string())
}

/// A variable that is not empty.
fn set(name: &str) -> Option<PathBuf> {
    let value: OsString = env::var_os(name)?;
    (!value.is_empty()).then(|| value.into())
}

/// The values that are set, each once; `None` without any.
fn distinct(values: [Option<PathBuf>; 2]) -> Option<Vec<PathBuf>> {
    let mut values: Vec<PathBuf> = values.into_iter().flatten().collect();
    values.dedup();
    (!values.is_empty()).then_some(values)
}
