//! The program as `--help` describes it, and the settings that only `orchestratord` has.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use address_ranges::Range;
use daemon::{DescribeSetting, Program, Setting};
use http_server::AllowedOrigin;
use placement::Strategy;
use pool_registry_types::limits::Limit;

use crate::api;

/// The program.
pub(crate) const PROGRAM: Program = Program {
    name: "orchestratord",
    version: env!("CARGO_PKG_VERSION"),
    title: "the control plane",
    about: "One OpenAI-compatible URL (/v1) for all inference engines.\nIn the HOME profile (the \
            default) this machine is the only node: orchestratord watches\nthe handoff directory, \
            and starts the engines of a pool file.\nIn the CLOUD profile nodes join over HTTP.",
    address: &ADDR,
    settings: SETTINGS,
    ending: "SIGTERM or SIGINT stops it: /ready answers 503, new requests are refused after the \
             grace,\nrunning requests finish, then it exits 0. A second signal exits at once.",
    prefix: "ORCHESTRATORD_",
    openapi: || api::reference().json().to_owned(),
    limits: &[LIMITS, local_node::LIMITS],
    unused_in_profile: |_| &[],
};

/// The bounds that clients and nodes can meet.
const LIMITS: &[(&str, &[Limit])] = &[
    ("pool-registry-types", pool_registry_types::limits::LIMITS),
    ("http-server", http_server::LIMITS),
    ("daemon", daemon::LIMITS),
    ("admission", admission::LIMITS),
    ("inference-gateway", inference_gateway::LIMITS),
    ("task-api", task_api::LIMITS),
    ("control-api", control_api::LIMITS),
    ("dashboard", dashboard::LIMITS),
    ("join-api", join_api::LIMITS),
    ("join-tokens", join_tokens::LIMITS),
    ("key-file", key_file::LIMITS),
    ("node-ca", node_ca::LIMITS),
    ("access-keys", access_keys::LIMITS),
    ("bearer-auth", bearer_auth::LIMITS),
    ("key-api", key_api::LIMITS),
    ("usage-log", usage_log::LIMITS),
    ("usage-api", usage_api::LIMITS),
    ("state-export", state_export::LIMITS),
    ("event-log", event_log::LIMITS),
    ("registry-runtime", registry_runtime::LIMITS),
];

static ADDR: Setting<SocketAddr> = Setting::listen_address("ORCHESTRATORD_ADDR", || {
    SocketAddr::from(([127, 0, 0, 1], 8080))
});

pub(crate) static NODE_TIMEOUT: Setting<Duration> = Setting::millis(
    "ORCHESTRATORD_NODE_TIMEOUT_MS",
    || service_registry::Config::default().node_timeout(),
    100..=86_400_000,
)
.help("silence after which a node is offline");

pub(crate) static STALE_CHECK_INTERVAL: Setting<Duration> = Setting::seconds(
    "ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS",
    || registry_runtime::Config::default().stale_check_interval,
    1..=3600,
)
.help("longest sleep of the node timer")
.document("the longest sleep of the timer that finds silent nodes; deadlines are exact anyway");

pub(crate) static POOLS_FILE: Setting<Option<PathBuf>> =
    Setting::optional_path("ORCHESTRATORD_POOLS_FILE")
        .help("engines to start and supervise; HOME")
        .document("engines to start and supervise (HOME): [a pool file](POOL_FILE.md)");

pub(crate) static ALIASES_FILE: Setting<Option<PathBuf>> =
    Setting::optional_path("ORCHESTRATORD_ALIASES_FILE")
        .help("other names for models (TOML)")
        .document("a file with [other names for models](ALIASES.md)");

pub(crate) static ALLOWED_ORIGINS: Setting<Option<Vec<AllowedOrigin>>> =
    Setting::list("ORCHESTRATORD_ALLOWED_ORIGINS")
        .help("origins whose web pages may use it (CORS)")
        .document(
            "origins whose web pages may use the API, separated by commas, such as \
             `https://app.example:8443`: [CORS](SECURITY.md#browsers). `*` allows every origin, \
             and needs a token",
        );

pub(crate) static PLACEMENT: Setting<Strategy> =
    Setting::value("ORCHESTRATORD_PLACEMENT", Strategy::default)
        .help("how to choose among free endpoints")
        .document(
            "[how to choose](REQUESTS.md#strategies) among free endpoints: `least-loaded`, \
             `round-robin`, `weighted`, `session` or `prefix`",
        );

pub(crate) static QUEUE_LIMIT: Setting<usize> = Setting::integer(
    "ORCHESTRATORD_QUEUE_LIMIT",
    || admission::AdmissionConfig::default().queue_limit,
    0..=1_000_000,
)
.help("requests that may wait for one model")
.document("requests of each priority that may wait for one model");

pub(crate) static QUEUE_WAIT: Setting<Duration> = Setting::millis(
    "ORCHESTRATORD_QUEUE_WAIT_MS",
    || admission::AdmissionConfig::default().max_wait,
    0..=86_400_000,
)
.help("longest wait of a request for a slot")
.document(
    "longest wait of a request for a slot; a pool may set [a longer \
     one](POOL_FILE.md#longer-waits)",
);

pub(crate) static USAGE_RETENTION: Setting<usize> =
    Setting::integer("ORCHESTRATORD_USAGE_RETENTION_DAYS", || 90, 1..=3650)
        .help("days for which the usage of keys is kept")
        .document("days for which [the usage of keys](KEYS.md#usage) is kept, today included");

pub(crate) static SHUTDOWN_GRACE: Setting<Duration> = Setting::millis(
    "ORCHESTRATORD_SHUTDOWN_GRACE_MS",
    || Duration::ZERO,
    0..=600_000,
)
.help("how long a stop still takes requests")
.document(
    "how long a stop still takes requests while `/ready` answers 503, so that a load balancer can \
     turn to other servers first",
);

pub(crate) static CA_DIR: Setting<Option<PathBuf>> = Setting::optional_path("ORCHESTRATORD_CA_DIR")
    .help("directory of the CA that signs nodes")
    .document(
        "the directory of the CA that signs the certificates of nodes, as `llorch ca init` makes \
         it: [joining](JOINING.md). TLS is on then, with the certificate in it unless \
         `ORCHESTRATORD_TLS_CERT_FILE` names another one, and nodes are called with mutual TLS. \
         The certificate is renewed before it expires, so this user needs write access",
    );

pub(crate) static NODE_CERT_LIFETIME: Setting<Duration> = Setting::seconds(
    "ORCHESTRATORD_NODE_CERT_LIFETIME_SECS",
    || node_ca::DEFAULT_NODE_LIFETIME,
    10..=31_536_000,
)
.help("life of a node's certificate")
.document(
    "how long the certificate of a node is valid; a node renews it after two thirds of that, so it \
     may be off for the last third",
);

pub(crate) static NODE_RANGES: Setting<Option<Vec<Range>>> =
    Setting::list("ORCHESTRATORD_NODE_RANGES")
        .unset_means("private ranges and loopback")
        .help("addresses that nodes may have")
        .document(
            "the address ranges in which nodes may be, separated by commas, such as \
             `10.0.0.0/8,203.0.113.0/24`; by default 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \
             100.64.0.0/10, fc00::/7 and loopback. Link-local and multicast addresses and metadata \
             services are never connected to: [SECURITY.md](SECURITY.md#addresses-of-nodes)",
        );

/// All but the listen address and the common ones.
const SETTINGS: &[&dyn DescribeSetting] = &[
    &NODE_TIMEOUT,
    &STALE_CHECK_INTERVAL,
    &POOLS_FILE,
    &ALIASES_FILE,
    &ALLOWED_ORIGINS,
    &PLACEMENT,
    &QUEUE_LIMIT,
    &QUEUE_WAIT,
    &USAGE_RETENTION,
    &SHUTDOWN_GRACE,
    &CA_DIR,
    &NODE_CERT_LIFETIME,
    &NODE_RANGES,
];
