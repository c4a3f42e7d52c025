//! The settings of `pool-managerd`: from the environment, checked all together.

use std::time::Duration;

use daemon::{Program, Setting, Settings, Unset};
use local_node::{NodeConfig, PoolFileAt, StateDir, WatchConfig};
use node_api::DataPathConfig;
use node_registration::RegistrationConfig;
use pool_registry_types::{HttpUrl, MachineId, NodeId, PoolId, limits::Limit};
use serde::Deserialize;
use service_runtime::env::{Environment, Problems};
use stream_proxy::Timeouts;

use crate::api;

/// Who we are.
pub(crate) const PROGRAM: Program = Program {
    name: "pool-managerd",
    version: env!("CARGO_PKG_VERSION"),
    title: "the agent of a GPU node",
    about: ABOUT,
    settings: SETTINGS,
    ending: ENDING,
    prefix: "POOL_MANAGERD_",
    openapi: || api::reference().json().to_owned(),
    limits: &[LIMITS, local_node::LIMITS],
};

/// The bounds that the control plane, engines and files can meet, beside those of the node's parts.
const LIMITS: &[(&str, &[Limit])] = &[
    ("pool-registry-types", pool_registry_types::limits::LIMITS),
    ("http-server", http_server::LIMITS),
    ("daemon", daemon::LIMITS),
    ("stream-proxy", stream_proxy::LIMITS),
    ("node-registration", node_registration::LIMITS),
];

/// Where it listens, on loopback, when nothing is set.
const DEFAULT_PORT: u16 = 9200;

/// What `--help` says before the settings.
const ABOUT: &str = "\
It watches handoff files (\"this engine is up\"), keeps the node's pools, guards the way to its \
                     engines, and in the
CLOUD profile registers with orchestratord and reports by heartbeat. In the HOME profile (the \
                     default) it is an HTTP
API and an in-memory registry only.";

/// What `--help` says after them.
const ENDING: &str = "\
SIGTERM or SIGINT: new requests go elsewhere, running ones finish, then it exits 0. A second \
                      signal exits at once.";

/// Every variable that is read, in the order in which people are told of them.
const SETTINGS: &[Setting] = &[
    Setting {
        name: "POOL_MANAGERD_ADDR",
        unset: Unset::Value("127.0.0.1:9200"),
        what: "listening address",
        more: "",
    },
    Setting {
        name: "POOL_MANAGERD_METRICS_ADDR",
        unset: Unset::Words("none: with the others"),
        what: "where /metrics needs no token",
        more: "serves `/metrics` and `/health`, and nothing else, at this address too, without a \
               token, for Prometheus",
    },
    Setting {
        name: "POOL_MANAGERD_CLOUD_PROFILE",
        unset: Unset::Value("false"),
        what: "watch engines and join a control plane",
        more: "",
    },
    Setting {
        name: "POOL_MANAGERD_NODE_ID",
        unset: Unset::Words("hostname"),
        what: "the node's name",
        more: "",
    },
    Setting {
        name: "POOL_MANAGERD_MACHINE_ID",
        unset: Unset::Words("the node id"),
        what: "the machine it runs on",
        more: "the machine it runs on; two machines cannot share a node id",
    },
    Setting {
        name: "POOL_MANAGERD_ADDRESS",
        unset: Unset::Words("required in CLOUD"),
        what: "its URL for orchestratord",
        more: "the URL at which `orchestratord` reaches it",
    },
    Setting {
        name: "ORCHESTRATORD_URL",
        unset: Unset::Words("required in CLOUD"),
        what: "the control plane; several by commas",
        more: "the control plane; several, separated by commas, are tried in turn",
    },
    Setting {
        name: "LLORCH_API_TOKEN",
        unset: Unset::Words("none: loopback only"),
        what: "the token of clients and nodes",
        more: "the token that callers must present; also presented to the control plane",
    },
    Setting {
        name: "POOL_MANAGERD_REQUIRE_AUTH",
        unset: Unset::Value("false"),
        what: "refuse to start without a token",
        more: "refuse to start without a token: `true`, or `beyond-loopback` if only when other \
               machines can reach the listener",
    },
    Setting {
        name: "POOL_MANAGERD_ALLOWED_HOSTS",
        unset: Unset::Words("this machine's names"),
        what: "more hosts to serve without a token",
        more: "more hosts that are served while no token is set, separated by commas, without \
               ports. `localhost`, the addresses and the hostname of this machine, and the host of \
               `POOL_MANAGERD_ADDRESS`, are always served; any other host gets 403 (a defence \
               against DNS rebinding). With a token every host is served",
    },
    Setting {
        name: "POOL_MANAGERD_POOLS",
        unset: Unset::Value("pool-0"),
        what: "the node's pools; when set, no others",
        more: "pools to show from the start, separated by commas; when set, handoffs of other \
               pools are refused, except those of the pool file",
    },
    Setting {
        name: "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
        unset: Unset::Value("10"),
        what: "how often it reports",
        more: "how often it reports until the control plane sets the interval; changes are \
               reported at once",
    },
    Setting {
        name: "ORCHESTRATORD_REGISTER_ON_STARTUP",
        unset: Unset::Value("true"),
        what: "join the control plane",
        more: "",
    },
    Setting {
        name: "POOL_MANAGERD_RUNTIME_DIR",
        unset: Unset::Value(".runtime/engines"),
        what: "directory of handoff files",
        more: "",
    },
    Setting {
        name: "POOL_MANAGERD_WATCH_INTERVAL_MS",
        unset: Unset::Value("1000"),
        what: "full scan, in case an event was lost",
        more: "",
    },
    Setting {
        name: "POOL_MANAGERD_STATE_DIR",
        unset: Unset::Value(".runtime/state"),
        what: "what it remembers across restarts",
        more: "directory for what it remembers across restarts: the incarnation, drained pools, \
               and the engines that it started, with their logs",
    },
    Setting {
        name: "POOL_MANAGERD_POOLS_FILE",
        unset: Unset::Words("none"),
        what: "engines to start and supervise; CLOUD",
        more: "engines to start and supervise (CLOUD): [a pool file](POOL_FILE.md)",
    },
    Setting {
        name: "POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS",
        unset: Unset::Value("120000"),
        what: "longest wait for an answer to begin",
        more: "longest wait for an answer to begin; `orchestratord` has a limit of its own, and \
               the shorter one holds",
    },
    Setting {
        name: "POOL_MANAGERD_THREADS",
        unset: Unset::Words("one per core, at most 8"),
        what: "threads for connections",
        more: "threads for connections; a connection stays on its thread",
    },
    Setting {
        name: "POOL_MANAGERD_DRAIN_TIMEOUT_SECS",
        unset: Unset::Value("120"),
        what: "how long a stop waits for streams",
        more: "how long a stop waits for running requests",
    },
    Setting {
        name: "POOL_MANAGERD_LOG_FORMAT",
        unset: Unset::Value("text"),
        what: "text or json",
        more: "",
    },
    Setting {
        name: "RUST_LOG",
        unset: Unset::Value("info"),
        what: "log filter",
        more: "",
    },
    Setting::SPANS,
];

/// What only the agent can be told; [`Settings`] are the others.
#[derive(Default, Deserialize)]
struct Raw {
    pool_managerd_node_id: Option<String>,
    pool_managerd_machine_id: Option<String>,
    pool_managerd_address: Option<String>,
    orchestratord_url: Option<String>,
    pool_managerd_pools: Option<String>,
    pool_managerd_pools_file: Option<String>,
    pool_managerd_heartbeat_interval_secs: Option<String>,
    orchestratord_register_on_startup: Option<String>,
    pool_managerd_watch_interval_ms: Option<String>,
}

/// Settings that are right.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) pools: Vec<PoolId>,
    pub(crate) data_path: DataPathConfig,
    /// `None` in the HOME profile.
    pub(crate) cloud: Option<Cloud>,
}

impl AsRef<Settings> for Config {
    fn as_ref(&self) -> &Settings {
        &self.settings
    }
}

/// What the CLOUD profile needs.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) node: NodeConfig,
    /// `None` when it was told not to register.
    pub(crate) registration: Option<RegistrationConfig>,
}

impl Config {
    pub(crate) fn from_environment(environment: Environment) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut settings = Settings::read(&environment, &PROGRAM, DEFAULT_PORT, &mut problems);
        let raw: Raw = environment.into_raw(&mut problems);
        let p = &mut problems;
        let is_cloud = settings.is_cloud;
        let engines = pools_file(p, is_cloud, raw.pool_managerd_pools_file);
        let pools = p.list("POOL_MANAGERD_POOLS", raw.pool_managerd_pools);
        let pools_are_listed = pools.is_some();
        let pools = shown_pools(pools, engines.as_ref());
        let heartbeat_interval = p.seconds(
            "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
            raw.pool_managerd_heartbeat_interval_secs,
            node_registration::DEFAULT_HEARTBEAT_INTERVAL,
            1..=3600,
        );
        let register = p.flag(
            "ORCHESTRATORD_REGISTER_ON_STARTUP",
            raw.orchestratord_register_on_startup,
            true,
        );
        let watch_interval = p.millis(
            "POOL_MANAGERD_WATCH_INTERVAL_MS",
            raw.pool_managerd_watch_interval_ms,
            Duration::from_secs(1),
            10..=3_600_000,
        );
        // Looked at in every profile: a typing error must not wait for the day the profile changes.
        let joins = is_cloud && register;
        let node_id = node_id(p, raw.pool_managerd_node_id, is_cloud);
        settings.node = node_id.as_ref().map(ToString::to_string);
        let machine_id: Option<MachineId> =
            p.optional("POOL_MANAGERD_MACHINE_ID", raw.pool_managerd_machine_id);
        let address: Option<HttpUrl> =
            needed(p, joins, "POOL_MANAGERD_ADDRESS", raw.pool_managerd_address);
        // The control plane asks under that name.
        if let Some(name) = address
            .as_ref()
            .and_then(|address| address.host().parse().ok())
        {
            settings.allowed_hosts = settings.allowed_hosts.and(name);
        }
        if joins && raw.orchestratord_url.is_none() {
            p.add(
                "ORCHESTRATORD_URL",
                "must be set in the CLOUD profile, for example http://control-plane:8080",
            );
        }
        let mut orchestrators = p
            .list("ORCHESTRATORD_URL", raw.orchestratord_url)
            .unwrap_or_default()
            .into_iter();
        let registration = match (joins, node_id, address, orchestrators.next()) {
            (true, Some(node_id), Some(address), Some(first)) => {
                // A node id is of the form of a machine id.
                let machine_id = machine_id.or_else(|| MachineId::new(node_id.as_str()).ok());
                machine_id.map(|machine_id| {
                    let incarnation = settings.state_dir.join(format!("{node_id}.incarnation"));
                    let config = RegistrationConfig::new(node_id, machine_id, address, first)
                        .with_fallbacks(orchestrators.collect())
                        .with_pools(pools.clone())
                        .with_version(env!("CARGO_PKG_VERSION"))
                        .with_heartbeat_interval(heartbeat_interval)
                        .with_incarnation_file(incarnation);
                    match &settings.token {
                        Some(token) => config.with_token(token.clone()),
                        None => config,
                    }
                })
            }
            _ => None,
        };
        let data_path = DataPathConfig {
            timeouts: Timeouts {
                first_byte: settings.first_byte_timeout,
                ..Timeouts::default()
            },
            ..DataPathConfig::default()
        };
        let cloud = is_cloud.then(|| Cloud {
            node: NodeConfig {
                watch: WatchConfig {
                    watch_interval,
                    pools: pools.clone(),
                    // Somebody said which pools there are: no other may have engines.
                    only_pools: pools_are_listed.then(|| pools.clone()),
                    ..WatchConfig::new(&settings.runtime_dir)
                },
                state_dir: StateDir::Required(settings.state_dir.clone()),
                engines,
                data_path,
            },
            registration,
        });
        problems.finish().map(|()| Self {
            settings,
            pools,
            data_path,
            cloud,
        })
    }
}

/// The engines this node is to start. Read now, so that a mistake in the file is told like any
/// other.
fn pools_file(problems: &mut Problems, is_cloud: bool, path: Option<String>) -> Option<PoolFileAt> {
    const NAME: &str = "POOL_MANAGERD_POOLS_FILE";
    let path = path?;
    if !is_cloud {
        problems.add(NAME, "works only with POOL_MANAGERD_CLOUD_PROFILE=true");
    }
    PoolFileAt::read(path.into())
        .map_err(|error| problems.add(NAME, error))
        .ok()
}

/// The pools that were named and those of the pool file; without either, the usual one.
fn shown_pools(named: Option<Vec<PoolId>>, engines: Option<&PoolFileAt>) -> Vec<PoolId> {
    let of_file = engines.into_iter().flat_map(|engines| &engines.file.pools);
    let mut pools: Vec<PoolId> = named.into_iter().flatten().collect();
    for spec in of_file {
        if !pools.contains(&spec.pool_id) {
            pools.push(spec.pool_id.clone());
        }
    }
    if pools.is_empty() {
        pools.extend(PoolId::new("pool-0"));
    }
    pools
}

/// The node's id: as set, or the hostname.
fn node_id(problems: &mut Problems, raw: Option<String>, is_cloud: bool) -> Option<NodeId> {
    if raw.is_some() || !is_cloud {
        return problems.optional("POOL_MANAGERD_NODE_ID", raw);
    }
    let hostname = gpu_inventory::hostname()
        .ok()
        .and_then(|name| NodeId::new(&name).ok());
    if hostname.is_none() {
        problems.add(
            "POOL_MANAGERD_NODE_ID",
            "must be set: the hostname of this machine cannot be used",
        );
    }
    hostname
}

fn needed(
    problems: &mut Problems,
    is_needed: bool,
    name: &'static str,
    raw: Option<String>,
) -> Option<HttpUrl> {
    if is_needed {
        problems.required(
            name,
            raw,
            "in the CLOUD profile, for example http://192.168.1.100:9200",
        )
    } else {
        problems.optional(name, raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        Config::from_environment(environment).map_err(|problems| problems.to_string())
    }

    // spec: CLOUD-12001, CLOUD-12002, CONF-2
    #[test]
    fn home_is_the_default_and_needs_nothing() {
        let config = config(&[]).unwrap();
        assert!(config.cloud.is_none());
        assert_eq!(config.settings.addr.to_string(), "127.0.0.1:9200");
        assert_eq!(config.pools, [PoolId::new("pool-0").unwrap()]);
        assert!(!config.settings.auth.has_token());
    }

    // spec: CLOUD-12002
    #[test]
    fn cloud_takes_its_settings_and_defaults() {
        let config = config(&[
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("POOL_MANAGERD_NODE_ID", "gpu-1"),
            ("POOL_MANAGERD_ADDRESS", "http://10.0.0.7:9200"),
            ("ORCHESTRATORD_URL", "http://a:8080,http://b:8080"),
            ("LLORCH_API_TOKEN", "a-long-enough-token"),
            ("POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS", "300000"),
        ])
        .unwrap();
        assert_eq!(config.settings.first_byte_timeout, Duration::from_secs(300));
        let hosts = format!("{:?}", config.settings.allowed_hosts);
        assert!(hosts.contains("10.0.0.7"), "{hosts}");
        let cloud = config.cloud.unwrap();
        assert_eq!(cloud.node.watch.watch_interval, Duration::from_secs(1));
        let registration = cloud.registration.unwrap();
        assert_eq!(
            (
                registration.node_id().as_str(),
                registration.machine_id().as_str()
            ),
            ("gpu-1", "gpu-1")
        );
        assert_eq!(registration.control_planes().count(), 2);
        assert_eq!(registration.heartbeat_interval(), Duration::from_secs(10));
        assert!(registration.has_token() && config.settings.auth.has_token());
    }

    // spec: CONF-1
    #[test]
    fn every_bad_variable_is_reported_in_one_go() {
        let problems = config(&[
            ("POOL_MANAGERD_ADDR", "localhost"),
            ("POOL_MANAGERD_METRICS_ADDR", "9090"),
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("POOL_MANAGERD_NODE_ID", "a b"),
            ("POOL_MANAGERD_POOLS", "pool-0,,x/y"),
            ("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "0"),
            ("POOL_MANAGERD_WATCH_INTERVAL_MS", "soon"),
            ("POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS", "0"),
            ("POOL_MANAGERD_LOG_FORMAT", "xml"),
            ("POOL_MANAGERD_REQUIRE_AUTH", "1"),
            ("POOL_MANAGERD_ALLOWED_HOSTS", "http://llorch.example"),
            ("ORCHESTRATORD_REGISTER_ON_STARTUP", "maybe"),
        ])
        .unwrap_err();
        for name in [
            "POOL_MANAGERD_ADDR:",
            "POOL_MANAGERD_METRICS_ADDR:",
            "POOL_MANAGERD_NODE_ID",
            "POOL_MANAGERD_POOLS",
            "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
            "POOL_MANAGERD_WATCH_INTERVAL_MS",
            "POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS",
            "POOL_MANAGERD_LOG_FORMAT",
            "POOL_MANAGERD_REQUIRE_AUTH",
            "POOL_MANAGERD_ALLOWED_HOSTS",
            "ORCHESTRATORD_REGISTER_ON_STARTUP",
            "POOL_MANAGERD_ADDRESS",
            "ORCHESTRATORD_URL",
        ] {
            assert!(problems.contains(name), "{name} is missing in:\n{problems}");
        }
    }

    #[test]
    fn the_pool_file_is_read_with_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pools.toml");
        let path = path.to_str().unwrap();
        let cloud = |more: &[(&str, &str)]| {
            let base = [
                ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
                ("ORCHESTRATORD_REGISTER_ON_STARTUP", "false"),
                ("POOL_MANAGERD_NODE_ID", "gpu-1"),
                ("POOL_MANAGERD_POOLS_FILE", path),
            ];
            config(&[&base, more].concat())
        };
        assert!(
            cloud(&[])
                .unwrap_err()
                .contains("POOL_MANAGERD_POOLS_FILE: cannot read the pool file")
        );
        std::fs::write(path, "[[pool]]\nid = \"a\"\nport = \"x\"\n").unwrap();
        let problems = cloud(&[]).unwrap_err();
        assert!(problems.contains("line 3: `port` must be"), "{problems}");
        std::fs::write(
            path,
            "[[pool]]\nid=\"a\"\nengine=\"x\"\ncommand=[\"x\",\"{port}\"]\nslots=1\n",
        )
        .unwrap();
        let pools = |config: &Config| {
            config
                .pools
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let alone = cloud(&[]).unwrap();
        assert_eq!(
            (
                pools(&alone),
                alone.cloud.unwrap().node.engines.unwrap().file.pools.len()
            ),
            (vec!["a".to_owned()], 1)
        );
        assert_eq!(
            pools(&cloud(&[("POOL_MANAGERD_POOLS", "b,a")]).unwrap()),
            ["b", "a"]
        );
        let home = config(&[("POOL_MANAGERD_POOLS_FILE", path)]).unwrap_err();
        assert!(home.contains("POOL_MANAGERD_CLOUD_PROFILE=true"), "{home}");
    }
}
