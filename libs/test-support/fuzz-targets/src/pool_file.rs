//! The pool file.
//!
//! Input: the file.
//!
//! * What is accepted obeys every bound, names each pool and each port once, and is the same after
//!   it has been written and read.
//! * Every problem names a line that is there, in order, and says something on one line.

use std::{collections::BTreeSet, fmt::Write as _};

use engine_provisioner::{
    Launch, OnAgentStop, PoolFile, PoolFileProblems, PoolSpec, RestartPolicy,
};
use pool_registry_types::{MAX_POOLS, MAX_SLOTS};

use crate::bounds;

/// The longest device mask.
const MAX_MASK_BYTES: usize = 256;

/// See the top of this file.
pub fn pool_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match PoolFile::parse(text) {
        Ok(file) => {
            assert!(file.pools.len() <= MAX_POOLS);
            let ids: BTreeSet<_> = file.pools.iter().map(|pool| &pool.pool_id).collect();
            assert_eq!(ids.len(), file.pools.len(), "two pools with one id");
            let ports: Vec<_> = file.pools.iter().filter_map(|pool| pool.port).collect();
            assert_eq!(
                ports.iter().collect::<BTreeSet<_>>().len(),
                ports.len(),
                "two pools with one port"
            );
            file.pools.iter().for_each(is_bounded);
            let mut written: String = file.pools.iter().map(write).collect();
            if file.pools.is_empty() {
                // A file without a pool says so.
                written.push_str("pool = []\n");
            }
            assert_eq!(PoolFile::parse(&written).as_ref(), Ok(&file), "{written}");
        }
        Err(problems) => are_told(text, &problems),
    }
}

fn are_told(text: &str, problems: &PoolFileProblems) {
    let lines = 1 + text.matches('\n').count();
    let mut before = 1;
    let mut count = 0;
    for problem in problems.iter() {
        assert!(
            (before..=lines).contains(&problem.line),
            "line {} of {lines}",
            problem.line
        );
        assert!(!problem.what.trim().is_empty());
        bounds::refusal(&problem.what);
        before = problem.line;
        count += 1;
    }
    assert!(count > 0, "refused without a reason");
}

fn is_bounded(pool: &PoolSpec) {
    bounds::id(pool.pool_id.as_str());
    bounds::id(pool.engine.as_str());
    assert!((1..=MAX_SLOTS).contains(&pool.slots));
    assert!(
        pool.replicas >= 1 && usize::try_from(pool.replicas).is_ok_and(|count| count <= MAX_POOLS)
    );
    assert!(pool.port.is_none_or(|port| port != 0 && pool.replicas == 1));
    bounds::models(Some(&pool.models));
    assert!(
        pool.device_mask
            .as_ref()
            .is_none_or(|mask| mask.len() <= MAX_MASK_BYTES)
    );
    let mut texts: Vec<&str> = pool
        .env
        .iter()
        .flat_map(|(name, value)| [name.as_str(), value.as_str()])
        .collect();
    assert!(
        pool.env
            .keys()
            .all(|name| !name.is_empty() && !name.contains('='))
    );
    match &pool.launch {
        Launch::Command(command) => {
            assert!(command.first().is_some_and(|program| !program.is_empty()));
            texts.extend(command.iter().map(String::as_str));
        }
        Launch::LlamaCpp(llama) => {
            assert!(llama.context >= 1 && llama.threads.is_none_or(|threads| threads >= 1));
            texts.push(&llama.binary);
            texts.extend(llama.model.to_str());
            texts.extend(llama.args.iter().map(String::as_str));
        }
    }
    assert!(
        texts.iter().all(|text| !text.contains('\0')),
        "a text that no process can be given"
    );
}

/// A pool as a pool file has it.
fn write(pool: &PoolSpec) -> String {
    let mut out = format!(
        "[[pool]]\nid = {}\nengine = {}\nslots = {}\nreplicas = {}\nmodels = {}\nenv = {{",
        quoted(pool.pool_id.as_str()),
        quoted(pool.engine.as_str()),
        pool.slots,
        pool.replicas,
        list(&pool.models)
    );
    for (index, (name, value)) in pool.env.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(out, "{comma} {} = {}", quoted(name), quoted(value));
    }
    out.push_str(" }\n");
    match &pool.launch {
        Launch::Command(command) => line(&mut out, "command", &list(command)),
        Launch::LlamaCpp(llama) => {
            line(&mut out, "binary", &quoted(&llama.binary));
            line(&mut out, "model", &quoted(&llama.model.to_string_lossy()));
            line(&mut out, "context", &llama.context.to_string());
            line(&mut out, "args", &list(&llama.args));
            if let Some(threads) = llama.threads {
                line(&mut out, "threads", &threads.to_string());
            }
        }
    }
    if let Some(mask) = &pool.device_mask {
        line(&mut out, "device_mask", &quoted(mask));
    }
    if let Some(port) = pool.port {
        line(&mut out, "port", &port.to_string());
    }
    if let Some(after) = pool.sleep_after {
        line(&mut out, "sleep_after_secs", &after.as_secs().to_string());
    }
    if let Some(timeout) = pool.queue_timeout {
        line(
            &mut out,
            "queue_timeout_secs",
            &timeout.as_secs().to_string(),
        );
    }
    let restart = match pool.restart {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "never",
    };
    let on_agent_stop = match pool.on_agent_stop {
        OnAgentStop::Stop => "stop",
        OnAgentStop::Leave => "leave",
    };
    for (key, value) in [
        ("restart", quoted(restart)),
        ("on_agent_stop", quoted(on_agent_stop)),
        (
            "ready_timeout_secs",
            pool.ready_timeout.as_secs().to_string(),
        ),
        (
            "drain_timeout_secs",
            pool.drain_timeout.as_secs().to_string(),
        ),
        ("stop_grace_secs", pool.stop_grace.as_secs().to_string()),
    ] {
        line(&mut out, key, &value);
    }
    out
}

fn line(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key} = {value}");
}

/// A basic string of TOML: as in JSON, but DEL is escaped, too.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a text can be written");
    json.replace('\u{7f}', "\\u007F")
}

fn list<S: AsRef<str>>(texts: &[S]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}
