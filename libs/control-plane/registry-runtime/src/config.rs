//! Configuration, with the reasons for its defaults.

use std::time::Duration;

use address_ranges::AddressRanges;
use tls_config::ClientTls;

/// Two rounds with their jitter take less than 2 s, the longest time until a silent death is
/// found.
const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_millis(900);

/// An agent answers `/health` from memory, so one that needs a second is not usable.
pub(crate) const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Enough to probe a thousand nodes in a fraction of a second, and few enough for the limit of open
/// files.
const DEFAULT_PROBES_AT_ONCE: usize = 64;

/// A dead node takes the whole timeout, so this many are probed in a second. It is low, because
/// offline nodes are not urgent.
const DEFAULT_OFFLINE_AT_ONCE: usize = 8;

/// The most probes per second over all nodes. They cost a hundredth of a processor core, and are
/// enough for 360 nodes at the default interval.
const DEFAULT_PROBES_PER_SECOND: u32 = 500;

/// It only bounds the sleep of the timer. Deadlines are exact anyway.
const DEFAULT_STALE_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The configuration of the registry, its timer and its prober.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The rules of the registry.
    pub registry: service_registry::Config,
    /// The longest sleep of the timer. Deadlines are exact anyway.
    pub stale_check_interval: Duration,
    /// The prober; `None` switches it off.
    pub prober: Option<ProberConfig>,
    /// Which nodes with TLS are trusted.
    pub tls: ClientTls,
    /// The only addresses that nodes may have; `None` for all.
    pub addresses: Option<AddressRanges>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registry: service_registry::Config::default(),
            stale_check_interval: DEFAULT_STALE_CHECK_INTERVAL,
            prober: Some(ProberConfig::default()),
            tls: ClientTls::system(),
            addresses: None,
        }
    }
}

/// The configuration of the prober.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProberConfig {
    /// The time from the start of one probe of an answering node to the next, with a jitter of a
    /// tenth. It grows in fleets that would exceed `per_second`. The pause of other nodes grows
    /// each time.
    pub interval: Duration,
    /// The timeout of a probe.
    pub timeout: Duration,
    /// The most running probes of answering nodes, and of doubtful nodes; at least 1.
    pub at_once: usize,
    /// The most running probes of offline nodes; at least 1.
    pub offline_at_once: usize,
    /// The most probes per second over all nodes; at least 1. After a pause, a burst of `at_once`
    /// and `offline_at_once` probes may start.
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
