//! Events across lost connections: none lost, none twice.

use serde_json::{Value, json};

use crate::support::{Answer, Server, events, json as answer, run};

fn event(id: u32, message: &str) -> String {
    let data = json!({"id":id,"at":"2026-01-01T10:11:12Z","kind":"offline","node_id":"gpu-1",
     "message":message});
    format!("id: {id}\nevent: offline\ndata: {data}\n\n")
}

// spec: CLI-10
#[test]
fn events_go_on_after_the_last_one_that_came() {
    let mut turn = 0;
    let server = Server::start(Box::new(move |_| {
        turn += 1;
        Answer::Text(match turn {
            1 => events("", &format!("{}{}", event(1, "one"), event(2, "two"))),
            // A connection that brings nothing.
            2 => events("", ": hello\n\n"),
            3 => events("", &format!("{}id: 4\nevent: half", event(3, "three"))),
            _ => "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        })
    }));
    let ran = run(&server.url(), &["events", "-f"]);
    assert_eq!(
        ran.out,
        "10:11:12  offline         gpu-1  one\n10:11:12  offline         gpu-1  two\n10:11:12  \
         offline         gpu-1  three\n"
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.err
            .lines()
            .all(|line| line.ends_with("the server closed the connection; trying again")),
        "{ran:?}"
    );
    let lasts: Vec<String> = (0..4)
        .map(|_| server.received().header("last-event-id").to_owned())
        .collect();
    assert_eq!(lasts, ["", "2", "2", "3"]);
}

// spec: CLI-10
#[test]
fn a_task_is_read_from_where_one_was() {
    let mut turn = 0;
    let token = |id: u32, text: &str| {
        format!(
            "id: x-{id}\nevent: token\ndata: {}\n\n",
            json!({"t":text,"i":id})
        )
    };
    let server = Server::start(Box::new(move |_| {
        turn += 1;
        Answer::Text(if turn == 1 {
            events("", &token(5, " five"))
        } else {
            events(
                "",
                &format!(
                    "{}id: x-7\nevent: end\ndata: {{\"tokens_out\":2}}\n\n",
                    token(6, " six")
                ),
            )
        })
    }));
    let ran = run(
        &server.url(),
        &["tasks", "events", "my-task", "--after", "x-4"],
    );
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "five six\n"),
        "{ran:?}"
    );
    assert_eq!(server.received().header("last-event-id"), "x-4");
    assert_eq!(server.received().header("last-event-id"), "x-5");
}

// spec: CLI-10
#[test]
fn a_task_that_fails_says_why() {
    let data = json!({"code":"DEADLINE_EXCEEDED","message":"it took too long","retriable":true});
    let stream = events("", &format!("id: x-1\nevent: error\ndata: {data}\n\n"));
    let server = Server::start(Box::new(move |_| Answer::Text(stream.clone())));
    let ran = run(&server.url(), &["tasks", "events", "my-task"]);
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert_eq!(
        ran.err,
        "llorch: the task ended with DEADLINE_EXCEEDED: it took too long\n"
    );
}

#[test]
fn a_task_is_handed_in_as_the_api_wants_it() {
    let server = Server::start(Box::new(|_| {
        Answer::Text(answer(
            202,
            &json!({"task_id":"t1","queue_position":2,"predicted_start_ms":null}),
        ))
    }));
    let arguments = [
        "tasks",
        "submit",
        "-m",
        "tiny",
        "--id",
        "t1",
        "--workload",
        "embedding",
        "--pin-node",
        "gpu-1",
        "--deadline",
        "2s",
        "a",
        "text",
    ];
    let ran = run(&server.url(), &arguments);
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (Some(0), "t1\n", "2 before it in the queue\n")
    );
    let asked = server.received();
    assert_eq!(asked.line, "POST /v2/tasks HTTP/1.1");
    assert_eq!(
        serde_json::from_str::<Value>(&asked.body).unwrap(),
        json!({"workload":"embedding","model_ref":"tiny","inputs":"a text","task_id":"t1",
         "deadline_ms":2000,
               "placement":{"mode":"pin","node_id":"gpu-1"}})
    );
}
