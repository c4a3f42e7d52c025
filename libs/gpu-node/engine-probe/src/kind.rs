//! Where each kind of engine says that it is ready.

use pool_registry_types::EngineKind;

/// Where every engine of this field names its models.
pub(crate) const MODELS: &str = "/v1/models";

/// Where this kind of engine says whether it takes requests, at little cost to it.
pub(crate) fn readiness_path(kind: &EngineKind) -> &'static str {
    match kind.as_str() {
        // llama-server: 503 while it loads the model. vLLM: 503 when its engine has died; refuses
        // connections while it loads. TGI: 503 when its backend is not healthy.
        "llamacpp" | "vllm" | "tgi" => "/health",
        // Its /health generates a token and takes a second.
        "sglang" => "/ready",
        // It has no notion of health, but its version is always at hand.
        "ollama" => "/api/version",
        // Whatever it is, it speaks OpenAI's protocol, or nobody could use it.
        _ => MODELS,
    }
}
