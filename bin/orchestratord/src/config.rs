//! The settings of `orchestratord`: from the environment, checked all together.

use std::{fs, path::PathBuf, time::Duration};

use admission::Config as AdmissionConfig;
use bearer_auth::ApiToken;
use daemon::{Program, Settings};
use inference_gateway::{Aliases, GatewayConfig};
use placement::Strategy;
use pool_registry_types::NodeId;
use serde::Deserialize;
use service_runtime::env::{Environment, Problems};

/// Who we are.
pub(crate) const PROGRAM: Program = Program {
    name: "orchestratord",
    version: env!("CARGO_PKG_VERSION"),
    help: HELP,
    prefix: "ORCHESTRATORD_",
    variables: &[],
};

/// Where it listens, on loopback, when nothing is set.
const DEFAULT_PORT: u16 = 8080;

/// How long after the start a model that nobody serves yet is waited for: nodes that knew the process before us
/// report within a heartbeat (10 s) and its jitter, and register again at once.
const CLOUD_WARM_UP: Duration = Duration::from_secs(15);

/// What `--help` prints.
const HELP: &str = "\
orchestratord, the control plane

Usage: orchestratord [--help | --version]

One OpenAI-compatible URL (/v1) for all inference engines. In the HOME profile (the default) it watches the handoff
directory of this machine and talks to the engines directly; in the CLOUD profile nodes join by themselves.
Settings come from the environment:

  ORCHESTRATORD_ADDR                       where it listens                           [127.0.0.1:8080]
  ORCHESTRATORD_CLOUD_PROFILE              nodes join over HTTP                       [false]
  LLORCH_API_TOKEN                         the token everybody presents               (none: loopback only)
  ORCHESTRATORD_REQUIRE_AUTH               refuse to start without a token            [false]
  ORCHESTRATORD_NODE_TIMEOUT_MS            silence after which a node is offline      [30000]
  ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS  upper bound for noticing; exact otherwise  [10]
  ORCHESTRATORD_RUNTIME_DIR                where engines announce themselves (HOME)   [.runtime/engines]
  ORCHESTRATORD_STATE_DIR                  what it remembers across restarts (CLOUD)  [.runtime/state]
  ORCHESTRATORD_ALIASES_FILE               other names for models (TOML)              (none)
  ORCHESTRATORD_PLACEMENT                  how to choose an endpoint; see README      [least-loaded]
  ORCHESTRATORD_QUEUE_LIMIT                requests that may wait for one model       [256]
  ORCHESTRATORD_QUEUE_WAIT_MS              the longest a request waits for a slot     [5000]
  ORCHESTRATORD_FIRST_BYTE_TIMEOUT_MS      the longest an engine may think            [120000]
  ORCHESTRATORD_DRAIN_TIMEOUT_SECS         how long a stop waits for streams          [120]
  ORCHESTRATORD_SHUTDOWN_GRACE_MS          how long a stop serves on as not ready     [0]
  ORCHESTRATORD_LOG_FORMAT                 text or json                               [text]
  RUST_LOG                                 log filter                                 [info]

SIGTERM or SIGINT: /ready says 503, after the grace no new requests, running ones finish, then it exits 0. A second signal exits at once.
Exit codes: 0 stopped, 1 failed, 64 bad settings, 130 second signal.";

/// What only the control plane can be told; [`Settings`] are the others.
#[derive(Default, Deserialize)]
struct Raw {
    orchestratord_node_timeout_ms: Option<String>,
    orchestratord_stale_check_interval_secs: Option<String>,
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
    pub(crate) profile: Profile,
    pub(crate) admission: AdmissionConfig,
    pub(crate) gateway: GatewayConfig,
    /// How long new requests are still taken after the first signal, so that balancers can look elsewhere.
    pub(crate) shutdown_grace: Duration,
}

impl AsRef<Settings> for Config {
    fn as_ref(&self) -> &Settings {
        &self.settings
    }
}

/// Where endpoints come from.
#[derive(Debug)]
pub(crate) enum Profile {
    /// Engines of this machine.
    Home { runtime_dir: PathBuf, node_id: NodeId },
    /// Nodes that join.
    Cloud {
        registry: registry_runtime::Config,
        state_dir: PathBuf,
    },
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
            Duration::ZERO
        };
        let mut gateway = GatewayConfig {
            strategy,
            aliases: aliases(p, raw.orchestratord_aliases_file),
            ..GatewayConfig::default()
        };
        gateway.node_token = settings.token.as_ref().map(ApiToken::header_value);
        gateway.clocks.first_byte = settings.first_byte_timeout;
        let shutdown_grace = p.millis(
            "ORCHESTRATORD_SHUTDOWN_GRACE_MS",
            raw.orchestratord_shutdown_grace_ms,
            Duration::ZERO,
            0..=600_000,
        );
        let profile = if settings.is_cloud {
            Profile::Cloud {
                registry,
                state_dir: settings.state_dir.clone(),
            }
        } else {
            Profile::Home {
                runtime_dir: settings.runtime_dir.clone(),
                node_id: this_machine(),
            }
        };
        problems.finish().map(|()| Self {
            settings,
            profile,
            admission,
            gateway,
            shutdown_grace,
        })
    }
}

/// Other names for models. Read now, so that a mistake in the file is told like any other.
fn aliases(problems: &mut Problems, path: Option<String>) -> Aliases {
    const NAME: &str = "ORCHESTRATORD_ALIASES_FILE";
    let Some(path) = path else {
        return Aliases::default();
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            problems.add(NAME, format!("cannot read the alias file {path}: {error}"));
            return Aliases::default();
        }
    };
    Aliases::parse(&text)
        .inspect_err(|wrong| problems.add(NAME, format!("the alias file {path} is wrong:\n{wrong}")))
        .unwrap_or_default()
}

/// What this machine is called as a node. In HOME it is only a name in answers, so any will do.
fn this_machine() -> NodeId {
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
        let Profile::Home { runtime_dir, .. } = config.profile else {
            panic!("{:?}", config.profile)
        };
        assert_eq!(runtime_dir, PathBuf::from(".runtime/engines"));
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
        let Profile::Cloud { registry, .. } = config.profile else {
            panic!("{:?}", config.profile)
        };
        assert_eq!(registry.registry.node_timeout, Duration::from_secs(5));
        assert_eq!(config.gateway.strategy, Strategy::RoundRobin);
        assert!(
            config
                .gateway
                .node_token
                .is_some_and(|token| token.is_sensitive())
        );
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
        let missing = config(&[("ORCHESTRATORD_ALIASES_FILE", "/nowhere/aliases.toml")]).unwrap_err();
        assert!(missing.contains("cannot read the alias file"), "{missing}");
    }

    // spec: CONF-1
    #[test]
    fn every_bad_variable_is_reported_in_one_go() {
        let bad = [
            ("ORCHESTRATORD_ADDR", "8080"),
            ("ORCHESTRATORD_CLOUD_PROFILE", "yes"),
            ("ORCHESTRATORD_REQUIRE_AUTH", "true"),
            ("ORCHESTRATORD_NODE_TIMEOUT_MS", "-1"),
            ("ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS", "0"),
            ("ORCHESTRATORD_PLACEMENT", "fastest"),
            ("ORCHESTRATORD_QUEUE_LIMIT", "many"),
            ("ORCHESTRATORD_QUEUE_WAIT_MS", "x"),
            ("ORCHESTRATORD_FIRST_BYTE_TIMEOUT_MS", "0"),
            ("ORCHESTRATORD_DRAIN_TIMEOUT_SECS", "x"),
            ("ORCHESTRATORD_SHUTDOWN_GRACE_MS", "600001"),
            ("ORCHESTRATORD_LOG_FORMAT", "xml"),
        ];
        let problems = config(&bad).unwrap_err();
        for (name, _) in bad {
            assert!(problems.contains(name), "{name} is missing in:\n{problems}");
        }
    }

    #[test]
    fn help_names_every_variable() {
        let names = [
            "ORCHESTRATORD_ADDR",
            "ORCHESTRATORD_CLOUD_PROFILE",
            "LLORCH_API_TOKEN",
            "ORCHESTRATORD_REQUIRE_AUTH",
            "ORCHESTRATORD_NODE_TIMEOUT_MS",
            "ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS",
            "ORCHESTRATORD_RUNTIME_DIR",
            "ORCHESTRATORD_STATE_DIR",
            "ORCHESTRATORD_ALIASES_FILE",
            "ORCHESTRATORD_PLACEMENT",
            "ORCHESTRATORD_QUEUE_LIMIT",
            "ORCHESTRATORD_QUEUE_WAIT_MS",
            "ORCHESTRATORD_FIRST_BYTE_TIMEOUT_MS",
            "ORCHESTRATORD_DRAIN_TIMEOUT_SECS",
            "ORCHESTRATORD_SHUTDOWN_GRACE_MS",
            "ORCHESTRATORD_LOG_FORMAT",
            "RUST_LOG",
        ];
        let rows: Vec<&str> = HELP.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(rows.len(), names.len());
        for (name, row) in names.iter().zip(&rows) {
            assert!(row.starts_with(&format!("  {name} ")), "{name}: {row}");
            // The last column begins in the same place everywhere.
            let last = row.rfind(" [").or_else(|| row.rfind(" ("));
            assert_eq!(last, rows[0].rfind(" ["), "{row}");
        }
    }
}
