//! What a pool's engines are to be: how they are started, and how patient their supervisor is.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use pool_registry_types::{EngineKind, PoolId, ReplicaId};
use sha2::{Digest as _, Sha256};

/// Stands for the engine's port in a command and in the values of the environment.
pub(crate) const PORT_PLACEHOLDER: &str = "{port}";

/// Loading a large model from a network disk takes minutes; one that takes longer than this does
/// not come.
pub(crate) const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(600);
/// As long as the agent itself waits for running requests when it is stopped.
pub(crate) const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// After its requests have ended an engine only frees memory; those with worker processes take
/// seconds.
pub(crate) const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(20);

/// When an engine that ended by itself is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever it ended with.
    Always,
    /// Unless it ended with exit code 0.
    #[default]
    OnFailure,
    /// Not by itself.
    Never,
}

/// What becomes of an engine when the agent is told to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnAgentStop {
    /// It is stopped too.
    #[default]
    Stop,
    /// It goes on; the next start of the agent adopts it.
    Leave,
}

/// How an engine is started.
#[derive(Clone, PartialEq, Eq)]
pub enum Launch {
    /// A command line of the operator's: the program and its arguments.
    Command(Vec<String>),
    /// A `llama-server` whose command line is made from what the pool file says.
    LlamaCpp(LlamaCpp),
}

/// What a `llama-server` is to serve.
#[derive(Clone, PartialEq, Eq)]
pub struct LlamaCpp {
    /// The program.
    pub binary: String,
    /// The GGUF file; of a model in several files the first.
    pub model: PathBuf,
    /// Tokens that one request may use, prompt and answer together.
    pub context: u32,
    /// CPU threads of one engine; `None` means its share of the machine.
    pub threads: Option<u32>,
    /// More arguments, which come last and so have the last word.
    pub args: Vec<String>,
}

/// One pool: engines that are all alike.
///
/// Its `Debug` form shows neither arguments nor the environment: both may carry keys.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// Which pool.
    pub pool_id: PoolId,
    /// What kind of engine answers.
    pub engine: EngineKind,
    /// How an engine is started.
    pub launch: Launch,
    /// How many requests one engine serves at once.
    pub slots: u32,
    /// The models it serves; empty means "ask the engine".
    pub models: Vec<String>,
    /// The devices it may use; `None` means all.
    pub device_mask: Option<String>,
    /// How many engines there are.
    pub replicas: u32,
    /// Where it listens on loopback; `None` means that a free port is chosen at each start.
    pub port: Option<u16>,
    /// What is added to the environment it inherits.
    pub env: BTreeMap<String, String>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How long it may take from its start until it takes requests.
    pub ready_timeout: Duration,
    /// How long a stop waits for running requests.
    pub drain_timeout: Duration,
    /// How long it may take from SIGTERM until it is gone.
    pub stop_grace: Duration,
    /// What becomes of it when the agent stops.
    pub on_agent_stop: OnAgentStop,
    /// How long the pool must be idle before its engines are stopped until somebody needs them;
    /// `None` means never.
    pub sleep_after: Option<Duration>,
}

impl PoolSpec {
    /// A pool that no file knows any more, as far as it takes to end its engines.
    pub(crate) fn forgotten(pool_id: PoolId, engine: EngineKind) -> Self {
        Self {
            pool_id,
            engine,
            launch: Launch::Command(Vec::new()),
            slots: 1,
            models: Vec::new(),
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

    /// The names of its replicas: `r0`, `r1`, …
    pub fn replica_ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        // Such a name is always an identifier.
        (0..self.replicas).filter_map(|index| ReplicaId::new(&format!("r{index}")).ok())
    }

    /// The program that is started.
    #[must_use]
    pub fn program(&self) -> &str {
        match &self.launch {
            Launch::Command(argv) => argv.first().map_or("", String::as_str),
            Launch::LlamaCpp(llama) => &llama.binary,
        }
    }

    /// Its arguments when it is to listen on `port`.
    pub(crate) fn arguments(&self, port: &str) -> Vec<String> {
        match &self.launch {
            Launch::Command(argv) => argv.iter().skip(1).map(|text| fill(text, port)).collect(),
            Launch::LlamaCpp(llama) => self.llama_arguments(llama, port),
        }
    }

    fn llama_arguments(&self, llama: &LlamaCpp, port: &str) -> Vec<String> {
        // llama-server divides its context by its slots, and guesses either when it is not told.
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
            // What its answers call the model.
            arguments.extend(["--alias".to_owned(), name.clone()]);
        }
        if let Some(threads) = llama.threads {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        arguments.extend(llama.args.iter().cloned());
        arguments
    }

    /// What is set in its environment when it is to listen on `port`.
    pub(crate) fn environment(&self, port: &str) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        // Checked when the file was read; a mask that is no mask hides nothing.
        if let Ok(Some(devices)) = gpu_inventory::cuda_visible_devices(self.device_mask.as_deref())
        {
            environment.insert("CUDA_VISIBLE_DEVICES".to_owned(), devices);
            environment.insert("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
        }
        let own = self.env.iter();
        environment.extend(own.map(|(name, value)| (name.clone(), fill(value, port))));
        environment
    }

    /// Tells one way to start an engine from another: an engine that runs is ours to adopt only
    /// when it was started just so. A digest, because what goes in may carry keys.
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
