//! Chats: what is sent, what is shown, and answers that break.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Answer, Finished, Server, events, json as answer, llorch, run, start};

pub(crate) const PLACE: &str = "x-llorch-node: gpu-1\r\nx-llorch-pool: pool-0\r\n\
 x-llorch-attempts: 1\r\nx-llorch-queue-ms: 7\r\nx-request-id: r1\r\n";

fn piece(text: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices":[{"delta":{"content":text},"finish_reason":null}]})
    )
}

pub(crate) fn whole() -> String {
    let usage = json!({"choices":[],"usage":{"completion_tokens":2}});
    let last = json!({"choices":[{"delta":{},"finish_reason":"length"}]});
    format!(
        "{}{}data: {last}\n\ndata: {usage}\n\ndata: [DONE]\n\n",
        piece(" one"),
        piece(" two")
    )
}

fn server(stream: String) -> Server {
    Server::start(Box::new(move |_| Answer::Text(events(PLACE, &stream))))
}

// spec: CLI-6
#[test]
fn the_answer_goes_to_one_place_and_where_it_ran_to_another() {
    let server = server(whole());
    let ran = run(
        &server.url(),
        &[
            "chat",
            "-m",
            "tiny",
            "--max-tokens",
            "2",
            "--pin-node",
            "gpu-1",
            "--priority",
            "batch",
            "count",
            "please",
        ],
    );
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "one two\n"),
        "{ran:?}"
    );
    assert!(
        ran.err
            .starts_with("gpu-1/pool-0 · 7 ms queued · first token after "),
        "{ran:?}"
    );
    assert!(
        ran.err.contains(" · 2 tokens") && ran.err.ends_with(" · ended by length\n"),
        "{ran:?}"
    );
    let asked = server.received();
    assert_eq!(asked.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(
        (
            asked.header("x-llorch-pin-node"),
            asked.header("x-priority")
        ),
        ("gpu-1", "batch")
    );
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        body["messages"],
        json!([{"role":"user","content":"count please"}])
    );
    assert_eq!(
        (&body["stream"], &body["max_tokens"]),
        (&json!(true), &json!(2))
    );
}

// spec: CLI-6
#[test]
fn as_json_it_is_one_object() {
    let server = server(whole());
    let ran = run(&server.url(), &["chat", "-m", "tiny", "--json", "count"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&report["text"], &report["node_id"], &report["tokens"]),
        (&json!(" one two"), &json!("gpu-1"), &json!(2))
    );
    assert_eq!(
        (
            &report["queue_ms"],
            &report["request_id"],
            &report["finish_reason"]
        ),
        (&json!(7), &json!("r1"), &json!("length"))
    );
    assert!(
        report["first_token_ms"].is_f64() && report["total_ms"].is_f64(),
        "{report}"
    );
    assert_eq!(ran.err, "");
}

// spec: CLI-6
#[test]
fn the_prompt_may_come_from_standard_input() {
    let server = server(whole());
    let mut command = llorch(&server.url(), &["chat", "-m", "tiny", "-q"]);
    command.stdin(Stdio::piped());
    let mut child = start(command);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from a pipe\n")
        .unwrap();
    let ran: Finished = child.wait_with_output().unwrap().into();
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (Some(0), "one two\n", "")
    );
    assert!(server.received().body.contains("from a pipe"));
}

// spec: CLI-6
#[test]
fn an_answer_that_breaks_is_told_after_what_came() {
    let error = json!({"error":{"message":"the engine went away","code":"WORKER_RESET"}});
    for (stream, part) in [
        (
            format!("{}data: {error}\n\n", piece("one")),
            "llorch: the engine went away",
        ),
        (piece("one"), "broke off: it ended without [DONE]"),
    ] {
        let ran = run(&server(stream).url(), &["chat", "-m", "tiny", "count"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), "one\n"), "{ran:?}");
        assert!(
            ran.err.contains(part) && ran.err.lines().count() == 1,
            "{ran:?}"
        );
    }
}

// spec: CLI-6
#[test]
fn one_model_needs_no_name_and_several_do() {
    let with = |models: Value| {
        Server::start(Box::new(move |received| {
            Answer::Text(if received.line.contains("/v1/models") {
                answer(200, &json!({"data": models}))
            } else {
                events("", &whole())
            })
        }))
    };
    let one = run(&with(json!([{"id":"tiny"}])).url(), &["chat", "hi"]);
    assert_eq!(
        (one.code, one.out.as_str()),
        (Some(0), "one two\n"),
        "{one:?}"
    );
    let several = run(&with(json!([{"id":"a"},{"id":"b"}])).url(), &["chat", "hi"]);
    assert_eq!(several.code, Some(2), "{several:?}");
    assert!(several.err.contains("--model: a, b"), "{several:?}");
    let none = run(&with(json!([])).url(), &["chat", "hi"]);
    assert_eq!(none.code, Some(5), "{none:?}");
}

// spec: CLI-35
#[test]
fn the_first_word_may_be_the_model() {
    let server = || {
        Server::start(Box::new(move |received| {
            Answer::Text(if received.line.contains("/v1/models") {
                answer(200, &json!({"data": [{"id":"tiny"}, {"id":"org/other"}]}))
            } else if received.line.contains("/v2/catalog") {
                answer(
                    200,
                    &json!({"models": [
                        {"model":"down","available":false,"endpoints":1,"endpoints_ready":0,
                         "slots_free":0,"slots_total":0,"nodes":["gpu-1"]},
                    ]}),
                )
            } else {
                events("", &whole())
            })
        }))
    };
    for (words, model, prompt) in [
        (&["tiny", "hello"][..], "tiny", "hello"),
        (&["org/other", "tiny", "words"], "org/other", "tiny words"),
        (&["down", "hello"], "down", "hello"),
        (
            &["-m", "tiny", "org/other", "hello"],
            "tiny",
            "org/other hello",
        ),
        (&["-m", "tiny", "hello"], "tiny", "hello"),
    ] {
        let server = server();
        let ran = run(&server.url(), &[&["chat"], words].concat());
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        let chat = loop {
            let received = server.received();
            if received.line.starts_with("POST /v1/chat/completions") {
                break serde_json::from_str::<Value>(&received.body).unwrap();
            }
        };
        assert_eq!(
            (&chat["model"], &chat["messages"][0]["content"]),
            (&json!(model), &json!(prompt)),
            "{words:?}"
        );
    }
    // No word is a model, and there are several.
    let ran = run(&server().url(), &["chat", "hello", "world"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    // A model alone reads the prompt from standard input.
    let ran = run(&server().url(), &["chat", "tiny"]);
    assert!(
        ran.code == Some(2) && ran.err.contains("there is no prompt"),
        "{ran:?}"
    );
}

// spec: CLI-9
#[test]
fn a_load_counts_failures_by_their_kind() {
    let mut turn = 0;
    let server = Server::start(Box::new(move |_| {
        turn += 1;
        Answer::Text(if turn % 4 == 0 {
            answer(
                429,
                &json!({"error":{"message":format!("busy {turn}"),"code":"QUEUE_FULL"}}),
            )
        } else {
            events(PLACE, &whole())
        })
    }));
    let ran = run(
        &server.url(),
        &["bench", "-m", "tiny", "-n", "8", "-c", "2", "--json"],
    );
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&report["answers"], &report["failed"], &report["tokens"]),
        (&json!(6), &json!(2), &json!(12)),
        "{report}"
    );
    assert_eq!(report["failures"], json!({"QUEUE_FULL": 2}));
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (Some(1), "llorch: 2 × QUEUE_FULL\n")
    );
    // Where nothing is answered there is nothing to measure.
    let unreachable = run(
        &crate::support::unreachable_url(),
        &["bench", "-m", "tiny", "-n", "3"],
    );
    assert_eq!(unreachable.code, Some(3), "{unreachable:?}");
}
