//! Tests of version, slots, context length and load from recorded answers.

use pool_registry_types::{EngineKind, EngineLoad, KnownEngine};
use proptest::prelude::*;

use crate::{dialect::Report, kinds::dialect};

/// What the answers of an engine say together.
fn report(engine: &str, answers: &[(&'static str, &[u8])]) -> Report {
    let dialect = dialect(&EngineKind::new(engine).unwrap());
    let mut report = Report::default();
    for (path, body) in answers {
        if dialect.read(path, body, &mut report) {
            report.understood.push(path);
        }
    }
    report
}

fn load(running: u32, waiting: u32) -> EngineLoad {
    EngineLoad::of_requests(Some(running), Some(waiting))
}

// spec: PROBE-7, PROBE-12
#[test]
fn llama_server() {
    let props = include_bytes!("recorded/llamacpp-b10434/props.json");
    let metrics = include_bytes!("recorded/llamacpp-b10434/metrics.txt");
    let single = report("llamacpp", &[("/props", props), ("/metrics", metrics)]);
    assert_eq!(single.slots, Some(3));
    assert_eq!(single.version.as_deref(), Some("b10434-7e4c0a9"));
    assert_eq!(single.context_length, Some(2048), "of one slot");
    assert_eq!(
        (
            single.load.running,
            single.load.waiting,
            single.load.sleeping
        ),
        (Some(3), Some(2), Some(false))
    );
    let router = report(
        "llamacpp",
        &[
            (
                "/props",
                include_bytes!("recorded/llamacpp-b10434/router_props.json"),
            ),
            (
                "/models",
                include_bytes!("recorded/llamacpp-b10434/router_models.json"),
            ),
        ],
    );
    assert_eq!((router.slots, router.context_length), (None, None));
    assert_eq!(router.load.models_loaded.unwrap(), ["tiny"]);
    let no_router = report("llamacpp", &[("/models", br#"{"data":[{"id":"tiny"}]}"#)]);
    assert_eq!(no_router, Report::default());
    let off = report("llamacpp", &[("/props", br#"{"endpoint_metrics":false}"#)]);
    assert!(off.metrics_off);
}

// spec: PROBE-7
#[test]
fn llama_cpp_python_computes_one_request_at_a_time() {
    let description = include_bytes!("recorded/llama-cpp-python-0.3.36/openapi.json");
    let report = report("llama-cpp-python", &[("/openapi.json", description)]);
    assert_eq!(report.slots, Some(1));
    assert_eq!(report.version.as_deref(), Some("0.3.36"));
}

// spec: PROBE-7
#[test]
fn vllm_over_all_its_ranks_old_and_new() {
    let vllm_metrics = |text: &str| report("vllm", &[("/metrics", text.as_bytes())]).load;
    let new = include_str!("recorded/vllm-0.33.0/metrics.txt");
    let expected = |sleeping| {
        let mut load = load(9, 3);
        load.sleeping = Some(sleeping);
        load
    };
    assert_eq!(vllm_metrics(new), expected(false));
    let asleep = new.replace(r#"sleep_state="awake"} 1.0"#, r#"sleep_state="awake"} 0.0"#);
    assert_ne!(asleep, new);
    assert_eq!(vllm_metrics(&asleep), expected(true));
    let half =
        format!("{asleep}vllm:engine_sleep_state{{engine=\"1\",sleep_state=\"awake\"}} 1.0\n");
    assert_eq!(vllm_metrics(&half), expected(false));
    // Swapped requests wait to be continued.
    assert_eq!(
        vllm_metrics(include_str!("recorded/vllm-0.6/metrics.txt")),
        load(1, 2)
    );
    let version = report("vllm", &[("/version", br#"{"version":"0.33.0"}"#)]).version;
    assert_eq!(version.as_deref(), Some("0.33.0"));
}

// spec: PROBE-7
#[test]
fn sglang_over_all_its_ranks() {
    let loads = |text: &str| report("sglang", &[("/v1/loads?include=core", text.as_bytes())]);
    let answer = include_str!("recorded/sglang-0.5.23/loads.json");
    let all = loads(answer);
    assert_eq!(
        (all.slots, all.version.as_deref()),
        (Some(256), Some("0.5.23"))
    );
    assert_eq!(all.load, load(13, 3));
    let silent = loads(&answer.replacen(r#""num_waiting_reqs":0,"#, "", 1));
    assert_eq!((silent.load.running, silent.load.waiting), (Some(13), None));
    assert_eq!(loads(r#"{"loads":[]}"#).load, EngineLoad::default());
    assert!(loads(r#"{"detail":"Not Found"}"#).understood.is_empty());
    let metrics = include_bytes!("recorded/sglang-0.5.23/metrics.txt");
    assert_eq!(report("sglang", &[("/metrics", metrics)]).load, load(4, 9));
}

// spec: PROBE-7, PROBE-12
#[test]
fn ollama_tgi_lm_studio_and_local_ai() {
    let ollama = |body: &[u8]| report("ollama", &[("/api/ps", body)]).load.models_loaded;
    let loaded = ollama(include_bytes!("recorded/ollama-0.12.3/ps.json"));
    assert_eq!(loaded.unwrap(), ["llama3.2:latest"]);
    assert_eq!(ollama(br#"{"models":[]}"#), Some(vec![]));

    let tgi = report(
        "tgi",
        &[
            ("/info", include_bytes!("recorded/tgi-3.3.6/info.json")),
            ("/metrics", include_bytes!("recorded/tgi-3.3.6/metrics.txt")),
        ],
    );
    assert_eq!(
        (tgi.slots, tgi.version.as_deref()),
        (Some(128), Some("3.3.6"))
    );
    assert_eq!((tgi.context_length, tgi.load), (Some(4096), load(6, 1)));

    let own = include_str!("recorded/lmstudio-0.3.6/own_models.json");
    let lm_studio = |text: &str| report("lmstudio", &[("/api/v0/models", text.as_bytes())]);
    let studio = lm_studio(own);
    assert_eq!(
        studio.load.models_loaded.unwrap(),
        ["meta-llama-3.1-8b-instruct"]
    );
    assert_eq!(
        studio.context_length,
        Some(32768),
        "a model not loaded yet may get as much"
    );
    let unknown = own.replace("\"max_context_length\":32768", "\"x\":1");
    assert_eq!(lm_studio(&unknown).context_length, None);

    let local_ai = report(
        "localai",
        &[
            ("/version", br#"{"version":"2.26.0 (a1b2c3d4)"}"#),
            (
                "/system",
                include_bytes!("recorded/localai-2.26.0/system.json"),
            ),
        ],
    );
    assert_eq!(local_ai.version.as_deref(), Some("2.26.0 (a1b2c3d4)"));
    assert_eq!(local_ai.load.models_loaded.unwrap(), ["my-llama-model"]);
}

#[test]
fn invalid_counts_are_ignored() {
    for odd in ["-1", "1.5", "NaN", "+Inf", "1e300", "many"] {
        let text = format!("tgi_batch_current_size {odd}\n");
        let load = report("tgi", &[("/metrics", text.as_bytes())]).load;
        assert_eq!(load, EngineLoad::default(), "{odd}");
    }
    for odd in ["-1", "1.5", "\"4\"", "null", "99999999999"] {
        let text = format!(r#"{{"total_slots":{odd}}}"#);
        let slots = report("llamacpp", &[("/props", text.as_bytes())]).slots;
        assert_eq!(slots, None, "{odd}");
    }
    for nothing in [&b""[..], b"{}", b"[]", br#"{"version":1}"#] {
        assert_eq!(report("vllm", &[("/version", nothing)]), Report::default());
    }
}

proptest! {
    // spec: PROBE-5
    #[test]
    fn every_answer_can_be_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        json in r#"[\[\]{}":,a-z0-9]{0,60}"#,
    ) {
        for kind in KnownEngine::all() {
            let dialect = dialect(&kind.into());
            for question in dialect.profile().questions {
                for answer in [&bytes[..], json.as_bytes()] {
                    dialect.read(question.path, answer, &mut Report::default());
                }
            }
        }
    }
}
