//! What the binary sets.

use std::time::Duration;

/// Two rounds with their jitter stay under 2 s, which is what a silent death may take to be
/// noticed.
const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_millis(900);

/// An agent answers `/health` from memory; one that needs a second is as good as gone.
const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Enough that a thousand nodes are asked in a fraction of a second, few enough to spare file
/// descriptors.
const DEFAULT_PROBES_AT_ONCE: usize = 64;

/// One that is gone takes a whole timeout, so this many are asked in a second. Few, because nobody
/// waits for them.
const DEFAULT_OFFLINE_AT_ONCE: usize = 8;

/// The most probes per second over all nodes: a hundredth of a processor core, and 360 nodes that
/// are probed at the default interval.
const DEFAULT_PROBES_PER_SECOND: u32 = 500;

/// No timer depends on it: it only bounds how long the task sleeps when nothing is due.
const DEFAULT_STALE_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The registry, its task and its prober.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The registry's own rules.
    pub registry: service_registry::Config,
    /// How long the task sleeps at most. Deadlines are exact whatever it is.
    pub stale_check_interval: Duration,
    /// How nodes are probed; `None` probes none.
    pub prober: Option<ProberConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registry: service_registry::Config::default(),
            stale_check_interval: DEFAULT_STALE_CHECK_INTERVAL,
            prober: Some(ProberConfig::default()),
        }
    }
}

/// How nodes are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProberConfig {
    /// From the beginning of one probe of a node that answers to the next, give or take a tenth;
    /// longer in a fleet so large that `per_second` would be exceeded. Others are probed later
    /// each time.
    pub interval: Duration,
    /// What takes longer has failed.
    pub timeout: Duration,
    /// How many nodes that answer are probed at the same time, and how many that do not yet or no
    /// longer; at least 1.
    pub at_once: usize,
    /// How many offline nodes are probed at the same time; at least 1.
    pub offline_at_once: usize,
    /// How many probes per second begin over all nodes; at least 1. After a pause, as many as
    /// `at_once` and `offline_at_once` begin together.
    pub per_second: u32,
}

impl Default for ProberConfig {
    fn default() -> Self {
        Self {
            interval: DEFAULT_PROBE_INTERVAL,
            timeout: DEFAULT_PROBE_TIMEOUT,
            at_once: DEFAULT_PROBES_AT_ONCE,
            offline_at_once: DEFAULT_OFFLINE_AT_ONCE,
            per_second: DEFAULT_PROBES_PER_SECOND,
        }
    }
}
