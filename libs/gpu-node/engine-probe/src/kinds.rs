//! The kinds of engines. Each has a file with its paths and the meaning of its answers.

mod llama_cpp;
mod llama_cpp_python;
mod lm_studio;
mod local_ai;
mod ollama;
mod openai;
mod sglang;
mod tgi;
mod vllm;

use pool_registry_types::{EngineKind, KnownEngine};

use crate::dialect::Dialect;

/// How an engine of this kind is asked. An engine of unknown kind is asked like any server with the
/// OpenAI API.
pub(crate) fn dialect(kind: &EngineKind) -> &'static dyn Dialect {
    match kind.known() {
        Some(KnownEngine::LlamaCpp) => &llama_cpp::LlamaCpp,
        Some(KnownEngine::LlamaCppPython) => &llama_cpp_python::LlamaCppPython,
        Some(KnownEngine::Vllm) => &vllm::Vllm,
        Some(KnownEngine::Sglang) => &sglang::Sglang,
        Some(KnownEngine::Ollama) => &ollama::Ollama,
        Some(KnownEngine::Tgi) => &tgi::Tgi,
        Some(KnownEngine::LmStudio) => &lm_studio::LmStudio,
        Some(KnownEngine::LocalAi) => &local_ai::LocalAi,
        _ => &openai::OpenAi,
    }
}
