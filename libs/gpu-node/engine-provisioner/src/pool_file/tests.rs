//! Tests of the pool file and its problems.

use std::time::Duration;

use pool_registry_types::{
    Handoff, MAX_HANDOFF_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES, limits::MAX_URL_BYTES,
};
use proptest::prelude::*;

use super::*;
use crate::{Launch, OnAgentStop, RestartPolicy, handoff_directory::handoff};

const LLAMA: &str = r#"
[[pool]]
id = "chat"
engine = "llamacpp"
binary = "/opt/llama-server"
model = "/models/tiny.gguf"
context = 2048
slots = 4
device_mask = "GPU0,GPU1"
models = ["tiny"]
replicas = 2
threads = 6
args = ["--metrics"]
"#;

fn wrong(text: &str) -> String {
    PoolFile::parse(text).unwrap_err().to_string()
}

// spec: PROV-15
#[test]
fn a_llama_server_needs_no_command() {
    let file = PoolFile::parse(LLAMA).unwrap();
    let pool = &file.pools[0];
    assert_eq!(pool.program(), "/opt/llama-server");
    assert_eq!(
        pool.arguments("8081").join(" "),
        "--host 127.0.0.1 --port 8081 --model /models/tiny.gguf --parallel 4 --ctx-size 8192 \
         --alias tiny --threads 6 --metrics"
    );
    let environment = pool.environment("8081");
    assert_eq!(environment["CUDA_VISIBLE_DEVICES"], "0,1");
    assert_eq!(environment["CUDA_DEVICE_ORDER"], "PCI_BUS_ID");
    let replicas: Vec<String> = pool.replica_ids().map(|id| id.to_string()).collect();
    assert_eq!(replicas, ["r0", "r1"]);
    assert_eq!(
        (pool.restart, pool.on_agent_stop),
        (RestartPolicy::OnFailure, OnAgentStop::Stop)
    );
}

// spec: PROV-14
#[test]
fn a_command_is_used_unchanged() {
    let file = PoolFile::parse(
        r#"
        [[pool]]
        id = "v"
        engine = "vllm"
        command = ["vllm", "serve", "m", "--port={port}"]
        slots = 0x10
        port = 8_081
        restart = "always"
        on_agent_stop = "leave"
        ready_timeout_secs = 5
        drain_timeout_secs = 0
        stop_grace_secs = 7
        env = { HOST = "127.0.0.1:{port}", KEY = "s3cret" }
        "#,
    )
    .unwrap();
    let pool = &file.pools[0];
    assert!(matches!(&pool.launch, Launch::Command(argv) if argv.len() == 4));
    assert_eq!(pool.arguments("8081"), ["serve", "m", "--port=8081"]);
    assert_eq!(pool.environment("8081")["HOST"], "127.0.0.1:8081");
    assert!(
        !pool
            .environment("8081")
            .contains_key("CUDA_VISIBLE_DEVICES")
    );
    assert_eq!((pool.slots, pool.port, pool.replicas), (16, Some(8081), 1));
    assert_eq!(pool.ready_timeout, Duration::from_secs(5));
    assert_eq!(
        (pool.drain_timeout, pool.stop_grace),
        (Duration::ZERO, Duration::from_secs(7))
    );
    assert!(!format!("{file:?}").contains("s3cret"));
}

#[test]
fn a_changed_configuration_has_another_fingerprint() {
    let base = PoolFile::parse(LLAMA).unwrap().pools.remove(0);
    for (old, new) in [
        ("context = 2048", "context = 2049"),
        ("tiny.gguf", "other.gguf"),
        ("GPU0,GPU1", "GPU0"),
        ("--metrics", "--no-metrics"),
        ("slots = 4", "slots = 4\nenv = { A = \"1\" }"),
        ("slots = 4", "slots = 4\napi_key_file = \"/etc/key\""),
    ] {
        let changed = PoolFile::parse(&LLAMA.replace(old, new))
            .unwrap()
            .pools
            .remove(0);
        assert_ne!(base.fingerprint(), changed.fingerprint(), "{new}");
    }
    let timeout = LLAMA.replace("slots = 4", "slots = 4\nstop_grace_secs = 99");
    let timeout = PoolFile::parse(&timeout).unwrap().pools.remove(0);
    assert_eq!(base.fingerprint(), timeout.fingerprint());
}

// spec: PROV-1
#[test]
fn all_problems_are_reported_together_with_their_lines() {
    let problems = PoolFile::parse(
        r#"colour = "red"
[[pool]]
id = "a b"
engine = "llamacpp"
slots = 0
slotz = 4
model = 7
restart = "maybe"
env = { A = 1 }

[[pool]]
engine = "vllm"
command = ["vllm"]
binary = "x"
device_mask = "card0"
port = 70000
api_key_file = "engine.key"
"#,
    )
    .unwrap_err();
    let found: Vec<(usize, &str)> = problems
        .iter()
        .map(|problem| (problem.line, problem.what.as_str()))
        .collect();
    for (line, what) in [
        (1, "unknown key `colour`"),
        (3, "pool_id must be"),
        (5, "`slots` must be a number from 1 to 65536, not 0"),
        (6, "unknown key `slotz`; there are"),
        (7, "`model` must be a string in quotes, not 7"),
        (2, "`binary` is missing"),
        (2, "`context` is missing"),
        (
            8,
            "`restart` must be one of \"always\", \"on-failure\", \"never\"",
        ),
        (9, "`env`: \"A\" must be a name with a string"),
        (11, "`id` is missing"),
        (11, "`slots` is missing"),
        (13, "put {port} into `command`"),
        (14, "`binary` and `command` exclude each other"),
        (15, "`device_mask`: \"card0\" is no device"),
        (16, "`port` must be a number from 0 to 65535, not 70000"),
        (17, "`api_key_file` must be the absolute path"),
    ] {
        let named = found
            .iter()
            .any(|(at, text)| *at == line && text.contains(what));
        assert!(named, "line {line}: {what}: not in\n{problems}");
    }
    assert!(found.is_sorted_by_key(|(line, _)| *line));
}

#[test]
fn ids_and_ports_are_unique() {
    let pool = "[[pool]]\nid = \"a\"\nengine = \"x\"\ncommand = [\"x\"]\nslots = 1\nport = 9000\n";
    let twice = wrong(&format!("{pool}{pool}"));
    assert!(
        twice.contains("line 7: a: the pool of line 1 has the same id"),
        "{twice}"
    );
    assert!(
        twice.contains("line 7: a: port 9000 is also that of pool a"),
        "{twice}"
    );
    let context = wrong(&format!("{pool}replicas = 2\n"));
    assert!(
        context.contains("line 6: 2 replicas cannot share port 9000"),
        "{context}"
    );
}

#[test]
fn invalid_files_are_rejected() {
    for (text, expected) in [
        ("", "line 1: no [[pool]]"),
        ("pool = 1", "line 1: `pool` must be tables"),
        ("pool = [1]", "line 1: `pool` must be tables"),
        ("[[pool]]\nid = \"a\nengine = x\n", "line 2: "),
        (
            "[[pool]]\nid = \"a\"\nid = \"b\"\n",
            "line 3: duplicate key",
        ),
        (
            "[[pool]]\nengine = \"vllm\"\n",
            "line 1: `command` is missing",
        ),
        (
            "[[pool]]\ncommand = []\n",
            "line 2: `command` must begin with a program",
        ),
    ] {
        let message = wrong(text);
        assert!(message.contains(expected), "{text:?}: {message}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_reported_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("pools.toml");
    let error = PoolFile::read(&missing).unwrap_err();
    assert!(error.to_string().contains("pools.toml"), "{error}");
    std::fs::write(&missing, LLAMA).unwrap();
    assert_eq!(PoolFile::read(&missing).unwrap().pools.len(), 1);
    std::fs::write(&missing, "x = 1").unwrap();
    let error = PoolFile::read(&missing).unwrap_err().to_string();
    assert!(
        error.contains("pools.toml is wrong:\n  line 1: unknown key `x`"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn no_text_panics(
        text in concat!(
            "(\\[\\[pool\\]\\]\n)?(([a-z_]{2,8}|id|slots|port|env) ?= ?(\"[a-z{}/]*\"",
            "|-?[0-9]{1,12}|\\[[\"a,]*\\]|\\{[a= 1\"]*\\})\n){0,6}\\PC{0,10}",
        ),
    ) {
        let _ = PoolFile::parse(&text);
    }
}

#[test]
fn documented_examples_are_valid() {
    let example = include_str!("../../examples/pools.toml");
    assert_eq!(PoolFile::parse(example).unwrap().pools.len(), 2);
    let readme = include_str!("../../README.md");
    let shown = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    assert_eq!(PoolFile::parse(shown.unwrap()).unwrap().pools.len(), 2);
}

// spec: WIRE-18
#[test]
fn the_largest_pool_has_handoffs_that_can_be_read() {
    let id = "i".repeat(MAX_ID_BYTES);
    // Each name is as long as possible in JSON, because its characters are escaped.
    let with = |names: usize| {
        let names = (0..names).map(|i| format!("'{i:04}{}'", "\"".repeat(56)));
        let models = names.collect::<Vec<_>>().join(",");
        format!(
            "[[pool]]\nid = \"{id}\"\nengine = \"{id}\"\ncommand = [\"x\"]\nslots = 65536\n\
             port = 65535\nmodels = [{models}]\n"
        )
    };
    let mut pool = PoolFile::parse(&with(514)).unwrap().pools.remove(0);
    let problem = wrong(&with(530));
    assert!(
        problem.contains("line 7: `models` must be at most 61440 bytes together"),
        "{problem}"
    );
    pool.device_mask = Some("\"".repeat(MAX_TEXT_BYTES).parse().unwrap());
    let url = format!("http://{}:65535/", "h".repeat(MAX_URL_BYTES - 14));
    let handoff = handoff(&pool, &id.parse().unwrap(), &url.parse().unwrap());
    let text = serde_json::to_vec(&handoff).unwrap();
    assert!(text.len() <= MAX_HANDOFF_BYTES, "{}", text.len());
    assert_eq!(serde_json::from_slice::<Handoff>(&text).unwrap(), handoff);
}
