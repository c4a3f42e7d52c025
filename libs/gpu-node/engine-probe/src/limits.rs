//! The table of limits for documents.

use pool_registry_types::limits::Limit;

use crate::{
    abandoned_requests::MAX_ANSWER_BYTES, answer::MAX_WORDS, probe::MAX_BODY_BYTES,
    prober::MAX_CONCURRENT,
};

/// All limits of this crate.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_BODY_BYTES", MAX_BODY_BYTES as u64, "bytes")
        .because("An engine's answer to a probe.")
        .enforced_by("engine-probe")
        .beyond("the probe has failed"),
    Limit::new("MAX_ANSWER_BYTES", MAX_ANSWER_BYTES as u64, "bytes")
        .because("`/slots` of `llama-server`.")
        .enforced_by("engine-probe")
        .beyond("it counts as not answered, and is asked again"),
    Limit::new("MAX_CONCURRENT", MAX_CONCURRENT as u64, "probes")
        .because("Simultaneous probes of a node.")
        .enforced_by("engine-probe")
        .beyond("the next one waits"),
    Limit::new("MAX_WORDS", MAX_WORDS as u64, "characters")
        .because("The quote of an engine's text in a reason.")
        .enforced_by("engine-probe")
        .beyond("the text is cut"),
];
