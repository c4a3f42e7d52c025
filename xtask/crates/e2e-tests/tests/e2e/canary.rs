//! Secrets stay where they belong: nothing that the daemons write or say holds a token, a prompt or
//! an answer.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::{Value, json};
use test_client::Client;
use test_clock::wait_for;
use test_cluster::Cluster;

const SOON: Duration = Duration::from_secs(90);
const API_TOKEN: &str = "canary-api-2f9d61b07c";
const PROMPT: &str = "canary prompt e41a90";
/// What only the tokens of keys begin with.
const KEY_PREFIX: &str = "llorch_";

/// Lets this process and its children leave core files.
fn allow_core_files() {
    let maximum = getrlimit(Resource::Core).maximum;
    let allowed = Rlimit {
        current: maximum,
        maximum,
    };
    // Without the right to do so there are no core files to look for.
    let _ = setrlimit(Resource::Core, allowed);
}

/// Every file below `directory`.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
            match kind? {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// What a server says on these pages.
fn said(client: &Client, paths: &[&str]) -> Result<Vec<(String, String)>> {
    let ask = |path: &&str| {
        let answer = client.get(path).with_context(|| format!("GET {path}"))?;
        Ok((format!("GET {path}"), answer.body))
    };
    paths.iter().map(ask).collect()
}

// spec: AUTH-4, AUTH-5, AUTH-62
#[test]
fn secrets_are_in_no_log_page_error_core_or_file() -> Result<()> {
    allow_core_files();
    Cluster::test("canary", |cluster| {
        let audit = cluster.directory().join("audit.json");
        let audit = audit.to_str().context("the path is UTF-8")?;
        let settings = [("LLORCH_API_TOKEN", API_TOKEN), ("RUST_LOG", "trace")];
        let with_audit = [&settings[..], &[("ORCHESTRATORD_AUDIT_FILE", audit)]].concat();
        let mut orchestrator = cluster.orchestrator(&with_audit)?;
        let mut node = cluster.node("node-a", &orchestrator, &settings)?;
        let engine = cluster.engine(2)?;
        node.write_handoff("pool-0", "r0", &engine)?;
        let operator = orchestrator.client().with_token(API_TOKEN);
        let key = operator.post("/v2/keys", &json!({"name": "app", "scopes": ["client"]}))?;
        ensure!(key.status == 200, "{}", key.body);
        let key: Value = serde_json::from_str(&key.body)?;
        let key = key["token"].as_str().context("the token")?.to_owned();
        let client = orchestrator.client().with_token(&key);
        let body = |more: Value| {
            let mut body = json!({
                "model": "tiny", "max_tokens": 4,
                "messages": [{"role": "user", "content": PROMPT}],
            });
            if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
                body.extend(more.clone());
            }
            body
        };
        let chat = "/v1/chat/completions";
        wait_for("an answer", SOON, || {
            let answer = client.post(chat, &body(json!({})));
            answer.is_ok_and(|answer| answer.status == 200)
        })?;

        // Answers, refusals and failures of every kind.
        let mut errors = Vec::new();
        let asked = [
            body(json!({"stream": true})),
            body(json!({"model": 7})),
            json!({"model": "tiny", "messages": PROMPT}),
        ];
        for body in &asked {
            errors.push(("an answer to a chat".to_owned(), client.post(chat, body)?));
        }
        let task = json!({"model": "tiny", "prompt": PROMPT, "max_tokens": 4});
        client.post("/v2/tasks", &task)?;
        errors.push((
            "an answer to a task".to_owned(),
            client.post("/v2/tasks", &json!(PROMPT))?,
        ));
        for token in [&format!("{key}x"), &key[..key.len() - 1], "wrong-token"] {
            let stranger = orchestrator.client().with_token(token);
            errors.push((
                "a refusal".to_owned(),
                stranger.post(chat, &body(json!({})))?,
            ));
        }
        let session = operator.post("/v2/session", &json!({}))?;
        ensure!(session.status == 200, "{}", session.body);
        let mut seen: Vec<_> = errors
            .into_iter()
            .filter(|(_, answer)| answer.status != 200)
            .map(|(what, answer)| (what, answer.body))
            .collect();
        ensure!(seen.len() >= 4, "{seen:?}");
        let pages = [
            "/metrics",
            "/v2/status",
            "/v2/nodes",
            "/v2/pools",
            "/v2/catalog/availability",
            "/v2/keys",
            "/v2/session",
            "/openapi.json",
            "/",
        ];
        seen.extend(said(&operator, &pages)?);
        let pages = ["/metrics", "/v2/pools", "/v2/gpus", "/openapi.json"];
        seen.extend(said(&node.client().with_token(API_TOKEN), &pages)?);

        // A crash leaves nothing behind.
        for daemon in [orchestrator.daemon(), node.daemon()] {
            daemon.process()?.signal(Signal::ABORT)?;
            daemon.process()?.wait_end(SOON)?;
        }

        // What the engine writes is its own affair.
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with("engine")
        };
        for path in files(cluster.directory())?.into_iter().filter(is_ours) {
            let content = fs::read(&path)?;
            let content = String::from_utf8_lossy(&content);
            for secret in [API_TOKEN, PROMPT, &key[KEY_PREFIX.len()..]] {
                ensure!(
                    !content.contains(secret),
                    "{secret} is in {}",
                    path.display()
                );
            }
        }
        for (what, text) in seen {
            for secret in [API_TOKEN, PROMPT, &key[KEY_PREFIX.len()..]] {
                ensure!(!text.contains(secret), "{secret} is in {what}: {text}");
            }
        }
        Ok(())
    })
}
