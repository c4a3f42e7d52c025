//! Context lengths: what a request probably needs, and what an engine says when it needs more than
//! there is. No I/O.
//!
//! No number of bytes tells the number of tokens: a token stands for one byte or for a hundred, an
//! image for as many as its engine likes, and a template may drop parts of a request. So an
//! estimate only orders endpoints: one that seems too small gets the request when no other can take
//! it now. Only an engine's own refusal excludes endpoints: those whose known context is no larger.

use admission::ContextNeed;
use http::StatusCode;
use serde::Deserialize;

/// English text has about four bytes a token.
const BYTES_PER_TOKEN: usize = 4;
/// A smaller request fits every context in use.
const SMALLEST_ESTIMATED_BYTES: usize = 4 * 1024;
/// Refusals are short. A longer answer is something else.
const LONGEST_REFUSAL_BYTES: usize = 16 * 1024;

/// How engines name the problem, in lower case: llama.cpp; OpenAI and llama-cpp-python; vLLM;
/// SGLang and LM Studio; TGI.
const SIGNS: [&str; 5] = [
    "exceed_context_size_error",
    "context_length_exceeded",
    "maximum context length",
    "context length",
    "`inputs` tokens + `max_new_tokens` must be",
];

/// What a request with this body probably needs.
pub(crate) fn estimate(body: &[u8]) -> ContextNeed {
    let likely = (body.len() >= SMALLEST_ESTIMATED_BYTES)
        .then(|| u32::try_from(body.len() / BYTES_PER_TOKEN).unwrap_or(u32::MAX));
    ContextNeed {
        at_least: None,
        likely,
    }
}

/// The context that the request needs, when `body` is the refusal of an engine for which it is too
/// long. `known` is the context of that engine, as far as it is known.
pub(crate) fn refused(status: StatusCode, body: &[u8], known: Option<u32>) -> Option<u32> {
    let may_be = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    );
    if !may_be || body.len() > LONGEST_REFUSAL_BYTES {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?.to_ascii_lowercase();
    if !SIGNS.iter().any(|sign| text.contains(sign)) {
        return None;
    }
    let error = serde_json::from_str::<Refusal>(&text)
        .map(|refusal| refusal.error)
        .unwrap_or_default();
    // More than the engine has, and more than the prompt: there is an answer as well.
    let refused = known.max(error.n_ctx).max(error.n_prompt_tokens)?;
    refused.checked_add(1)
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

/// What llama.cpp adds to its refusal.
#[derive(Default, Deserialize)]
struct RefusalError {
    n_prompt_tokens: Option<u32>,
    n_ctx: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-121
    #[test]
    fn refusals_of_engines_are_recognised() {
        let bad = StatusCode::BAD_REQUEST;
        for (status, body, known, needed) in [
            // Recorded from runs.
            (
                bad,
                include_str!("refusals/llamacpp-b10434.json"),
                None,
                Some(5005),
            ),
            (
                bad,
                include_str!("refusals/llama-cpp-python-0.3.36.json"),
                Some(1024),
                Some(1025),
            ),
            // From the sources of the versions.
            (
                bad,
                include_str!("refusals/vllm-0.33.0.json"),
                Some(4096),
                Some(4097),
            ),
            (
                bad,
                include_str!("refusals/sglang-0.5.23.json"),
                Some(4096),
                Some(4097),
            ),
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                include_str!("refusals/tgi-3.3.6.json"),
                Some(4096),
                Some(4097),
            ),
            (
                bad,
                r#"{"error":{"message":"maximum context length"}}"#,
                None,
                None,
            ),
            (
                bad,
                r#"{"error":{"message":"'messages' is required"}}"#,
                Some(1),
                None,
            ),
            (StatusCode::OK, "maximum context length", Some(1), None),
        ] {
            assert_eq!(refused(status, body.as_bytes(), known), needed, "{body}");
        }
        let long = format!("maximum context length {}", "x".repeat(20_000));
        assert_eq!(refused(bad, long.as_bytes(), Some(1)), None);
    }

    // spec: PATH-120
    #[test]
    fn an_estimate_never_excludes() {
        assert_eq!(estimate(b"{}"), ContextNeed::default());
        let large = estimate(&[b'x'; 40_000]);
        assert_eq!((large.at_least, large.likely), (None, Some(10_000)));
    }
}
