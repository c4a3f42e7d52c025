//! The readiness path of each kind of engine.

use pool_registry_types::EngineKind;

/// The path at which every engine lists its models.
pub(crate) const MODELS: &str = "/v1/models";

/// The path at which this kind of engine reports, at little cost, whether it takes requests.
pub(crate) fn readiness_path(kind: &EngineKind) -> &'static str {
    match kind.as_str() {
        // llama-server: 503 while it loads the model. vLLM: 503 when its engine has died; refuses
        // connections while it loads. TGI: 503 when its backend is not healthy.
        "llamacpp" | "vllm" | "tgi" => "/health",
        // Its /health generates a token and takes a second.
        "sglang" => "/ready",
        // It has no health endpoint, but always answers with its version.
        "ollama" => "/api/version",
        // Every engine must support the OpenAI API.
        _ => MODELS,
    }
}
