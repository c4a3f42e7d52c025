//! `llorch engine`: handoffs, refusals, searches, and the engines of all nodes.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use crate::support::{
    Answer, Finished, Server, json as answer_of, llorch, run, unreachable_url, write,
};

/// A server with these answers, and 404 for every other path.
fn server(answers: &'static [(&'static str, u16, &'static str)]) -> Server {
    Server::start(Box::new(move |request| {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let found = answers.iter().find(|(at, _, _)| *at == path);
        let (status, body) = found.map_or((404, "no"), |(_, status, body)| (*status, *body));
        let length = body.len();
        Answer::Text(format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }))
}

/// `llama-server` with four slots.
fn llama() -> Server {
    server(&[
        ("/health", 200, r#"{"status":"ok"}"#),
        (
            "/v1/models",
            200,
            r#"{"data":[{"id":"tiny","owned_by":"llamacpp"}]}"#,
        ),
        ("/props", 200, r#"{"total_slots":4,"build_info":"b10434"}"#),
    ])
}

/// vLLM with a key, which reports no slots.
fn guarded() -> Server {
    Server::start(Box::new(|request| {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let has_key = request.header("authorization") == "Bearer sesame";
        let answer = match path {
            "/health" => (200, json!({})),
            "/v1/models" if has_key => (200, json!({"data":[{"id":"m","owned_by":"vllm"}]})),
            "/v1/models" => (401, json!({"error":"no"})),
            _ => (404, json!({})),
        };
        Answer::Text(answer_of(answer.0, &answer.1))
    }))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

/// The only file of a directory.
fn only_file(dir: &Path) -> std::path::PathBuf {
    let files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn engine(dir: &Path, arguments: &[&str]) -> Finished {
    let dir = dir.to_str().unwrap();
    let all: Vec<&str> = ["engine"]
        .iter()
        .chain(arguments)
        .copied()
        .chain(["--directory", dir])
        .collect();
    run("", &all)
}

// spec: FIND-11, FIND-12, FIND-13
#[test]
fn an_engine_is_added_once_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("handoffs");
    let server = llama();
    let url = server.url();
    let added = engine(&dir, &["add", &format!("{url}/v1")]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let name = format!("llamacpp/{}", port(&url));
    let line = format!("{name}: llamacpp at {url}, slots: 4, models: tiny");
    assert!(added.out.starts_with(&line), "{added:?}");
    let file = only_file(&dir);
    let handoff = read(&file);
    assert_eq!(
        handoff,
        json!({"pool_id":"llamacpp","replica_id":port(&url),"engine":"llamacpp","url":url,
            "slots":4}),
        "its node asks for the models"
    );
    let again = engine(&dir, &["add", &url.replace("127.0.0.1", "localhost")]);
    assert_eq!(again.code, Some(2));
    let named = format!("{} announces the engine", file.display());
    assert!(
        again.err.contains(&named) && again.err.contains(&name),
        "{again:?}"
    );
    // Another engine must not take its name.
    let other = llama();
    let replica = ["add", &other.url(), "--replica", port(&url)];
    let taken = engine(&dir, &replica);
    assert!(
        taken.code == Some(2) && taken.err.contains("choose another name"),
        "{taken:?}"
    );
    let unknown = engine(&dir, &["remove", "chat/r0"]);
    assert_eq!(unknown.code, Some(5));
    assert!(
        unknown.err.contains(&format!("it has {name}")),
        "{unknown:?}"
    );
    let removed = engine(&dir, &["remove", &url]);
    assert_eq!(
        removed.out,
        format!("{name} is removed; its running requests finish\n")
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    engine(&dir, &["add", &url]);
    assert_eq!(engine(&dir, &["remove", &name]).code, Some(0));
}

// spec: FIND-10, FIND-11
#[test]
fn a_key_stays_in_its_file() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("handoffs");
    let key = root.path().join("engine.key");
    let server = guarded();
    let url = server.url();
    let without = engine(&dir, &["add", &url]);
    assert_eq!(without.code, Some(2));
    assert!(without.err.contains("add --api-key-file F"), "{without:?}");
    let arguments = [
        "--json",
        "add",
        &url,
        "--api-key-file",
        key.to_str().unwrap(),
    ];
    let missing = engine(&dir, &arguments);
    assert!(
        missing.code == Some(2) && missing.err.contains("cannot be read"),
        "{missing:?}"
    );
    write(&key, "wrong\n", 0o600);
    let wrong = engine(&dir, &arguments);
    assert!(
        wrong.err.contains("is not the one that it wants"),
        "{wrong:?}"
    );
    assert!(!dir.exists(), "nothing is written");
    write(&key, "sesame\n", 0o600);
    let added = engine(
        &dir,
        &[&arguments[..], &["--slots", "8", "--pool", "chat"]].concat(),
    );
    assert_eq!(added.code, Some(0), "{added:?}");
    let shown: Value = serde_json::from_str(&added.out).unwrap();
    assert_eq!(shown["models"], json!(["m"]));
    let file = only_file(&dir);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let handoff = read(&file);
    assert_eq!(handoff, shown["handoff"]);
    assert_eq!(
        (&handoff["slots"], &handoff["pool_id"]),
        (&json!(8), &json!("chat"))
    );
    assert_eq!(handoff["api_key_file"], key.to_str().unwrap());
    for text in [&added.out, &added.err, &fs::read_to_string(&file).unwrap()] {
        assert!(!text.contains("sesame"), "{text}");
    }
}

// spec: FIND-12
#[test]
fn what_is_no_engine_of_this_machine_is_refused_in_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let page = server(&[(
        "/v1/models",
        200,
        "<!doctype html><title>a notebook</title>",
    )]);
    let ours = server(&[(
        "/health",
        200,
        r#"{"status":"ok","service":"orchestratord"}"#,
    )]);
    let loading = server(&[
        ("/health", 503, r#"{"error":{"message":"Loading model"}}"#),
        (
            "/v1/models",
            503,
            r#"{"error":{"message":"Loading model"}}"#,
        ),
    ]);
    for (url, code, words) in [
        (
            page.url(),
            2,
            "a web page (HTML); name the URL of an engine",
        ),
        (ours.url(), 2, "there is orchestratord of this project"),
        (loading.url(), 6, "Loading model; add it when it is ready"),
        (unreachable_url(), 3, "start the engine first"),
        (
            "http://169.254.169.254".to_owned(),
            2,
            "does not lead to this machine",
        ),
        (
            "http://192.0.2.1:8000".to_owned(),
            2,
            "does not lead to this machine",
        ),
        (
            "https://localhost:8000".to_owned(),
            2,
            "is not an http:// URL",
        ),
    ] {
        let refused = engine(&root.path().join("handoffs"), &["add", &url]);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.err.contains(words), "{refused:?}");
        assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
    }
    assert!(!root.path().join("handoffs").exists());
}

// spec: FIND-11
#[test]
fn the_directory_is_that_of_the_daemon_here() {
    let root = tempfile::tempdir().unwrap();
    let server = llama();
    let url = server.url();
    let add = |variables: &[(&str, &str)]| {
        let mut command = llorch("", &["engine", "add", &url]);
        command
            .current_dir(root.path())
            .envs(variables.iter().copied());
        Finished::from(command.output().unwrap())
    };
    let run_dir = root.path().join("run");
    fs::create_dir(&run_dir).unwrap();
    let runtime = ("ORCHESTRATORD_RUNTIME_DIR", run_dir.to_str().unwrap());
    let both = add(&[
        ("ORCHESTRATORD_ENGINES_DIR", "one"),
        ("POOL_MANAGERD_ENGINES_DIR", "two"),
    ]);
    assert!(
        both.code == Some(2) && both.err.contains("choose the directory"),
        "{both:?}"
    );
    assert_eq!(
        add(&[("POOL_MANAGERD_STATE_DIR", "state"), runtime]).code,
        Some(0)
    );
    only_file(&root.path().join("state/handoffs"));
    // A start by hand here.
    fs::create_dir_all(root.path().join(".runtime/state")).unwrap();
    assert_eq!(add(&[runtime]).code, Some(0));
    let file = only_file(&root.path().join(".runtime/state/handoffs"));
    fs::rename(file, run_dir.join("new.json")).unwrap();
    let announced = add(&[runtime]);
    assert!(
        announced.err.contains("new.json announces the engine"),
        "{announced:?}"
    );
}

// spec: FIND-14
#[test]
fn a_search_lists_what_answers_here() {
    let root = tempfile::tempdir().unwrap();
    let (engine_here, page) = (llama(), server(&[("/v1/models", 200, "<html>")]));
    let (url, other) = (engine_here.url(), page.url());
    let ports = format!("{},{}", port(&url), port(&other));
    let search = |arguments: &[&str]| {
        let found = engine(
            root.path(),
            &[&["discover", "--ports", &ports], arguments].concat(),
        );
        assert_eq!(found.code, Some(0), "{found:?}");
        found.out
    };
    let table = search(&[]);
    let line = |url: &str| {
        let line = table.lines().find(|line| line.starts_with(url)).unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        line(&url),
        [
            url.as_str(),
            "found",
            "llamacpp",
            "4",
            "b10434",
            "-",
            "tiny"
        ]
    );
    assert!(
        line(&other)
            .join(" ")
            .contains("no engine - - - - - GET /v1/models"),
        "{table}"
    );
    let names = search(&["-o", "name"]);
    assert!(
        names.lines().any(|name| name == url) && !names.contains(&other),
        "{names}"
    );
    engine(root.path(), &["add", &url]);
    let all: Value = serde_json::from_str(&search(&["-o", "json"])).unwrap();
    let candidates = all["candidates"].as_array().unwrap();
    let here = candidates
        .iter()
        .find(|found| found["url"] == url.as_str())
        .unwrap();
    assert_eq!(
        (&here["state"], &here["announced_as"]),
        (
            &json!("announced"),
            &json!(format!("llamacpp/{}", port(&url)))
        )
    );
}

// spec: FIND-13
#[test]
fn the_engines_of_all_nodes_are_listed_and_restarted() {
    let nodes = json!({"nodes":[{
        "node_id":"gpu-1","address":"http://10.0.0.7:9200","status":"online",
        "last_heartbeat_age_ms":5,
        "pools":[{"pool_id":"chat","ready":true,"draining":false,"slots_free":3,"slots_total":4,
            "vram_free_bytes":0,"engine":"vllm",
            "replicas":[
                {"replica_id":"r0","ready":true,"slots_free":3,"slots_total":4,"models":["m"]},
                {"replica_id":"r1","ready":false,"slots_free":0,"slots_total":0,
                 "last_error":"Connection refused"}]}]}]});
    let server = Server::json(200, &nodes);
    let table = run(&server.url(), &["engine", "list"]);
    assert_eq!(
        table.out,
        "NODE   POOL  REPLICA  STATE      ENGINE  FREE  SLOTS  MODELS  WHY\n\
         gpu-1  chat  r0       ready      vllm       3      4  m\n\
         gpu-1  chat  r1       not ready  vllm       0      0  -       Connection refused\n",
        "{table:?}"
    );
    let names = run(&server.url(), &["-o", "name", "engine", "list"]);
    assert_eq!(names.out, "gpu-1/chat/r0\ngpu-1/chat/r1\n");
    let list: Value =
        serde_json::from_str(&run(&server.url(), &["--json", "engine", "list"]).out).unwrap();
    assert_eq!(
        list["engines"][1]["replica"]["last_error"],
        "Connection refused"
    );

    let restarting = Server::json(200, &json!({"pool_id":"chat"}));
    let restarted = run(&restarting.url(), &["engine", "restart", "gpu-1/chat"]);
    assert_eq!(
        restarted.out,
        "the engines of gpu-1/chat have been restarted\n"
    );
    let request = restarting.received();
    assert!(
        request
            .line
            .starts_with("POST /v2/pools/gpu-1/chat/restart "),
        "{request:?}"
    );
    let wrong = run(&restarting.url(), &["engine", "restart", "gpu-1"]);
    assert!(
        wrong.code == Some(2) && wrong.err.contains("must be NODE/POOL"),
        "{wrong:?}"
    );
    let refusing = Server::json(
        409,
        &json!({"error":{"code":"ENGINES_NOT_OURS","message":"not started by the node",
            "retriable":false}}),
    );
    let refused = run(&refusing.url(), &["engine", "restart", "gpu-1/chat"]);
    assert!(refused.code == Some(1) && refused.err.contains("not started by the node"));
}
