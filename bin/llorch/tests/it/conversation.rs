//! A conversation on a terminal: what is shown, and what each turn sends.

use serde_json::{Value, json};

use crate::{
    chat::{PLACE, whole},
    support::{Answer, Server, events, json as answer, llorch},
    terminal::{CTRL_D, Terminal},
};

fn sent_messages(server: &Server) -> Value {
    let asked = server.received();
    assert_eq!(asked.line, "POST /v1/chat/completions HTTP/1.1");
    serde_json::from_str::<Value>(&asked.body).unwrap()["messages"].clone()
}

// spec: CLI-6, CLI-12
#[test]
fn each_turn_carries_those_before_it_but_the_failed_ones() {
    let mut turn = 0;
    let server = Server::start(Box::new(move |_| {
        turn += 1;
        Answer::Text(if turn == 2 {
            let refusal = json!({"error": {"code": "QUEUE_FULL", "message": "all are busy",
             "retriable": true}});
            answer(429, &refusal)
        } else {
            events(PLACE, &whole())
        })
    }));
    let url = server.url();
    let mut program = llorch(&url, &["chat", "-m", "tiny", "--system", "be short"]);
    let mut chat = Terminal::start(program.env("NO_COLOR", "1"));
    assert_eq!(
        chat.wait("\r\n> "),
        format!("tiny at {url}; Ctrl-D ends\r\n> ")
    );

    chat.type_in("count\n");
    // The terminal shows what is typed; then comes the answer, and what is told of it.
    let shown = chat.wait("\r\n> ");
    let how =
        shown.strip_prefix("count\r\none two\r\ngpu-1/pool-0 · 7 ms queued · first token after ");
    let how = how.unwrap_or_else(|| panic!("{shown:?}"));
    assert!(how.contains(" · 2 tokens"), "{shown:?}");
    assert!(how.ends_with(" · ended by length\r\n> "), "{shown:?}");
    let system = json!({"role": "system", "content": "be short"});
    let user = |content: &str| json!({"role": "user", "content": content});
    let assistant = json!({"role": "assistant", "content": " one two"});
    assert_eq!(sent_messages(&server), json!([system, user("count")]));

    // A turn that fails is told, and is as if it had not been.
    chat.type_in("and now\n");
    assert_eq!(
        chat.wait("\r\n> ")
            .lines()
            .nth(1)
            .unwrap()
            .split(';')
            .next(),
        Some("llorch: all are busy")
    );
    assert_eq!(
        sent_messages(&server),
        json!([system, user("count"), assistant, user("and now")])
    );
    // A line without words asks nothing.
    chat.type_in("  \n");
    assert_eq!(chat.wait("> "), "  \r\n> ");
    chat.type_in("again\n");
    chat.wait("ended by length\r\n> ");
    assert_eq!(
        sent_messages(&server),
        json!([system, user("count"), assistant, user("again")])
    );

    chat.type_in(CTRL_D);
    let (status, rest) = chat.end();
    assert_eq!((status.code(), rest.as_str()), (Some(0), "\r\n"));
}
