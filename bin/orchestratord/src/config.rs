//! The configuration of `orchestratord`: the environment, checked and put into the configurations
//! of its components.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use address_ranges::AddressRanges;
use admission::AdmissionConfig;
use bearer_auth::ApiToken;
use daemon::{
    DirectoryUse, ListenTls, REQUIRE_AUTH, RUNTIME_DIR, ScanSettings, Settings, SettingsReader,
    require_directory, require_regular_file,
};
use http::HeaderValue;
use http_server::AllowedOrigins;
use inference_gateway::{Aliases, GatewayConfig, MAX_ALIASES_FILE_BYTES};
use join_api::JoinConfig;
use local_node::{NodeConfig, PoolFileAt, ScanConfig, StateDir, WatchConfig};
use node_ca::{CaDirectory, Host};
use pool_registry_types::HttpUrl;
use service_runtime::env::{Environment, Problems};
use state_export::{Profile, registry_dir};
use stream_proxy::Timeouts;

use crate::{
    ca,
    control_plane::StoreLocation,
    settings::{
        ALIASES_FILE, ALLOWED_ORIGINS, CA_DIR, NODE_CERT_LIFETIME, NODE_RANGES, NODE_TIMEOUT,
        PLACEMENT, POOLS_FILE, PROGRAM, QUEUE_LIMIT, QUEUE_WAIT, SHUTDOWN_GRACE,
        STALE_CHECK_INTERVAL, USAGE_RETENTION,
    },
};

/// How long after the start requests wait for a model without an endpoint. Nodes that knew an
/// earlier process report within a heartbeat (10 s) and its jitter, and register again at once.
const CLOUD_WARM_UP: Duration = Duration::from_secs(15);

/// The same for the node in this process, which registers after reading its hardware. That may
/// take two seconds.
const HOME_WARM_UP: Duration = Duration::from_secs(3);

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    /// `None` in the CLOUD profile.
    pub(crate) home: Option<HomeConfig>,
    pub(crate) admission: AdmissionConfig,
    pub(crate) gateway: GatewayConfig,
    pub(crate) registry: registry_runtime::Config,
    /// How nodes join.
    pub(crate) joining: JoinConfig,
    /// The token that nodes require, as the value of `Authorization`.
    pub(crate) node_token: Option<HeaderValue>,
    /// The origins whose web pages may use this server.
    pub(crate) allowed_origins: AllowedOrigins,
    /// How long a stop still takes requests, so that load balancers can turn elsewhere.
    pub(crate) shutdown_grace: Duration,
    /// For how many days the usage of keys is kept.
    pub(crate) usage_retention_days: u32,
}

impl AsRef<Settings> for Config {
    fn as_ref(&self) -> &Settings {
        &self.settings
    }
}

/// The HOME profile: this machine as a node.
#[derive(Debug)]
pub(crate) struct HomeConfig {
    pub(crate) node: NodeConfig,
    /// The directory of the registry and the node id.
    pub(crate) registry_dir: PathBuf,
}

impl Config {
    pub(crate) fn from_environment(mut environment: Environment) -> Result<Self, Problems> {
        let ca = ca::open(&mut environment);
        let mut reader = SettingsReader::new(&PROGRAM, environment);
        // Read as a setting too, so that it counts as known.
        let _ = reader.read(&CA_DIR);
        let ca = ca.unwrap_or_else(|error| {
            reader.problem(&CA_DIR, error.to_string());
            None
        });
        let node_ranges = match reader.read(&NODE_RANGES) {
            Some(ranges) => AddressRanges::new(ranges),
            None => AddressRanges::default(),
        };
        let settings = Settings::read(&mut reader, &PROGRAM);
        require_operator(&mut reader, &settings);
        let pool_file = pool_file(&mut reader, settings.is_cloud);
        let config = Self {
            home: (!settings.is_cloud).then(|| home(&mut reader, &settings, pool_file)),
            admission: admission(&mut reader, settings.is_cloud),
            gateway: gateway(&mut reader, &settings),
            registry: registry(&mut reader, &settings, &node_ranges),
            joining: JoinConfig {
                url: own_url(&settings, ca.as_deref()),
                ca,
                own_certificates: settings.tls.iter().map(ListenTls::identity).collect(),
                own_hosts: listen_host(&settings).into_iter().collect(),
                lifetime: reader.read(&NODE_CERT_LIFETIME),
                own_token: settings.token.as_ref().map(ApiToken::digest),
                addresses: node_ranges,
                takes_nodes: settings.is_cloud,
            },
            node_token: settings.token.as_ref().map(ApiToken::header_value),
            allowed_origins: allowed_origins(&mut reader, &settings),
            shutdown_grace: reader.read(&SHUTDOWN_GRACE),
            usage_retention_days: u32::try_from(reader.read(&USAGE_RETENTION)).unwrap_or(u32::MAX),
            settings,
        };
        reader.finish().map(|()| config)
    }

    /// The directory of the registry's store.
    pub(crate) fn store_location(&self) -> StoreLocation {
        match &self.home {
            Some(home) => StoreLocation::Optional(home.registry_dir.clone()),
            None => {
                let dir = registry_dir(&self.settings.state_dir, Profile::Cloud);
                StoreLocation::Required(dir)
            }
        }
    }
}

/// The host of the listen address, where it is one address.
/// Where nodes reach this control plane. A certificate of an operator's own has hosts that this
/// program does not choose from.
fn own_url(settings: &Settings, ca: Option<&CaDirectory>) -> Option<HttpUrl> {
    if settings.tls.is_none() {
        return join_api::own_url(settings.addr, None);
    }
    let hosts = ca?.server_hosts().ok()?;
    join_api::own_url(settings.addr, Some(&hosts))
}

fn listen_host(settings: &Settings) -> Option<Host> {
    let ip = settings.addr.ip();
    (!ip.is_unspecified()).then(|| ip.to_string().parse().ok())?
}

/// Nodes and the control plane have certificates; operators and clients have tokens. Where peers
/// must present a credential, certificates alone would let no operator in.
fn require_operator(reader: &mut SettingsReader, settings: &Settings) {
    let has_certificates = settings.tls.is_some() && reader.is_set(&CA_DIR);
    let has_tokens = settings.token.is_some() || settings.keys_file.is_some();
    if settings.requires_auth && has_certificates && !has_tokens {
        reader.problem(
            &REQUIRE_AUTH,
            "authentication is required of everyone, but no token is set; a CA is for nodes only",
        );
    }
}

fn registry(
    reader: &mut SettingsReader,
    settings: &Settings,
    addresses: &AddressRanges,
) -> registry_runtime::Config {
    let mut config = registry_runtime::Config {
        tls: settings.client_tls.clone(),
        addresses: Some(addresses.clone()),
        stale_check_interval: reader.read(&STALE_CHECK_INTERVAL),
        ..registry_runtime::Config::default()
    };
    let timeout = reader.read(&NODE_TIMEOUT);
    match service_registry::Config::default().with_node_timeout(timeout) {
        Ok(registry) => config.registry = registry,
        Err(error) => reader.problem(&NODE_TIMEOUT, error.to_string()),
    }
    if !settings.is_cloud {
        // The only node is in this process, so a probe would show nothing.
        config.prober = None;
    }
    config
}

fn admission(reader: &mut SettingsReader, is_cloud: bool) -> AdmissionConfig {
    AdmissionConfig {
        queue_limit: reader.read(&QUEUE_LIMIT),
        max_wait: reader.read(&QUEUE_WAIT),
        warm_up: if is_cloud {
            CLOUD_WARM_UP
        } else {
            HOME_WARM_UP
        },
    }
}

fn gateway(reader: &mut SettingsReader, settings: &Settings) -> GatewayConfig {
    let mut config = GatewayConfig {
        strategy: reader.read(&PLACEMENT),
        aliases: aliases(reader),
        max_body_bytes: settings.max_body_bytes,
        ..GatewayConfig::default()
    };
    config.timeouts.first_byte = settings.first_byte_timeout;
    config
}

/// The origins whose pages may use this server. Every page that a user of this machine visits is a
/// loopback peer, so `*` needs a token.
fn allowed_origins(reader: &mut SettingsReader, settings: &Settings) -> AllowedOrigins {
    let origins = AllowedOrigins::new(reader.read(&ALLOWED_ORIGINS).unwrap_or_default());
    if origins.has_any() && settings.token.is_none() {
        reader.problem(
            &ALLOWED_ORIGINS,
            "`*` needs a token (LLORCH_API_TOKEN): without one every web page could use this \
             server; list the origins instead",
        );
    }
    origins
}

/// The node that this machine is.
fn home(
    reader: &mut SettingsReader,
    settings: &Settings,
    pool_file: Option<PoolFileAt>,
) -> HomeConfig {
    let purpose = if reader.is_set(&POOLS_FILE) {
        DirectoryUse::Write
    } else {
        DirectoryUse::Read
    };
    require_directory(reader, &RUNTIME_DIR, &settings.runtime_dir, purpose);
    let pools = pool_file.iter().flat_map(|at| &at.file.pools);
    HomeConfig {
        node: NodeConfig {
            watch: WatchConfig {
                pools: pools.map(|pool| pool.pool_id.clone()).collect(),
                engines_dir: Some(settings.engines_dir.clone()),
                scan: settings.scan.clone().map(scan),
                ..WatchConfig::new(&settings.runtime_dir)
            },
            state_dir: StateDir::Optional(settings.state_dir.clone()),
            engines: pool_file,
            // The gateway bounds the time of each of its requests, except their wait for a start.
            data_path: node_api::DataPathConfig {
                max_body_bytes: settings.max_body_bytes,
                timeouts: Timeouts {
                    first_byte: settings.first_byte_timeout,
                    ..Timeouts::default()
                },
            },
        },
        registry_dir: registry_dir(&settings.state_dir, Profile::Home),
    }
}

fn scan(settings: ScanSettings) -> ScanConfig {
    let ScanSettings { interval, ports } = settings;
    ScanConfig { interval, ports }
}

/// The engines that this machine starts. The file is read now, so that its mistakes are reported
/// with those of the settings.
fn pool_file(reader: &mut SettingsReader, is_cloud: bool) -> Option<PoolFileAt> {
    let path = reader.read(&POOLS_FILE)?;
    if is_cloud {
        reader.problem(
            &POOLS_FILE,
            "works only in the HOME profile; with ORCHESTRATORD_CLOUD_PROFILE=true the nodes \
             start engines (POOL_MANAGERD_POOLS_FILE)",
        );
    }
    if !require_regular_file(reader, &POOLS_FILE, &path) {
        return None;
    }
    PoolFileAt::read(path, &daemon::SECRET_VARIABLES)
        .map_err(|error| reader.problem(&POOLS_FILE, error))
        .ok()
}

/// Other names for models. The file is read now, so that its mistakes are reported with those of
/// the settings.
fn aliases(reader: &mut SettingsReader) -> Aliases {
    let Some(path) = reader.read(&ALIASES_FILE) else {
        return Aliases::default();
    };
    if !require_regular_file(reader, &ALIASES_FILE, &path) {
        return Aliases::default();
    }
    read_aliases(&path).unwrap_or_else(|problem| {
        reader.problem(&ALIASES_FILE, problem);
        Aliases::default()
    })
}

fn read_aliases(path: &Path) -> Result<Aliases, String> {
    let shown = path.display();
    let text = state_file::read_plain_text(path, MAX_ALIASES_FILE_BYTES)
        .map_err(|error| format!("cannot read the alias file {shown}: {error}"))?;
    let text = text.ok_or_else(|| {
        format!("the alias file {shown} has more than {MAX_ALIASES_FILE_BYTES} bytes")
    })?;
    Aliases::parse(&text)
        .map_err(|problems| format!("the alias file {shown} is wrong:\n{problems}"))
}

#[cfg(test)]
mod tests;
