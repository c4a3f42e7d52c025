//! The specification of a pool: how its engines are started, and its timeouts.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use pool_registry_types::{EngineKind, KeyFile, ModelName, PoolId, ReplicaId, Text};
use sha2::{Digest as _, Sha256};

/// Replaced by the engine's port in the command and in the values of `env`.
pub(crate) const PORT_PLACEHOLDER: &str = "{port}";

/// Loading a large model from a network disk takes minutes. An engine that takes longer than this
/// will not become ready.
pub(crate) const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(600);
/// The same as the agent's own drain timeout.
pub(crate) const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// After its requests have ended an engine only frees memory. Engines with worker processes take
/// seconds for that.
pub(crate) const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(20);

/// When an engine that ended by itself is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// After every exit.
    Always,
    /// After every exit except exit code 0.
    #[default]
    OnFailure,
    /// Never.
    Never,
}

/// What happens to an engine when the agent stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnAgentStop {
    /// It is stopped.
    #[default]
    Stop,
    /// It continues, and the next agent adopts it.
    Leave,
}

/// How an engine is started.
#[derive(Clone, PartialEq, Eq)]
pub enum Launch {
    /// A command line: the program and its arguments.
    Command(Vec<String>),
    /// A `llama-server` whose command line is built from the pool file.
    LlamaCpp(LlamaCpp),
}

/// The model and settings of a `llama-server`.
#[derive(Clone, PartialEq, Eq)]
pub struct LlamaCpp {
    /// The program.
    pub binary: String,
    /// The GGUF file; the first one of a model in several files.
    pub model: PathBuf,
    /// Tokens per request, prompt and completion together.
    pub context: u32,
    /// CPU threads of one engine; `None` means its share of the machine.
    pub threads: Option<u32>,
    /// Further arguments. They come last and so override the others.
    pub args: Vec<String>,
}

/// One pool of identical engines.
///
/// Its `Debug` form omits arguments and environment, because both may contain secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// The id of the pool.
    pub pool_id: PoolId,
    /// The kind of engine.
    pub engine: EngineKind,
    /// How an engine is started.
    pub launch: Launch,
    /// How many requests one engine serves at once.
    pub slots: u32,
    /// The models that it serves; empty means that the engine is asked.
    pub models: Vec<ModelName>,
    /// The file with the key that it demands.
    pub api_key_file: Option<KeyFile>,
    /// The devices it may use; `None` means all.
    pub device_mask: Option<Text>,
    /// The number of engines.
    pub replicas: u32,
    /// Its port on loopback; `None` chooses a free port at each start.
    pub port: Option<u16>,
    /// Variables in addition to the inherited environment.
    pub env: BTreeMap<String, String>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How long it may take from its start until it is ready.
    pub ready_timeout: Duration,
    /// How long a stop waits for running requests.
    pub drain_timeout: Duration,
    /// How long it may take from SIGTERM until it has ended.
    pub stop_grace: Duration,
    /// What happens to it when the agent stops.
    pub on_agent_stop: OnAgentStop,
    /// How long the pool must be idle before it is scaled to zero; `None` means never.
    pub sleep_after: Option<Duration>,
}

impl PoolSpec {
    /// A pool that is no longer in the pool file: what is needed to stop its engines.
    pub(crate) fn removed(pool_id: PoolId, engine: EngineKind) -> Self {
        Self {
            pool_id,
            engine,
            launch: Launch::Command(Vec::new()),
            slots: 1,
            models: Vec::new(),
            api_key_file: None,
            device_mask: None,
            replicas: 0,
            port: None,
            env: BTreeMap::new(),
            restart: RestartPolicy::Never,
            ready_timeout: DEFAULT_READY_TIMEOUT,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            stop_grace: DEFAULT_STOP_GRACE,
            on_agent_stop: OnAgentStop::Stop,
            sleep_after: None,
        }
    }

    /// The ids of its replicas: `r0`, `r1`, …
    pub fn replica_ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        // These are always valid ids.
        (0..self.replicas).filter_map(|index| ReplicaId::new(&format!("r{index}")).ok())
    }

    /// Its program.
    #[must_use]
    pub fn program(&self) -> &str {
        match &self.launch {
            Launch::Command(argv) => argv.first().map_or("", String::as_str),
            Launch::LlamaCpp(llama) => &llama.binary,
        }
    }

    /// Its arguments for `port`.
    pub(crate) fn arguments(&self, port: &str) -> Vec<String> {
        match &self.launch {
            Launch::Command(argv) => argv.iter().skip(1).map(|text| fill(text, port)).collect(),
            Launch::LlamaCpp(llama) => self.llama_arguments(llama, port),
        }
    }

    fn llama_arguments(&self, llama: &LlamaCpp, port: &str) -> Vec<String> {
        // llama-server divides its context by its slots, and chooses both itself when they are not
        // set.
        let context = u64::from(llama.context) * u64::from(self.slots);
        let mut arguments = vec![
            "--host".to_owned(),
            "127.0.0.1".to_owned(),
            "--port".to_owned(),
            port.to_owned(),
            "--model".to_owned(),
            llama.model.display().to_string(),
            "--parallel".to_owned(),
            self.slots.to_string(),
            "--ctx-size".to_owned(),
            context.to_string(),
        ];
        if let Some(name) = self.models.first() {
            // The name of the model in its responses.
            arguments.extend(["--alias".to_owned(), name.to_string()]);
        }
        if let Some(threads) = llama.threads {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        if let Some(path) = &self.api_key_file {
            arguments.extend(["--api-key-file".to_owned(), path.to_string()]);
        }
        arguments.extend(llama.args.iter().cloned());
        arguments
    }

    /// The variables of its environment for `port`.
    pub(crate) fn environment(&self, port: &str) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        // The mask was checked when the pool file was read.
        if let Ok(Some(devices)) = gpu_inventory::cuda_visible_devices(self.device_mask.as_deref())
        {
            environment.insert("CUDA_VISIBLE_DEVICES".to_owned(), devices);
            environment.insert("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
        }
        let own = self.env.iter();
        environment.extend(own.map(|(name, value)| (name.clone(), fill(value, port))));
        environment
    }

    /// Identifies the configuration of an engine: a running engine is adopted only when its
    /// configuration is unchanged. A digest, because arguments and variables may contain secrets.
    pub(crate) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text.len().to_le_bytes());
            digest.update(text);
        };
        add(self.engine.as_str());
        add(self.program());
        self.arguments(PORT_PLACEHOLDER)
            .iter()
            .for_each(|text| add(text));
        for (name, value) in self.environment(PORT_PLACEHOLDER) {
            add(&name);
            add(&value);
        }
        add(&self.port.map(|port| port.to_string()).unwrap_or_default());
        digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Debug for PoolSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSpec")
            .field("pool_id", &self.pool_id)
            .field("engine", &self.engine)
            .field("program", &self.program())
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

fn fill(text: &str, port: &str) -> String {
    text.replace(PORT_PLACEHOLDER, port)
}
