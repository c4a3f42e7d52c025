//! The default number of CPU threads of a `llama-server`: its share of the cores.
//!
//! By default each `llama-server` starts a thread per core, and its threads wait for each other by
//! spinning. A single one is fast. Two of them on the same cores wait for threads that are not
//! scheduled: three engines on two cores needed 40 s for work that took 0.2 s with one thread each.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pool_registry_types::PoolId;

use crate::spec::{Launch, PoolSpec};

/// The variable that `llama-server` reads. Its command line, and so `args`, overrides it. An
/// argument would change the fingerprint of an engine whenever another pool changes.
pub(crate) const VARIABLE: &str = "LLAMA_ARG_THREADS";

/// The cores of the machine, and how many engines share them.
#[derive(Debug)]
pub(crate) struct CpuShare {
    cores: u32,
    engines: Mutex<BTreeMap<PoolId, u32>>,
}

impl CpuShare {
    /// Shares `cores` among the engines of `pools`.
    pub(crate) fn new<'a>(cores: u32, pools: impl IntoIterator<Item = &'a PoolSpec>) -> Self {
        let share = Self {
            cores,
            engines: Mutex::default(),
        };
        pools.into_iter().for_each(|spec| share.set_pool(spec));
        share
    }

    /// Sets the configuration of a pool. Running engines keep their threads.
    pub(crate) fn set_pool(&self, spec: &PoolSpec) {
        let count = match spec.launch {
            Launch::LlamaCpp(_) => spec.replicas,
            // Other programs choose their threads themselves.
            Launch::Command(_) => 0,
        };
        self.engines.lock().insert(spec.pool_id.clone(), count);
    }

    /// The threads of an engine of `spec`. `None` leaves the choice to the engine: it is the only
    /// one, or its pool sets the number.
    pub(crate) fn threads(&self, spec: &PoolSpec) -> Option<u32> {
        let Launch::LlamaCpp(llama) = &spec.launch else {
            return None;
        };
        if llama.threads.is_some() || spec.env.contains_key(VARIABLE) {
            return None;
        }
        let engines: u32 = self.engines.lock().values().sum();
        (engines > 1).then(|| (self.cores / engines).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolFile;

    fn pools(text: &str) -> Vec<PoolSpec> {
        PoolFile::parse(text).unwrap().pools
    }

    fn llama(id: &str, more: &str) -> String {
        format!(
            "[[pool]]\nid = {id:?}\nengine = \"llamacpp\"\nbinary = \"x\"\nmodel = \"y\"\nslots = \
             1\ncontext = 8\n{more}\n"
        )
    }

    // spec: PROV-25
    #[test]
    fn engines_share_the_cores_of_a_machine() {
        for (cores, text, expected) in [
            (16, llama("a", ""), [None].as_slice()),
            (16, llama("a", "replicas = 3"), &[Some(5)]),
            (2, llama("a", "replicas = 3"), &[Some(1)]),
            (
                16,
                llama("a", "replicas = 3") + &llama("b", ""),
                &[Some(4), Some(4)],
            ),
            (
                16,
                llama("a", "") + &llama("b", "threads = 12"),
                &[Some(8), None],
            ),
            (
                16,
                llama("a", "") + &llama("b", "env = { LLAMA_ARG_THREADS = \"3\" }"),
                &[Some(8), None],
            ),
            (
                16,
                llama("a", "")
                    + "[[pool]]\nid=\"v\"\nengine=\"vllm\"\nslots=1\ncommand=[\"x\",\"{port}\"]\n",
                &[None, None],
            ),
        ] {
            let pools = pools(&text);
            let share = CpuShare::new(cores, &pools);
            let threads: Vec<_> = pools.iter().map(|spec| share.threads(spec)).collect();
            assert_eq!(threads, expected, "{cores} {text}");
        }
    }

    // spec: PROV-25
    #[test]
    fn a_reload_changes_the_share_of_later_engines() {
        let before = pools(&llama("a", "replicas = 2"));
        let share = CpuShare::new(8, &before);
        assert_eq!(share.threads(&before[0]), Some(4));
        share.set_pool(&pools(&llama("a", "replicas = 4"))[0]);
        assert_eq!(share.threads(&before[0]), Some(2));
    }
}
