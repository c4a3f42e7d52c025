//! The settings of `orchestratord`: from the environment, checked all together.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use admission::AdmissionConfig;
use bearer_auth::ApiToken;
use daemon::{Program, Setting, Settings, Unset};
use http::HeaderValue;
use inference_gateway::{Aliases, GatewayConfig, MAX_ALIASES_FILE_BYTES};
use local_node::{NodeConfig, PoolFileAt, StateDir, WatchConfig};
use placement::Strategy;
use pool_registry_types::{NodeId, limits::Limit};
use serde::Deserialize;
use service_runtime::env::{Environment, Problems};

use crate::api;

/// Who we are.
pub(crate) const PROGRAM: Program = Program {
    name: "orchestratord",
    version: env!("CARGO_PKG_VERSION"),
    title: "the control plane",
    about: ABOUT,
    settings: SETTINGS,
    ending: ENDING,
    prefix: "ORCHESTRATORD_",
    openapi: || api::reference().json().to_owned(),
    limits: &[LIMITS, local_node::LIMITS],
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
    ("event-log", event_log::LIMITS),
    ("registry-runtime", registry_runtime::LIMITS),
];

/// Where it listens, on loopback, when nothing is set.
const DEFAULT_PORT: u16 = 8080;

/// How long after the start a model that nobody serves yet is waited for: nodes that knew the
/// process before us report within a heartbeat (10 s) and its jitter, and register again at once.
const CLOUD_WARM_UP: Duration = Duration::from_secs(15);

/// The same for the node in this process, which registers when its hardware has been read: that may
/// take two seconds.
const HOME_WARM_UP: Duration = Duration::from_secs(3);

/// Below the state directory, what the registry keeps of the node in this process.
const HOME_DIR: &str = "home";

/// What `--help` says before the settings.
const ABOUT: &str = "\
One OpenAI-compatible URL (/v1) for all inference engines. In the HOME profile (the default) this \
                     machine is its only node:
it watches the handoff directory, and starts the engines of a pool file. In the CLOUD profile \
                     nodes join by themselves.";

/// What `--help` says after them.
const ENDING: &str = "\
SIGTERM or SIGINT: /ready says 503, after the grace no new requests, running ones finish, then it \
                      exits 0. A second signal exits at once.";

/// Every variable that is read, in the order in which people are told of them.
const SETTINGS: &[Setting] = &[
    Setting {
        name: "ORCHESTRATORD_ADDR",
        unset: Unset::Value("127.0.0.1:8080"),
        what: "listening address",
        more: "listening address; leave it unset under socket activation: the socket unit decides",
    },
    Setting {
        name: "ORCHESTRATORD_METRICS_ADDR",
        unset: Unset::Words("none: with the others"),
        what: "where /metrics needs no token",
        more: "serves `/metrics` and `/health`, and nothing else, at this address too, without a \
               token, for Prometheus",
    },
    Setting {
        name: "ORCHESTRATORD_CLOUD_PROFILE",
        unset: Unset::Value("false"),
        what: "nodes join over HTTP",
        more: "",
    },
    Setting {
        name: "LLORCH_API_TOKEN",
        unset: Unset::Words("none: loopback only"),
        what: "the token of clients and nodes",
        more: "the token that clients and nodes must present, 8 to 1024 printable characters; also \
               presented to the nodes. Without it only loopback peers are served, and no web page \
               of another origin. Behind a reverse proxy on the same machine every peer is a \
               loopback peer: set a token",
    },
    Setting {
        name: "ORCHESTRATORD_REQUIRE_AUTH",
        unset: Unset::Value("false"),
        what: "refuse to start without a token",
        more: "refuse to start without a token: `true`, or `beyond-loopback` if only when other \
               machines can reach the listener",
    },
    Setting {
        name: "ORCHESTRATORD_ALLOWED_HOSTS",
        unset: Unset::Words("this machine's names"),
        what: "more hosts to serve without a token",
        more: "more hosts that are served while no token is set, separated by commas, without \
               ports. `localhost`, the addresses and the hostname of this machine are always \
               served; any other host gets 403 (a defence against DNS rebinding). With a token \
               every host is served",
    },
    Setting {
        name: "ORCHESTRATORD_NODE_TIMEOUT_MS",
        unset: Unset::Value("30000"),
        what: "silence after which a node is offline",
        more: "",
    },
    Setting {
        name: "ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS",
        unset: Unset::Value("10"),
        what: "longest sleep of the registry task",
        more: "longest sleep of the registry task; deadlines are exact whatever it is",
    },
    Setting {
        name: "ORCHESTRATORD_RUNTIME_DIR",
        unset: Unset::Value(".runtime/engines"),
        what: "directory of handoff files (HOME)",
        more: "",
    },
    Setting {
        name: "ORCHESTRATORD_STATE_DIR",
        unset: Unset::Value(".runtime/state"),
        what: "what it remembers across restarts",
        more: "directory for what it remembers across restarts: nodes and drains, and in HOME the \
               engines that it started, with their logs; one process at a time. In HOME without a \
               pool file it need not be writable: drains are then forgotten",
    },
    Setting {
        name: "ORCHESTRATORD_POOLS_FILE",
        unset: Unset::Words("none"),
        what: "engines to start and supervise; HOME",
        more: "engines to start and supervise (HOME): [a pool file](POOL_FILE.md)",
    },
    Setting {
        name: "ORCHESTRATORD_ALIASES_FILE",
        unset: Unset::Words("none"),
        what: "other names for models (TOML)",
        more: "a file with [other names for models](ALIASES.md)",
    },
    Setting {
        name: "ORCHESTRATORD_PLACEMENT",
        unset: Unset::Value("least-loaded"),
        what: "how to choose among free endpoints",
        more: "[how to choose](REQUESTS.md#strategies) among free endpoints: `least-loaded`, \
               `round-robin`, `weighted`, `session` or `prefix`",
    },
    Setting {
        name: "ORCHESTRATORD_QUEUE_LIMIT",
        unset: Unset::Value("256"),
        what: "requests that may wait for one model",
        more: "requests of each priority that may wait for one model",
    },
    Setting {
        name: "ORCHESTRATORD_QUEUE_WAIT_MS",
        unset: Unset::Value("5000"),
        what: "the longest wait for a slot",
        more: "",
    },
    Setting {
        name: "ORCHESTRATORD_FIRST_BYTE_TIMEOUT_MS",
        unset: Unset::Value("120000"),
        what: "longest wait for an answer to begin",
        more: "",
    },
    Setting {
        name: "ORCHESTRATORD_THREADS",
        unset: Unset::Words("one per core, at most 8"),
        what: "threads for connections",
        more: "threads for connections; a connection stays on its thread",
    },
    Setting {
        name: "ORCHESTRATORD_DRAIN_TIMEOUT_SECS",
        unset: Unset::Value("120"),
        what: "how long a stop waits for streams",
        more: "how long a stop waits for running requests",
    },
    Setting {
        name: "ORCHESTRATORD_SHUTDOWN_GRACE_MS",
        unset: Unset::Value("0"),
        what: "how long a stop serves on as not ready",
        more: "how long a stop serves on while `/ready` answers 503, so that load balancers stop \
               sending requests",
    },
    Setting {
        name: "ORCHESTRATORD_LOG_FORMAT",
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

/// What only the control plane can be told; [`Settings`] are the others.
#[derive(Default, Deserialize)]
struct Raw {
    orchestratord_node_timeout_ms: Option<String>,
    orchestratord_stale_check_interval_secs: Option<String>,
    orchestratord_pools_file: Option<String>,
    orchestratord_aliases_file: Option<String>,
    orchestratord_placement: Option<String>,
    orchestratord_queue_limit: Option<String>,
    orchestratord_queue_wait_ms: Option<String>,
    orchestratord_shutdown_grace_ms: Option<String>,
}

/// Settings that are right.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    /// `None` in the CLOUD profile.
    pub(crate) home: Option<Home>,
    pub(crate) admission: AdmissionConfig,
    pub(crate) gateway: GatewayConfig,
    pub(crate) registry: registry_runtime::Config,
    /// What nodes ask us for, as the value of `Authorization`.
    pub(crate) node_token: Option<HeaderValue>,
    /// How long new requests are still taken after the first signal, so that balancers can look
    /// elsewhere.
    pub(crate) shutdown_grace: Duration,
}

impl AsRef<Settings> for Config {
    fn as_ref(&self) -> &Settings {
        &self.settings
    }
}

/// What the HOME profile needs: this machine as a node.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) node_id: NodeId,
    pub(crate) node: NodeConfig,
    /// Where the registry keeps what it remembers: not with the nodes of a CLOUD profile.
    pub(crate) kept: PathBuf,
}

impl Config {
    pub(crate) fn from_environment(environment: Environment) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let settings = Settings::read(&environment, &PROGRAM, DEFAULT_PORT, &mut problems);
        let raw: Raw = environment.into_raw(&mut problems);
        let p = &mut problems;
        let mut registry = registry_runtime::Config::default();
        registry.registry.node_timeout = p.millis(
            "ORCHESTRATORD_NODE_TIMEOUT_MS",
            raw.orchestratord_node_timeout_ms,
            registry.registry.node_timeout,
            100..=86_400_000,
        );
        registry.stale_check_interval = p.seconds(
            "ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS",
            raw.orchestratord_stale_check_interval_secs,
            registry.stale_check_interval,
            1..=3600,
        );
        let strategy = p.parse(
            "ORCHESTRATORD_PLACEMENT",
            raw.orchestratord_placement,
            Strategy::default(),
        );
        let mut admission = AdmissionConfig::default();
        let limit = p.integer(
            "ORCHESTRATORD_QUEUE_LIMIT",
            raw.orchestratord_queue_limit,
            256,
            0..=1_000_000,
        );
        admission.queue_limit = usize::try_from(limit).unwrap_or(usize::MAX);
        admission.max_wait = p.millis(
            "ORCHESTRATORD_QUEUE_WAIT_MS",
            raw.orchestratord_queue_wait_ms,
            admission.max_wait,
            0..=86_400_000,
        );
        admission.warm_up = if settings.is_cloud {
            CLOUD_WARM_UP
        } else {
            HOME_WARM_UP
        };
        let mut gateway = GatewayConfig {
            strategy,
            aliases: aliases(p, raw.orchestratord_aliases_file),
            ..GatewayConfig::default()
        };
        let node_token = settings.token.as_ref().map(ApiToken::header_value);
        gateway.timeouts.first_byte = settings.first_byte_timeout;
        let shutdown_grace = p.millis(
            "ORCHESTRATORD_SHUTDOWN_GRACE_MS",
            raw.orchestratord_shutdown_grace_ms,
            Duration::ZERO,
            0..=600_000,
        );
        let engines = pools_file(p, settings.is_cloud, raw.orchestratord_pools_file);
        let home = (!settings.is_cloud).then(|| Home {
            node_id: home_node_id(),
            node: node(&settings, engines),
            kept: settings.state_dir.join(HOME_DIR),
        });
        if home.is_some() {
            // Nobody has to be asked whether the node in this process is there.
            registry.prober = None;
        }
        problems.finish().map(|()| Self {
            settings,
            home,
            admission,
            gateway,
            registry,
            node_token,
            shutdown_grace,
        })
    }
}

/// The node that this machine is.
fn node(settings: &Settings, engines: Option<PoolFileAt>) -> NodeConfig {
    let of_file = engines.iter().flat_map(|engines| &engines.file.pools);
    NodeConfig {
        watch: WatchConfig {
            pools: of_file.map(|pool| pool.pool_id.clone()).collect(),
            ..WatchConfig::new(&settings.runtime_dir)
        },
        state_dir: StateDir::Optional(settings.state_dir.clone()),
        engines,
        // The gateway says how long each of its requests may take.
        data_path: node_api::DataPathConfig::default(),
    }
}

/// The engines this machine is to start. Read now, so that a mistake in the file is told like any
/// other.
fn pools_file(problems: &mut Problems, is_cloud: bool, path: Option<String>) -> Option<PoolFileAt> {
    const NAME: &str = "ORCHESTRATORD_POOLS_FILE";
    let path = path?;
    if is_cloud {
        problems.add(
            NAME,
            "works only in the HOME profile; with ORCHESTRATORD_CLOUD_PROFILE=true engines are \
             started by the nodes (POOL_MANAGERD_POOLS_FILE)",
        );
    }
    PoolFileAt::read(path.into())
        .map_err(|error| problems.add(NAME, error))
        .ok()
}

/// Other names for models. Read now, so that a mistake in the file is told like any other.
fn aliases(problems: &mut Problems, path: Option<String>) -> Aliases {
    const NAME: &str = "ORCHESTRATORD_ALIASES_FILE";
    let Some(path) = path else {
        return Aliases::default();
    };
    let text = match state_file::read_text(Path::new(&path), MAX_ALIASES_FILE_BYTES) {
        Ok(Some(text)) => text,
        Ok(None) => {
            let most = MAX_ALIASES_FILE_BYTES;
            problems.add(
                NAME,
                format!("the alias file {path} has more than {most} bytes"),
            );
            return Aliases::default();
        }
        Err(error) => {
            problems.add(NAME, format!("cannot read the alias file {path}: {error}"));
            return Aliases::default();
        }
    };
    Aliases::parse(&text)
        .inspect_err(|wrong| {
            problems.add(NAME, format!("the alias file {path} is wrong:\n{wrong}"))
        })
        .unwrap_or_default()
}

/// What the node in this process is called: by the hostname, as every node that is not told
/// otherwise.
fn home_node_id() -> NodeId {
    let hostname = gpu_inventory::hostname()
        .ok()
        .and_then(|name| NodeId::new(&name).ok());
    hostname.unwrap_or_else(NodeId::localhost)
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
        assert_eq!(config.settings.addr.to_string(), "127.0.0.1:8080");
        assert!(config.registry.prober.is_none());
        let Home { node, kept, .. } = config.home.unwrap();
        assert_eq!(node.watch.runtime_dir, PathBuf::from(".runtime/engines"));
        assert_eq!(node.state_dir, StateDir::Optional(".runtime/state".into()));
        assert_eq!(kept, PathBuf::from(".runtime/state/home"));
        assert!(node.engines.is_none());
    }

    // spec: CLOUD-12002
    #[test]
    fn cloud_takes_its_settings_and_defaults() {
        let config = config(&[
            ("ORCHESTRATORD_CLOUD_PROFILE", "1"),
            ("ORCHESTRATORD_ADDR", "0.0.0.0:8080"),
            ("ORCHESTRATORD_NODE_TIMEOUT_MS", "5000"),
            ("ORCHESTRATORD_PLACEMENT", "round-robin"),
            ("LLORCH_API_TOKEN", "a-long-enough-token"),
        ])
        .unwrap();
        assert!(config.home.is_none());
        assert!(config.registry.prober.is_some());
        assert_eq!(
            config.registry.registry.node_timeout,
            Duration::from_secs(5)
        );
        assert_eq!(config.gateway.strategy, Strategy::RoundRobin);
        assert!(config.node_token.is_some_and(|token| token.is_sensitive()));
        assert!(config.settings.auth.has_token());
    }

    // spec: CONF-6, PATH-18
    #[test]
    fn aliases_come_from_a_file_whose_mistakes_are_told_at_their_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("aliases.toml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            config(&[("ORCHESTRATORD_ALIASES_FILE", path.to_str().unwrap())])
        };
        let aliases = with("[aliases]\n\"gpt-4o\" = \"tiny\"\n")
            .unwrap()
            .gateway
            .aliases;
        assert_eq!(aliases.target("gpt-4o"), Some("tiny"));
        for (text, expected) in [
            ("[aliases]\na = \"a\"\n", "line 2: `a` stands for itself"),
            ("[alias]\n", "line 1: unknown key `alias`"),
        ] {
            let problems = with(text).unwrap_err();
            assert!(
                problems.contains("ORCHESTRATORD_ALIASES_FILE") && problems.contains(expected),
                "{problems}"
            );
        }
        let missing =
            config(&[("ORCHESTRATORD_ALIASES_FILE", "/nowhere/aliases.toml")]).unwrap_err();
        assert!(missing.contains("cannot read the alias file"), "{missing}");
    }

    // spec: CONF-23
    #[test]
    fn every_mistake_in_a_pool_file_is_told_with_the_settings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pools.toml");
        let with = |text: &str, more: &[(&str, &str)]| {
            std::fs::write(&path, text).unwrap();
            let base = [("ORCHESTRATORD_POOLS_FILE", path.to_str().unwrap())];
            config(&[&base, more].concat())
        };
        let good = "[[pool]]\nid=\"a\"\nengine=\"x\"\ncommand=[\"x\",\"{port}\"]\nslots=1\n";
        let node = with(good, &[]).unwrap().home.unwrap().node;
        assert_eq!(node.watch.pools.len(), 1);
        assert_eq!(node.engines.unwrap().path, path);
        let bad = "[[pool]]\nid = \"a\"\nport = \"x\"\n[[pool]]\nid = 7\n";
        let problems = with(bad, &[("ORCHESTRATORD_ADDR", "8080")]).unwrap_err();
        for expected in ["line 3: `port` must be", "line 5: ", "ORCHESTRATORD_ADDR: "] {
            assert!(
                problems.contains(expected),
                "{expected} is missing in:\n{problems}"
            );
        }
        let cloud = with(good, &[("ORCHESTRATORD_CLOUD_PROFILE", "true")]).unwrap_err();
        assert!(cloud.contains("works only in the HOME profile"), "{cloud}");
    }

    // spec: CONF-1
    #[test]
    fn every_bad_variable_is_reported_in_one_go() {
        let bad = [
            ("ORCHESTRATORD_ADDR", "8080"),
            ("ORCHESTRATORD_METRICS_ADDR", "9090"),
            ("ORCHESTRATORD_CLOUD_PROFILE", "yes"),
            ("ORCHESTRATORD_REQUIRE_AUTH", "true"),
            ("ORCHESTRATORD_ALLOWED_HOSTS", "http://llorch.example"),
            ("ORCHESTRATORD_NODE_TIMEOUT_MS", "-1"),
            ("ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS", "0"),
            ("ORCHESTRATORD_PLACEMENT", "fastest"),
            ("ORCHESTRATORD_QUEUE_LIMIT", "many"),
            ("ORCHESTRATORD_QUEUE_WAIT_MS", "x"),
            ("ORCHESTRATORD_FIRST_BYTE_TIMEOUT_MS", "0"),
            ("ORCHESTRATORD_THREADS", "0"),
            ("ORCHESTRATORD_DRAIN_TIMEOUT_SECS", "x"),
            ("ORCHESTRATORD_SHUTDOWN_GRACE_MS", "600001"),
            ("ORCHESTRATORD_LOG_FORMAT", "xml"),
        ];
        let problems = config(&bad).unwrap_err();
        for (name, _) in bad {
            assert!(problems.contains(name), "{name} is missing in:\n{problems}");
        }
    }
}
