//! The configuration of `pool-managerd`: the environment, checked and put into the configurations
//! of its components.

use std::fs;

use daemon::{
    DirectoryUse, RUNTIME_DIR, STATE_DIR, ScanSettings, Settings, SettingsReader,
    TLS_IDENTITY_FILE, require_directory, require_regular_file,
};
use local_node::{NodeConfig, PoolFileAt, ScanConfig, StateDir, WatchConfig};
use node_api::DataPathConfig;
use node_join::{JoinedFiles, Renewal};
use node_registration::RegistrationConfig;
use pool_registry_types::{BootId, HttpUrl, MachineId, NodeId, PoolId};
use service_runtime::env::{Environment, Problems};
use stream_proxy::Timeouts;

use crate::{
    joined,
    settings::{
        ADDRESS, HEARTBEAT_INTERVAL, MACHINE_ID, NODE_ID, ORCHESTRATORS, POOLS, POOLS_FILE,
        PROGRAM, REGISTER, WATCH_INTERVAL,
    },
};

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) pools: Vec<PoolId>,
    /// The pool that is shown while there is no other; `None` when some are named.
    pub(crate) placeholder: Option<PoolId>,
    pub(crate) data_path: DataPathConfig,
    /// `None` in the HOME profile.
    pub(crate) cloud: Option<CloudConfig>,
    /// How the certificate is renewed; `None` for a node without one, or with one of its own.
    pub(crate) renewal: Option<Renewal>,
}

impl AsRef<Settings> for Config {
    fn as_ref(&self) -> &Settings {
        &self.settings
    }
}

/// The CLOUD profile.
#[derive(Debug)]
pub(crate) struct CloudConfig {
    pub(crate) node: NodeConfig,
    /// `None` when the node does not join a control plane.
    pub(crate) registration: Option<RegistrationConfig>,
}

impl Config {
    pub(crate) fn from_environment(mut environment: Environment) -> Result<Self, Problems> {
        let joined = joined::add_settings(&mut environment);
        let mut reader = SettingsReader::new(&PROGRAM, environment);
        if let Err(problem) = joined {
            reader.problem(&STATE_DIR, problem);
        }
        let mut settings = Settings::read(&mut reader, &PROGRAM);
        let engines = pool_file(&mut reader, settings.is_cloud);
        let listed = reader.read(&POOLS);
        let pools = shown_pools(listed.clone(), engines.as_ref());
        let placeholder = pools.is_empty().then(default_pool).flatten();
        let data_path = DataPathConfig {
            timeouts: Timeouts {
                first_byte: settings.first_byte_timeout,
                ..Timeouts::default()
            },
            max_body_bytes: settings.max_body_bytes,
        };
        let registered: Vec<PoolId> = pools.iter().chain(&placeholder).cloned().collect();
        let registration = registration(&mut reader, &mut settings, &registered);
        let renewal = renewal(&mut reader, &settings, registration.as_ref());
        // Read in every profile, so that a mistake is reported before the profile changes.
        let watch_interval = reader.read(&WATCH_INTERVAL);
        let cloud = settings.is_cloud.then(|| {
            check_runtime_dir(&mut reader, &settings);
            CloudConfig {
                node: NodeConfig {
                    watch: WatchConfig {
                        watch_interval,
                        pools: pools.clone(),
                        placeholder: placeholder.clone(),
                        // The operator has listed the pools, so others get no engines.
                        only_pools: listed.is_some().then(|| pools.clone()),
                        engines_dir: Some(settings.engines_dir.clone()),
                        scan: settings.scan.clone().map(scan),
                        ..WatchConfig::new(&settings.runtime_dir)
                    },
                    state_dir: StateDir::Required(settings.state_dir.clone()),
                    engines,
                    data_path,
                },
                registration,
            }
        });
        reader.finish().map(|()| Self {
            settings,
            pools,
            placeholder,
            data_path,
            cloud,
            renewal,
        })
    }
}

fn scan(settings: ScanSettings) -> ScanConfig {
    let ScanSettings { interval, ports } = settings;
    ScanConfig { interval, ports }
}

fn check_runtime_dir(reader: &mut SettingsReader, settings: &Settings) {
    let purpose = if reader.is_set(&POOLS_FILE) {
        DirectoryUse::Write
    } else {
        DirectoryUse::Read
    };
    require_directory(reader, &RUNTIME_DIR, &settings.runtime_dir, purpose);
}

/// The registration with the control plane. It is read in every profile, so that a mistake is
/// reported before the profile changes. Completes the settings that follow from it.
fn registration(
    reader: &mut SettingsReader,
    settings: &mut Settings,
    pools: &[PoolId],
) -> Option<RegistrationConfig> {
    let heartbeat_interval = reader.read(&HEARTBEAT_INTERVAL);
    let joins = reader.read(&REGISTER) && settings.is_cloud;
    let node_id = node_id(reader, settings.is_cloud);
    settings.node = node_id.as_ref().map(ToString::to_string);
    let machine_id = reader.read(&MACHINE_ID);
    let address = address(reader, joins);
    // The control plane sends requests for this host.
    if let Some(host) = address.as_ref().and_then(|url| url.host().parse().ok()) {
        settings.allowed_hosts = settings.allowed_hosts.clone().and(host);
    }
    if let (Some(url), Some(tls)) = (&address, &settings.tls)
        && url.is_https()
        && let Err(error) = tls.check_name(url.host())
    {
        reader.problem(&ADDRESS, error.to_string());
    }
    if joins && !reader.is_set(&ORCHESTRATORS) {
        reader.problem(
            &ORCHESTRATORS,
            "must be set in the CLOUD profile, for example http://control-plane:8080",
        );
    }
    let orchestrators = reader.read(&ORCHESTRATORS).unwrap_or_default();
    let mut orchestrators = orchestrators.into_iter();
    let first = orchestrators.next();
    let (true, Some(node_id), Some(address), Some(first)) = (joins, node_id, address, first) else {
        return None;
    };
    // Every node id is a valid machine id.
    let machine_id = machine_id.or_else(|| MachineId::new(node_id.as_str()).ok())?;
    let incarnation = settings.state_dir.join(format!("{node_id}.incarnation"));
    let boot_id = gpu_inventory::boot_id().and_then(|boot| BootId::new(&boot).ok());
    let config = RegistrationConfig::new(node_id, machine_id, address, first)
        .with_boot_id(boot_id)
        .with_fallbacks(orchestrators.collect())
        .with_pools(pools.to_vec())
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_heartbeat_interval(heartbeat_interval)
        .with_tls(settings.client_tls.clone())
        .with_incarnation_file(incarnation);
    Some(match &settings.token {
        Some(token) => config.with_token(token.clone()),
        None => config,
    })
}

/// The renewal of the certificate that `pool-managerd join` got. The operator renews any other.
fn renewal(
    reader: &mut SettingsReader,
    settings: &Settings,
    registration: Option<&RegistrationConfig>,
) -> Option<Renewal> {
    let files = JoinedFiles::in_directory(&settings.state_dir);
    let presented = reader.read(&TLS_IDENTITY_FILE)?;
    let is_own = fs::canonicalize(presented).ok()? == fs::canonicalize(files.identity()).ok()?;
    let registration = registration.filter(|_| is_own)?;
    Some(Renewal {
        control_planes: registration.control_planes().cloned().collect(),
        node_id: registration.node_id().clone(),
        tls: settings.client_tls.clone(),
        files,
    })
}

/// The engines that this node starts. The file is read now, so that its mistakes are reported with
/// those of the settings.
fn pool_file(reader: &mut SettingsReader, is_cloud: bool) -> Option<PoolFileAt> {
    let path = reader.read(&POOLS_FILE)?;
    if !is_cloud {
        reader.problem(
            &POOLS_FILE,
            "works only with POOL_MANAGERD_CLOUD_PROFILE=true",
        );
    }
    if !require_regular_file(reader, &POOLS_FILE, &path) {
        return None;
    }
    PoolFileAt::read(path, &daemon::SECRET_VARIABLES)
        .map_err(|error| reader.problem(&POOLS_FILE, error))
        .ok()
}

/// The pool of a node whose settings name none.
fn default_pool() -> Option<PoolId> {
    PoolId::new("pool-0").ok()
}

/// The listed pools and those of the pool file.
fn shown_pools(listed: Option<Vec<PoolId>>, engines: Option<&PoolFileAt>) -> Vec<PoolId> {
    let of_file = engines.into_iter().flat_map(|engines| &engines.file.pools);
    let mut pools: Vec<PoolId> = listed.into_iter().flatten().collect();
    for spec in of_file {
        if !pools.contains(&spec.pool_id) {
            pools.push(spec.pool_id.clone());
        }
    }
    pools
}

/// The node id: as set, or the hostname.
fn node_id(reader: &mut SettingsReader, is_cloud: bool) -> Option<NodeId> {
    if reader.is_set(&NODE_ID) || !is_cloud {
        return reader.read(&NODE_ID);
    }
    let hostname = gpu_inventory::hostname()
        .ok()
        .and_then(|name| NodeId::new(&name).ok());
    if hostname.is_none() {
        reader.problem(
            &NODE_ID,
            "must be set: the hostname of this machine cannot be used",
        );
    }
    hostname
}

fn address(reader: &mut SettingsReader, is_required: bool) -> Option<HttpUrl> {
    if is_required && !reader.is_set(&ADDRESS) {
        reader.problem(
            &ADDRESS,
            "must be set in the CLOUD profile, for example http://192.168.1.100:9200",
        );
    }
    reader.read(&ADDRESS)
}

#[cfg(test)]
mod tests;
