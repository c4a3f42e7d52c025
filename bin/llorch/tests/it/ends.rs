//! Bad input and bad luck: one line that says what to do, and the right exit code.

use std::{io::Read as _, process::Stdio};

use serde_json::{Value, json};

use crate::support::{Answer, Server, events, llorch, run, start, unreachable_url};

const CANARY: &str = "canary-9f8e7d6c";

fn refusal(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message, "retriable": false}})
}

// spec: CLI-1
#[test]
fn each_failure_is_one_line_and_has_its_code() {
    let refusing =
        |status, code: &str, message: &str| Server::json(status, &refusal(code, message)).url();
    let html = Server::start(Box::new(|_| {
        Answer::Text(
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>".to_owned(),
        )
    }));
    for (url, arguments, code, part) in [
        (
            unreachable_url(),
            &["nodes"][..],
            3,
            "connection refused; is orchestratord running there? --url, LLORCH_URL",
        ),
        (
            "http://no-such-host.invalid:1".to_owned(),
            &["pools"],
            3,
            "cannot reach",
        ),
        (
            refusing(401, "UNAUTHORIZED", "a token is needed"),
            &["nodes"],
            4,
            "set LLORCH_API_TOKEN",
        ),
        (
            refusing(401, "UNAUTHORIZED", "no"),
            &["chat", "-m", "m", "hi"],
            4,
            "set LLORCH_API_TOKEN",
        ),
        (
            refusing(404, "UNKNOWN_NODE", "the node x is not known"),
            &["drain", "x"],
            5,
            "`llorch nodes` lists them",
        ),
        (
            refusing(404, "UNKNOWN_NODE", "the node x is not known"),
            &["nodes", "x"],
            5,
            "the node x is not known",
        ),
        (
            refusing(404, "NOT_FOUND", "no such route"),
            &["status"],
            5,
            "it is older than this llorch",
        ),
        (
            refusing(404, "NOT_FOUND", "no such route"),
            &["events", "-f"],
            5,
            "it is older than this llorch",
        ),
        (
            refusing(404, "MODEL_NOT_AVAILABLE", "no endpoint has m"),
            &["explain", "m"],
            5,
            "`llorch models` lists them",
        ),
        (
            refusing(503, "SHUTTING_DOWN", "stopping"),
            &["models"],
            6,
            "stopping; try again",
        ),
        (
            refusing(504, "DEADLINE_EXCEEDED", "late"),
            &["chat", "-m", "m", "hi"],
            7,
            "late",
        ),
        (
            refusing(503, "CLOUD_PROFILE_DISABLED", "no nodes in HOME"),
            &["nodes"],
            1,
            "no nodes in HOME",
        ),
        (html.url(), &["models"], 1, "sent an unexpected response"),
        (
            unreachable_url(),
            &["top"],
            2,
            "top needs a terminal; use `llorch status`",
        ),
        (
            unreachable_url(),
            &["drain", "a/b/c/d"],
            2,
            "must be NODE, NODE/POOL or NODE/POOL/REPLICA",
        ),
        (
            unreachable_url(),
            &["drain", "a", "--deadline", "5"],
            2,
            "write 30s, 5m or 1h",
        ),
        (
            unreachable_url(),
            &["nodes", "--no-such-flag"],
            2,
            "--no-such-flag",
        ),
        (
            unreachable_url(),
            &["chat", "-m", "m"],
            2,
            "there is no prompt",
        ),
        (
            "ftp://h:1".to_owned(),
            &["nodes"],
            2,
            "LLORCH_URL: must be a URL such as",
        ),
        (
            "https://".to_owned(),
            &["nodes"],
            2,
            "LLORCH_URL: must be a URL such as",
        ),
    ] {
        let ran = run(&url, arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(part), "{arguments:?}: {ran:?}");
        assert_eq!(ran.out, "", "{arguments:?}: {ran:?}");
        // What clap says of an argument has its usage below it.
        let by_clap = ran.err.starts_with("error:");
        assert!(
            by_clap || ran.err.lines().count() == 1,
            "{arguments:?}: {ran:?}"
        );
    }
}

// spec: CLI-3
#[test]
fn the_token_is_sent_and_never_shown() {
    let accepting = Server::json(200, &json!({"models": []}));
    let refusing = Server::json(401, &refusal("UNAUTHORIZED", "another token"));
    for (url, arguments) in [
        (accepting.url(), &["token", "check"][..]),
        (accepting.url(), &["models", "--json"]),
        (refusing.url(), &["token", "check"]),
        (refusing.url(), &["nodes"]),
        (unreachable_url(), &["nodes"]),
        (unreachable_url(), &["nodes", "--nonsense"]),
        (format!("http://{CANARY}@h:1"), &["nodes"]),
    ] {
        for by_flag in [false, true] {
            let mut command = llorch(&url, arguments);
            if by_flag {
                command.args(["--token", CANARY]);
            } else {
                command.env("LLORCH_API_TOKEN", CANARY);
            }
            let output = command.output().unwrap();
            let shown = format!("{output:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
    assert_eq!(
        accepting.received().header("authorization"),
        format!("Bearer {CANARY}")
    );
    let bad = llorch(&accepting.url(), &["nodes"])
        .env("LLORCH_API_TOKEN", format!("{CANARY} {CANARY}"))
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(2));
    let shown = format!("{bad:?}");
    assert!(
        shown.contains("LLORCH_API_TOKEN") && !shown.contains("canary"),
        "{shown}"
    );
}

// spec: CLI-5
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let server = Server::json(200, &json!({"models": []}));
    for arguments in [
        &["models"][..],
        &["models", "--json"],
        &["man"],
        &["completions", "bash"],
        &["token", "generate"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = llorch(&server.url(), arguments)
            .stdout(Stdio::from(writer))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
}

// spec: CLI-5
#[test]
fn ctrl_c_ends_with_130_and_sigterm_with_143() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let server = Server::start(Box::new(|_| {
            Answer::Hold(events(
                "",
                "id: 1\nevent: online\ndata: \
                 {\"at\":\"2026-01-01T00:00:00Z\",\"message\":\"joined\"}\n\n",
            ))
        }));
        let mut child = start(llorch(&server.url(), &["events", "-f"]));
        // It waits for more once it has shown this.
        let mut first = [0; 8];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        assert_eq!(&first, b"00:00:00");
        let status = std::process::Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", child.id())])
            .status()
            .unwrap();
        assert!(status.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(output.stderr, b"");
    }
}

// spec: CLI-1
#[test]
fn a_server_that_closes_without_a_word_is_told_apart() {
    let server = Server::start(Box::new(|_| Answer::Text(String::new())));
    let ran = run(&server.url(), &["models"]);
    assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
}
