//! The program as `--help` describes it, and the settings that only `pool-managerd` has.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use daemon::{DescribeSetting, Program, SCAN_INTERVAL, SCAN_PORTS, Setting};
use pool_registry_types::{HttpUrl, MachineId, NodeId, PoolId, limits::Limit};

use crate::api;

/// The program.
pub(crate) const PROGRAM: Program = Program {
    name: "pool-managerd",
    version: env!("CARGO_PKG_VERSION"),
    title: "the agent of a GPU node",
    about: "It watches handoff files (\"this engine is up\"), keeps the pools of the node, and \
            guards the\nway to its engines. In the CLOUD profile it registers with orchestratord \
            and reports by\nheartbeat. In the HOME profile (the default) it is only an HTTP API \
            and an in-memory registry.",
    address: &ADDR,
    settings: SETTINGS,
    ending: "SIGTERM or SIGINT stops it: new requests are refused, running requests finish, then \
             it exits 0.\nA second signal exits at once.",
    prefix: "POOL_MANAGERD_",
    openapi: || api::reference().json().to_owned(),
    limits: &[LIMITS, local_node::LIMITS],
    unused_in_profile: |is_cloud| if is_cloud { &[] } else { ONLY_IN_CLOUD },
};

/// The bounds that the control plane, engines and files can meet, beside those of the node.
const LIMITS: &[(&str, &[Limit])] = &[
    ("pool-registry-types", pool_registry_types::limits::LIMITS),
    ("http-server", http_server::LIMITS),
    ("daemon", daemon::LIMITS),
    ("key-file", key_file::LIMITS),
    ("stream-proxy", stream_proxy::LIMITS),
    ("node-registration", node_registration::LIMITS),
];

static ADDR: Setting<SocketAddr> = Setting::listen_address("POOL_MANAGERD_ADDR", || {
    SocketAddr::from(([127, 0, 0, 1], 9200))
});

pub(crate) static NODE_ID: Setting<Option<NodeId>> = Setting::optional("POOL_MANAGERD_NODE_ID")
    .unset_means("hostname")
    .help("id of this node");

pub(crate) static MACHINE_ID: Setting<Option<MachineId>> =
    Setting::optional("POOL_MANAGERD_MACHINE_ID")
        .unset_means("the node id")
        .help("id of this machine")
        .document("id of this machine: two machines cannot use the same node id");

pub(crate) static ADDRESS: Setting<Option<HttpUrl>> = Setting::optional("POOL_MANAGERD_ADDRESS")
    .unset_means("required in CLOUD")
    .help("URL of this node for orchestratord")
    .document("the URL at which `orchestratord` reaches this node");

pub(crate) static ORCHESTRATORS: Setting<Option<Vec<HttpUrl>>> = Setting::list("ORCHESTRATORD_URL")
    .unset_means("required in CLOUD")
    .help("control plane; several by commas")
    .document("the URL of the control plane; several, separated by commas, are tried in turn");

pub(crate) static POOLS: Setting<Option<Vec<PoolId>>> = Setting::list("POOL_MANAGERD_POOLS")
    .unset_means("pool-0")
    .help("pools of this node; others are refused")
    .document(
        "the pools of this node, separated by commas; when set, handoffs of other pools are \
         refused, except those of the pool file; without any, pool-0 is shown until a handoff \
         names a pool",
    );

pub(crate) static HEARTBEAT_INTERVAL: Setting<Duration> = Setting::seconds(
    "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
    || node_registration::DEFAULT_HEARTBEAT_INTERVAL,
    1..=3600,
)
.help("interval of heartbeats")
.document("interval of heartbeats; a change is reported at once");

pub(crate) static REGISTER: Setting<bool> =
    Setting::flag("ORCHESTRATORD_REGISTER_ON_STARTUP", || true).help("join the control plane");

pub(crate) static WATCH_INTERVAL: Setting<Duration> = Setting::millis(
    "POOL_MANAGERD_WATCH_INTERVAL_MS",
    || Duration::from_secs(1),
    10..=3_600_000,
)
.help("interval of full scans for handoffs");

pub(crate) static POOLS_FILE: Setting<Option<PathBuf>> =
    Setting::optional_path("POOL_MANAGERD_POOLS_FILE")
        .help("engines to start and supervise; CLOUD")
        .document("engines to start and supervise (CLOUD): [a pool file](POOL_FILE.md)");

/// What only a node of a control plane needs. The directories are not among them, because packages
/// set them in every profile.
const ONLY_IN_CLOUD: &[&dyn DescribeSetting] = &[
    &ORCHESTRATORS,
    &MACHINE_ID,
    &HEARTBEAT_INTERVAL,
    &WATCH_INTERVAL,
    &SCAN_INTERVAL,
    &SCAN_PORTS,
];

/// All but the listen address and the common ones.
const SETTINGS: &[&dyn DescribeSetting] = &[
    &NODE_ID,
    &MACHINE_ID,
    &ADDRESS,
    &ORCHESTRATORS,
    &POOLS,
    &HEARTBEAT_INTERVAL,
    &REGISTER,
    &WATCH_INTERVAL,
    &POOLS_FILE,
];
