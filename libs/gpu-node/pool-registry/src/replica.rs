//! One replica: its handoff, what probes found, and how many of its slots are claimed.

use std::sync::Arc;

use pool_registry_types::{
    EngineLoad, ErrorText, Handoff, MAX_MODEL_NAME_BYTES, MAX_MODELS, ModelName, ReplicaStatus,
    Slots, Text, usable_models,
};

use crate::{
    engine_key::EngineKey,
    probe::{
        ProbeOutcome, ReplicaChange, usable_context, usable_load, usable_reason, usable_version,
    },
};

/// This many failed probes in a row make a replica not ready. One failure may be a busy moment, two
/// a coincidence. With a probe every two seconds a dead engine is detected within six seconds; the
/// data path detects it sooner.
pub const FAILURE_THRESHOLD: u32 = 3;

/// A live replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) handoff: Arc<Handoff>,
    /// Rises with each start of its engine; never used twice by one registry.
    pub(crate) generation: u64,
    /// Rises with each handoff of this generation.
    pub(crate) revision: u64,
    /// Leases that are held.
    pub(crate) claimed: u32,
    failures_in_a_row: u32,
    not_ready: Option<Arc<str>>,
    declared_models: Option<Arc<[ModelName]>>,
    probed_models: Option<Arc<[ModelName]>>,
    /// How many of the models that the engine lists are not among `probed_models`.
    models_left_out: usize,
    probed_version: Option<Text>,
    probed_slots: Option<u32>,
    context_length: Option<u32>,
    owned_by: Option<Text>,
    key: Option<EngineKey>,
    load: EngineLoad,
    verification: Verification,
}

/// Whether the first probe of a replica decides that it takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verification {
    /// Its starter has just announced it.
    NotNeeded,
    /// No probe has ended yet.
    Pending,
    /// No probe has succeeded yet, which was reported.
    Failed,
    Done,
}

/// How much a handoff says about its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// The starter of the engine has written it just now: the replica is ready at once.
    #[default]
    Fresh,
    /// The engine may have ended since: the replica is ready after its first good probe, and each
    /// probe checks the kind of its engine.
    Unverified,
}

/// Why a replica takes no requests yet.
const NOT_VERIFIED: &str = "the engine has not answered a probe yet";

impl Replica {
    /// A replica that was just announced. It is ready until probes fail.
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
            context_length: None,
            owned_by: None,
            key: None,
            load: EngineLoad::default(),
            verification: Verification::NotNeeded,
        }
    }

    /// A replica that takes no requests before its first good probe.
    pub(crate) fn unverified(handoff: Handoff, generation: u64) -> Self {
        Self {
            verification: Verification::Pending,
            failures_in_a_row: FAILURE_THRESHOLD,
            not_ready: Some(NOT_VERIFIED.into()),
            ..Self::new(handoff, generation)
        }
    }

    /// Whether probes also check the kind of its engine.
    pub(crate) fn verifies_kind(&self) -> bool {
        self.verification != Verification::NotNeeded
    }

    /// A replica that was scaled to zero and has `claimed` requests waiting for it.
    pub(crate) fn started(handoff: Handoff, generation: u64, claimed: u32) -> Self {
        Self {
            claimed,
            ..Self::new(handoff, generation)
        }
    }

    /// Whether `handoff` announces the engine that this replica already has.
    pub(crate) fn is_same_engine(&self, handoff: &Handoff) -> bool {
        self.handoff.url == handoff.url && self.handoff.engine == handoff.engine
    }

    /// Applies a new handoff of the same engine. A trusted one makes it ready like the first one.
    /// Probed models and slots stay until the next probe. Returns false when nothing changed.
    pub(crate) fn update_handoff(
        &mut self,
        handoff: Handoff,
        key: Result<Option<EngineKey>, String>,
        trust: Trust,
    ) -> bool {
        let trusts = trust == Trust::Fresh;
        if *self.handoff == handoff && trusts != self.verifies_kind() {
            return false;
        }
        self.declared_models = declared_models(&handoff);
        self.handoff = Arc::new(handoff);
        self.revision += 1;
        if trusts {
            self.verification = Verification::NotNeeded;
            self.failures_in_a_row = 0;
            self.not_ready = None;
        } else if self.verification == Verification::NotNeeded {
            // It stays as the probes have found it.
            self.verification = Verification::Done;
        }
        self.set_key(key);
        true
    }

    /// Sets the key of its engine. Without a key that it should have, it is not ready.
    pub(crate) fn set_key(&mut self, key: Result<Option<EngineKey>, String>) {
        match key {
            Ok(key) => self.key = key,
            Err(reason) => {
                self.key = None;
                self.failures_in_a_row = FAILURE_THRESHOLD;
                self.not_ready = Some(usable_reason(&reason).into());
            }
        }
    }

    /// The key that its engine demands.
    pub(crate) fn key(&self) -> Option<&EngineKey> {
        self.key.as_ref()
    }

    /// Applies the outcome of a probe and returns what it changed.
    pub(crate) fn probed(&mut self, outcome: ProbeOutcome) -> Vec<ReplicaChange> {
        if let Some(version) = outcome.engine_version.as_deref().and_then(usable_version) {
            self.probed_version = Some(version);
        }
        self.context_length = (outcome.context_length)
            .and_then(usable_context)
            .or(self.context_length);
        if let Some(owner) = outcome.owned_by.as_deref().and_then(usable_version) {
            self.owned_by = Some(owner);
        }
        let left_out = outcome
            .models
            .and_then(|models| self.set_probed_models(models));
        if let Some(load) = outcome.load {
            self.load = usable_load(load);
        }
        let readiness = if outcome.ready {
            self.succeeded()
        } else {
            if outcome.is_definite {
                self.failures_in_a_row = FAILURE_THRESHOLD;
            }
            self.failed(outcome.reason.as_deref())
        };
        readiness
            .into_iter()
            .chain(self.set_probed_slots(outcome.slots))
            .chain(left_out)
            .collect()
    }

    fn set_probed_models(&mut self, models: Vec<String>) -> Option<ReplicaChange> {
        let (models, left_out) = usable_models(models);
        let kept = models.len();
        if self.probed_models.as_deref() != Some(&models[..]) {
            self.probed_models = Some(models.into());
        }
        let before = std::mem::replace(&mut self.models_left_out, left_out);
        (before != left_out).then_some(ReplicaChange::ModelsLeftOut { kept, left_out })
    }

    fn succeeded(&mut self) -> Option<ReplicaChange> {
        self.failures_in_a_row = 0;
        let was_not_ready = self.not_ready.take().is_some();
        match self.verification {
            Verification::Pending | Verification::Failed => {
                self.verification = Verification::Done;
                Some(ReplicaChange::Verified)
            }
            _ => was_not_ready.then_some(ReplicaChange::ReadyAgain),
        }
    }

    fn failed(&mut self, reason: Option<&str>) -> Option<ReplicaChange> {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.failures_in_a_row < FAILURE_THRESHOLD {
            return None;
        }
        let reason = usable_reason(reason.unwrap_or("the engine is not ready"));
        // The last reported load is outdated.
        self.load = EngineLoad::default();
        let before = self.not_ready.replace(reason.as_str().into());
        if self.verification == Verification::Pending {
            self.verification = Verification::Failed;
            return Some(ReplicaChange::NotVerified { reason });
        }
        before
            .is_none()
            .then_some(ReplicaChange::NotReady { reason })
    }

    /// Applies the engine's own slot count. Zero is ignored: an engine without slots would not have
    /// been announced.
    fn set_probed_slots(&mut self, slots: Option<u32>) -> Option<ReplicaChange> {
        let before = self.slots();
        self.probed_slots = slots.filter(|slots| *slots > 0).or(self.probed_slots);
        let (actual, announced) = (self.slots(), self.handoff.slots());
        (actual != before).then_some(if actual < announced {
            ReplicaChange::FewerSlots { announced, actual }
        } else {
            ReplicaChange::SlotsAsAnnounced { announced }
        })
    }

    /// How many requests it gets at once: the slots of its handoff, or fewer if the engine reports
    /// fewer.
    pub(crate) fn slots(&self) -> u32 {
        let announced = self.handoff.slots();
        (self.probed_slots).map_or(announced, |actual| actual.min(announced))
    }

    /// The slots of its handoff, if the engine has fewer.
    pub(crate) fn slots_promised(&self) -> Option<u32> {
        Some(self.handoff.slots()).filter(|announced| *announced != self.slots())
    }

    /// The most tokens of one request, as the engine reports it.
    pub(crate) fn context_length(&self) -> Option<u32> {
        self.context_length
    }

    /// Who owns its models, as the engine reports it.
    pub(crate) fn owned_by(&self) -> Option<&Text> {
        self.owned_by.as_ref()
    }

    /// The load that the engine last reported.
    pub(crate) fn load(&self) -> &EngineLoad {
        &self.load
    }

    /// Why it takes no requests; `None` when it takes them.
    pub(crate) fn not_ready(&self) -> Option<&Arc<str>> {
        self.not_ready.as_ref()
    }

    /// The `last_error` of its status: why it takes no requests, or else how many of its models are
    /// not offered.
    pub(crate) fn last_error(&self) -> Option<ErrorText> {
        let left_out = self.models_left_out;
        let offered = self.models().map_or(0, |models| models.len());
        match &self.not_ready {
            Some(reason) => Some(ErrorText::cut(reason)),
            None if left_out > 0 && !self.declares_models() => Some(ErrorText::cut(&format!(
                "{offered} of its models are offered and {left_out} are not: a replica has at \
                 most {MAX_MODELS}, with names of at most {MAX_MODEL_NAME_BYTES} bytes; name \
                 those to offer in the handoff"
            ))),
            None => None,
        }
    }

    /// The models it serves; `None` while they are not known. Models in the handoff take precedence
    /// over what the engine reports.
    pub(crate) fn models(&self) -> Option<&Arc<[ModelName]>> {
        self.declared_models
            .as_ref()
            .or(self.probed_models.as_ref())
    }

    /// Whether its handoff declares its models, so that the engine need not be asked.
    pub(crate) fn declares_models(&self) -> bool {
        self.declared_models.is_some()
    }

    /// Whether its models are known and `model` is one of them.
    pub(crate) fn names(&self, model: &str) -> bool {
        self.models()
            .is_some_and(|models| models.iter().any(|name| *name == *model))
    }

    /// The version in the handoff, else the version that the engine reported.
    pub(crate) fn engine_version(&self) -> Option<&Text> {
        self.handoff
            .engine_version
            .as_ref()
            .or(self.probed_version.as_ref())
    }
}

/// An empty list declares nothing: an engine without models would not have been announced.
fn declared_models(handoff: &Handoff) -> Option<Arc<[ModelName]>> {
    handoff
        .models
        .as_deref()
        .filter(|models| !models.is_empty())
        .map(Arc::from)
}

/// A replica whose engine is stopped until a request needs it.
#[derive(Debug)]
pub(crate) struct ScaledToZeroReplica {
    /// As it was announced before, with its models. Nothing listens at its URL.
    pub(crate) handoff: Arc<Handoff>,
    /// The generation that it will have when it starts.
    pub(crate) generation: u64,
    /// Requests that wait for it. They keep their slots when it starts.
    pub(crate) claimed: u32,
}

impl ScaledToZeroReplica {
    pub(crate) fn free_slots(&self) -> u32 {
        self.handoff.slots().saturating_sub(self.claimed)
    }

    pub(crate) fn names(&self, model: &str) -> bool {
        (self.handoff.models.iter().flatten()).any(|name| *name == *model)
    }

    pub(crate) fn serves(&self, model: Option<&str>) -> bool {
        model.is_none_or(|model| self.handoff.models.is_none() || self.names(model))
    }

    pub(crate) fn status(&self, draining: bool) -> ReplicaStatus {
        let mut replica = ReplicaStatus::new(self.handoff.replica_id.clone())
            .with_slots(Slots::clamped(self.free_slots(), self.handoff.slots()));
        replica.ready = true;
        replica.models = self.handoff.models.clone();
        replica.draining = draining;
        replica.generation = Some(self.generation);
        replica.load.sleeping = Some(true);
        replica
    }
}

/// A replica that takes no new requests and is forgotten with its last lease.
#[derive(Debug)]
pub(crate) struct RetiredReplica {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) generation: u64,
    pub(crate) claimed: u32,
}
