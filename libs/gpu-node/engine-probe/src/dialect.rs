//! How a kind of engine is asked: data, and one small trait for what its answers mean.

use pool_registry_types::EngineLoad;

use crate::answer::ModelList;

/// The path at which every engine lists its models.
pub(crate) const MODELS: &str = "/v1/models";

/// What is known of a kind of engine without asking it.
#[derive(Debug)]
pub(crate) struct Profile {
    /// How an engine at an unknown URL is recognised as one of this kind.
    pub(crate) identity: Identity,
    /// The path at which it reports, at little cost, whether it takes requests.
    pub(crate) readiness: &'static str,
    /// What else it is asked, in this order.
    pub(crate) questions: &'static [Question],
    /// It shows at `/slots` which tasks run, so that the slot of an abandoned request can be kept.
    pub(crate) reports_tasks: bool,
    /// A probe interrupts a request that runs, or waits for its end, so it is only asked while none
    /// runs.
    pub(crate) is_asked_when_idle: bool,
}

/// What only engines of one kind say.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The owners that it names for its models (`owned_by`), where they name the engine.
    pub(crate) owners: &'static [&'static str],
    /// Answers that no other kind gives. One of them is enough.
    pub(crate) marks: &'static [Mark],
}

/// An answer that shows the kind of an engine.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) path: &'static str,
    pub(crate) shows: Shows,
}

/// What an answer has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// JSON with a value at this pointer.
    Value(&'static str),
    /// JSON with a text at this pointer that holds this part.
    Text(&'static str, &'static str),
    /// A line of metrics that begins with this.
    Metric(&'static str),
}

/// `path` shows the kind.
pub(crate) const fn mark(path: &'static str, shows: Shows) -> Mark {
    Mark { path, shows }
}

/// A request for figures.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) path: &'static str,
    pub(crate) figures: Figures,
}

/// Which figures an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figures {
    /// What stays while the engine runs: version, slots, context length.
    Traits,
    /// What changes with requests.
    Load,
    /// Both.
    Both,
}

/// Asks for `figures` at `path`.
pub(crate) const fn ask(path: &'static str, figures: Figures) -> Question {
    Question { path, figures }
}

/// What an engine has reported. What it has not reported is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) models: Option<ModelList>,
    /// The most tokens of one request.
    pub(crate) context_length: Option<u32>,
    pub(crate) slots: Option<u32>,
    pub(crate) version: Option<String>,
    pub(crate) load: EngineLoad,
    /// It says that it serves no metrics.
    pub(crate) metrics_off: bool,
    /// The paths whose answers were understood.
    pub(crate) understood: Vec<&'static str>,
}

impl Report {
    /// Whether the answer of `path` was understood.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.understood.contains(&path)
    }
}

/// One kind of engine.
pub(crate) trait Dialect: Sync {
    /// Its paths.
    fn profile(&self) -> &'static Profile;

    /// Whether the question at `path` is worth a request, after what has been reported.
    fn is_worth_asking(&self, _path: &str, _report: &Report) -> bool {
        true
    }

    /// Takes figures from a successful answer of `path`: of a question, or of the readiness path.
    /// Returns false when the answer has another format.
    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool;

    /// Completes the list of models that the engine gave.
    fn complete_models(&self, _list: &mut ModelList) {}
}
