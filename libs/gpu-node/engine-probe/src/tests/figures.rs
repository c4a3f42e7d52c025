//! Tests of slots and load from recorded answers.

use pool_registry_types::EngineLoad;
use proptest::prelude::*;

use crate::figures::{
    Loads, Props, llama_loaded, llama_metrics, ollama_loaded, props, sglang_loads, sglang_metrics,
    tgi_info, tgi_metrics, version, vllm_metrics,
};

fn load(running: u32, waiting: u32) -> EngineLoad {
    EngineLoad {
        running: Some(running),
        waiting: Some(waiting),
        ..EngineLoad::default()
    }
}

// spec: PROBE-7
#[test]
fn llama_server() {
    assert_eq!(
        props(include_bytes!("recorded/llama_props.json")),
        Props {
            slots: Some(3),
            version: Some("b10434-7e4c0a9".to_owned()),
            sleeping: Some(false),
            has_metrics: true,
        }
    );
    assert_eq!(
        llama_metrics(include_bytes!("recorded/llama_metrics.txt")),
        load(3, 2)
    );
    let router = props(include_bytes!("recorded/llama_props_router.json"));
    assert_eq!((router.slots, router.sleeping), (None, None));
    let models = include_bytes!("recorded/llama_models_router.json");
    assert_eq!(llama_loaded(models).unwrap(), ["tiny"]);
    assert_eq!(
        llama_loaded(br#"{"data":[{"id":"tiny"}]}"#),
        None,
        "no router"
    );
    assert!(!props(br#"{"endpoint_metrics":false}"#).has_metrics);
}

// spec: PROBE-7
#[test]
fn vllm_over_all_its_ranks_old_and_new() {
    let new = include_str!("recorded/vllm_metrics.txt");
    let expected = |sleeping| EngineLoad {
        sleeping: Some(sleeping),
        ..load(9, 3)
    };
    assert_eq!(vllm_metrics(new.as_bytes()), expected(false));
    let asleep = new.replace(r#"sleep_state="awake"} 1.0"#, r#"sleep_state="awake"} 0.0"#);
    assert_ne!(asleep, new);
    assert_eq!(vllm_metrics(asleep.as_bytes()), expected(true));
    let half =
        format!("{asleep}vllm:engine_sleep_state{{engine=\"1\",sleep_state=\"awake\"}} 1.0\n");
    assert_eq!(vllm_metrics(half.as_bytes()), expected(false));
    // Swapped requests wait to be continued.
    assert_eq!(
        vllm_metrics(include_bytes!("recorded/vllm_metrics_old.txt")),
        load(1, 2)
    );
    assert_eq!(
        version(br#"{"version":"0.33.0"}"#).as_deref(),
        Some("0.33.0")
    );
}

// spec: PROBE-7
#[test]
fn sglang_over_all_its_ranks() {
    let answer = include_str!("recorded/sglang_loads.json");
    assert_eq!(
        sglang_loads(answer.as_bytes()).unwrap(),
        Loads {
            slots: Some(256),
            version: Some("0.5.23".to_owned()),
            load: load(13, 3),
        }
    );
    let silent = answer.replacen(r#""num_waiting_reqs":0,"#, "", 1);
    let of_silent = sglang_loads(silent.as_bytes()).unwrap();
    assert_eq!(
        (of_silent.load.running, of_silent.load.waiting),
        (Some(13), None)
    );
    let none = sglang_loads(br#"{"loads":[]}"#).unwrap();
    assert_eq!(none, Loads::default());
    assert_eq!(sglang_loads(br#"{"detail":"Not Found"}"#), None);
    assert_eq!(
        sglang_metrics(include_bytes!("recorded/sglang_metrics.txt")),
        load(4, 9)
    );
}

// spec: PROBE-7
#[test]
fn ollama_and_tgi() {
    let loaded = ollama_loaded(include_bytes!("recorded/ollama_ps.json")).unwrap();
    assert_eq!(loaded, ["llama3.2:latest"]);
    assert_eq!(ollama_loaded(br#"{"models":[]}"#), Some(vec![]));
    let (slots, version) = tgi_info(include_bytes!("recorded/tgi_info.json"));
    assert_eq!((slots, version.as_deref()), (Some(128), Some("3.3.6")));
    assert_eq!(
        tgi_metrics(include_bytes!("recorded/tgi_metrics.txt")),
        load(6, 1)
    );
}

#[test]
fn invalid_counts_are_ignored() {
    for odd in ["-1", "1.5", "NaN", "+Inf", "1e300", "many"] {
        let text = format!("tgi_batch_current_size {odd}\n");
        assert_eq!(tgi_metrics(text.as_bytes()), EngineLoad::default(), "{odd}");
    }
    for odd in ["-1", "1.5", "\"4\"", "null", "99999999999"] {
        assert_eq!(
            props(format!(r#"{{"total_slots":{odd}}}"#).as_bytes()).slots,
            None,
            "{odd}"
        );
    }
    for nothing in [&b""[..], b"{}", b"[]", br#"{"version":1}"#] {
        assert_eq!(version(nothing), None);
    }
}

proptest! {
    // spec: PROBE-5
    #[test]
    fn every_answer_can_be_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        json in r#"[\[\]{}":,a-z0-9]{0,60}"#,
    ) {
        for answer in [&bytes[..], json.as_bytes()] {
            props(answer);
            llama_metrics(answer);
            llama_loaded(answer);
            vllm_metrics(answer);
            sglang_loads(answer);
            sglang_metrics(answer);
            ollama_loaded(answer);
            tgi_info(answer);
            tgi_metrics(answer);
            version(answer);
        }
    }
}
