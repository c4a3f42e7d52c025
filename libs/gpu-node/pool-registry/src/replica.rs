//! One replica: what its handoff says, what probes found, and how many leases it has given.

use std::sync::Arc;

use pool_registry_types::{EngineLoad, Handoff, MAX_MODEL_NAME_BYTES, MAX_MODELS, usable_models};

use crate::probe::{Change, ProbeOutcome, usable_load, usable_reason, usable_version};

/// This many failed probes in a row make a replica not ready. One may be a busy moment and two a
/// coincidence; at a probe every two seconds a dead engine is known in six, and the data path finds
/// it sooner.
pub const FAILURES_TO_DISTRUST: u32 = 3;

/// A live replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) handoff: Arc<Handoff>,
    /// Which life of this replica it is; never used twice by one registry.
    pub(crate) generation: u64,
    /// Rises with each handoff of this life.
    pub(crate) revision: u64,
    /// Leases given and not yet dropped.
    pub(crate) claimed: u32,
    failures_in_a_row: u32,
    not_ready: Option<Arc<str>>,
    declared_models: Option<Arc<[String]>>,
    probed_models: Option<Arc<[String]>>,
    /// How many of the models that the engine lists are not among `probed_models`.
    models_left_out: usize,
    probed_version: Option<Arc<str>>,
    probed_slots: Option<u32>,
    load: EngineLoad,
}

impl Replica {
    /// A replica that was just announced, and is trusted.
    pub(crate) fn new(handoff: Handoff, generation: u64) -> Self {
        Self {
            declared_models: declared_models(&handoff),
            handoff: Arc::new(handoff),
            generation,
            revision: 1,
            claimed: 0,
            failures_in_a_row: 0,
            not_ready: None,
            probed_models: None,
            models_left_out: 0,
            probed_version: None,
            probed_slots: None,
            load: EngineLoad::default(),
        }
    }

    /// One that slept, and for which `claimed` requests have waited.
    pub(crate) fn woken(handoff: Handoff, generation: u64, claimed: u32) -> Self {
        Self {
            claimed,
            ..Self::new(handoff, generation)
        }
    }

    /// Whether `handoff` is about the engine this replica already stands for.
    pub(crate) fn is_same_engine(&self, handoff: &Handoff) -> bool {
        self.handoff.url == handoff.url && self.handoff.engine == handoff.engine
    }

    /// Takes a new handoff of the same engine, which is trusted like the first one. What the engine
    /// said of its models and slots stays until it is asked again. False when nothing changed.
    pub(crate) fn announce_again(&mut self, handoff: Handoff) -> bool {
        if *self.handoff == handoff {
            return false;
        }
        self.declared_models = declared_models(&handoff);
        self.handoff = Arc::new(handoff);
        self.revision += 1;
        self.failures_in_a_row = 0;
        self.not_ready = None;
        true
    }

    /// Takes in what a probe found, and says what changed by it.
    pub(crate) fn probed(&mut self, outcome: ProbeOutcome) -> Vec<Change> {
        if let Some(version) = outcome.engine_version.as_deref().and_then(usable_version) {
            self.probed_version = Some(version.into());
        }
        let left_out = outcome.models.and_then(|models| self.lists(models));
        if let Some(load) = outcome.load {
            self.load = usable_load(load);
        }
        let readiness = if outcome.ready {
            self.succeeded()
        } else {
            self.failed(outcome.reason.as_deref())
        };
        readiness
            .into_iter()
            .chain(self.has_slots(outcome.slots))
            .chain(left_out)
            .collect()
    }

    fn lists(&mut self, models: Vec<String>) -> Option<Change> {
        let (models, left_out) = usable_models(models);
        let kept = models.len();
        if self.probed_models.as_deref() != Some(&models[..]) {
            self.probed_models = Some(models.into());
        }
        let before = std::mem::replace(&mut self.models_left_out, left_out);
        (before != left_out).then_some(Change::ModelsLeftOut { kept, left_out })
    }

    fn succeeded(&mut self) -> Option<Change> {
        self.failures_in_a_row = 0;
        self.not_ready.take().map(|_| Change::ReadyAgain)
    }

    fn failed(&mut self, reason: Option<&str>) -> Option<Change> {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.failures_in_a_row < FAILURES_TO_DISTRUST {
            return None;
        }
        let reason = usable_reason(reason.unwrap_or("the engine is not ready"));
        // Whatever it did, nobody knows any more.
        self.load = EngineLoad::default();
        let before = self.not_ready.replace(reason.as_str().into());
        before.is_none().then_some(Change::NotReady { reason })
    }

    /// The engine's own count. None at all is not a count: such an engine would not have been
    /// announced.
    fn has_slots(&mut self, slots: Option<u32>) -> Option<Change> {
        let before = self.slots();
        self.probed_slots = slots.filter(|slots| *slots > 0).or(self.probed_slots);
        let (has, promised) = (self.slots(), self.handoff.slots);
        (has != before).then_some(if has < promised {
            Change::FewerSlots { promised, has }
        } else {
            Change::SlotsAsPromised { promised }
        })
    }

    /// How many requests it is given at once: what its handoff promises, or less where the engine
    /// says so.
    pub(crate) fn slots(&self) -> u32 {
        let promised = self.handoff.slots;
        self.probed_slots.map_or(promised, |has| has.min(promised))
    }

    /// What its handoff promises, where that is more than the engine has.
    pub(crate) fn slots_promised(&self) -> Option<u32> {
        Some(self.handoff.slots).filter(|promised| *promised != self.slots())
    }

    /// What the engine last said that it does.
    pub(crate) fn load(&self) -> &EngineLoad {
        &self.load
    }

    /// Why it takes no requests; `None` when it does.
    pub(crate) fn not_ready(&self) -> Option<&Arc<str>> {
        self.not_ready.as_ref()
    }

    /// What a person should know of it: why it takes no requests, or else which of its models are
    /// not offered.
    pub(crate) fn trouble(&self) -> Option<String> {
        let left_out = self.models_left_out;
        let offered = self.models().map_or(0, |models| models.len());
        match &self.not_ready {
            Some(reason) => Some(reason.as_ref().to_owned()),
            None if left_out > 0 && !self.declares_models() => Some(format!(
                "{offered} of its models are offered and {left_out} are not: a replica has at \
                 most {MAX_MODELS}, with names of at most {MAX_MODEL_NAME_BYTES} bytes; name \
                 those to offer in the handoff"
            )),
            None => None,
        }
    }

    /// The models it serves; `None` while nobody has said. What the handoff declares wins over what
    /// the engine says.
    pub(crate) fn models(&self) -> Option<&Arc<[String]>> {
        self.declared_models
            .as_ref()
            .or(self.probed_models.as_ref())
    }

    /// Whether its models are declared by the handoff, so that the engine need not be asked.
    pub(crate) fn declares_models(&self) -> bool {
        self.declared_models.is_some()
    }

    /// Whether its models are known and `model` is one of them.
    pub(crate) fn names(&self, model: &str) -> bool {
        self.models()
            .is_some_and(|models| models.iter().any(|name| name == model))
    }

    /// The version the handoff names, else the one the engine named.
    pub(crate) fn engine_version(&self) -> Option<&str> {
        self.handoff
            .engine_version
            .as_deref()
            .or(self.probed_version.as_deref())
    }
}

/// An empty list declares nothing: an engine without any model would not have been announced.
fn declared_models(handoff: &Handoff) -> Option<Arc<[String]>> {
    handoff
        .models
        .as_deref()
        .filter(|models| !models.is_empty())
        .map(Arc::from)
}

/// A replica that takes no new work and is forgotten with its last lease.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) generation: u64,
    pub(crate) claimed: u32,
}
