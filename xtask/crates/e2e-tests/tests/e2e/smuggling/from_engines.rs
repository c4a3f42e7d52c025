//! Answers of engines.

use anyhow::{Context, Result, ensure};

use super::{
    client::Place,
    engine::{GOOD, GOOD_BODY, Then},
    setup::Setup,
};

/// What an engine sends, and what its client gets.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    answer: String,
    then: Then,
    status: u16,
    /// `None`: the daemon's own error.
    body: Option<&'static str>,
    /// The answer breaks off in its body. A gateway takes a small one in whole and answers 502; a
    /// node passes it on as it comes, and cuts the connection.
    breaks_off: bool,
}

/// The answer is malformed, and nothing of it reaches the client.
fn refused(name: &'static str, answer: impl Into<String>) -> Row {
    Row {
        name,
        answer: answer.into(),
        then: Then::Closes,
        status: 502,
        body: None,
        breaks_off: false,
    }
}

/// The client gets a proper answer with this status and body.
fn passed(name: &'static str, answer: impl Into<String>, status: u16, body: &'static str) -> Row {
    Row {
        name,
        answer: answer.into(),
        then: Then::Waits,
        status,
        body: Some(body),
        breaks_off: false,
    }
}

/// As [`passed`], with an answer that the end of the connection ends.
fn passed_at_the_end(name: &'static str, answer: impl Into<String>, body: &'static str) -> Row {
    Row {
        then: Then::Closes,
        ..passed(name, answer, 200, body)
    }
}

/// An answer that an engine may want to slip into the client's connection.
const INJECTED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nx-request-id: next\r\n\r\ninjected";

pub(crate) fn rows() -> Vec<Row> {
    let with = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}");
    let mut rows = vec![
        // Transfer-Encoding and Content-Length.
        refused(
            "identity and a length",
            with("transfer-encoding: identity\r\ncontent-length: 5", "hello") + INJECTED,
        ),
        refused(
            "a length and identity",
            with("content-length: 5\r\ntransfer-encoding: identity", "hello") + INJECTED,
        ),
        refused(
            "xchunked and a length",
            with("transfer-encoding: xchunked\r\ncontent-length: 5", "hello") + INJECTED,
        ),
        refused(
            "xchunked",
            with("transfer-encoding: xchunked", "5\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "gzip and chunked",
            with(
                "transfer-encoding: gzip, chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        refused(
            "chunked and gzip",
            with(
                "transfer-encoding: chunked, gzip\r\ncontent-length: 5",
                "hello",
            ),
        ),
        refused(
            "chunked twice",
            with(
                "transfer-encoding: chunked, chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        refused(
            "chunked in two lines",
            with(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        refused(
            "an empty coding",
            with("transfer-encoding:\r\ncontent-length: 5", "hello") + INJECTED,
        ),
        refused(
            "a coding with a vertical tab",
            with("transfer-encoding: \u{b}chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "an event stream in identity",
            with(
                "content-type: text/event-stream\r\ntransfer-encoding: identity",
                "data: x\n\n",
            ),
        ),
        passed(
            "chunked and a length",
            with(
                "transfer-encoding: chunked\r\ncontent-length: 3",
                "5\r\nhello\r\n0\r\n\r\n",
            ),
            200,
            "hello",
        ),
        refused(
            "chunked in HTTP/1.0",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        // Content-Length.
        refused(
            "two lengths",
            with("content-length: 5\r\ncontent-length: 6", "hello!"),
        ),
        refused("two lengths in one", with("content-length: 5, 6", "hello!")),
        passed(
            "a length twice",
            with("content-length: 5\r\ncontent-length: 5", "hello"),
            200,
            "hello",
        ),
        passed(
            "a length twice in one",
            with("content-length: 5, 5", "hello"),
            200,
            "hello",
        ),
        refused("a length with a sign", with("content-length: +5", "hello")),
        refused("a negative length", with("content-length: -5", "hello")),
        refused("a hexadecimal length", with("content-length: 0x5", "hello")),
        refused(
            "a length in two words",
            with("content-length: 5 5", "hello"),
        ),
        refused("an empty length", with("content-length:", "hello")),
        refused(
            "a length beyond 64 bits",
            with("content-length: 18446744073709551621", "hello"),
        ),
        Row {
            breaks_off: true,
            ..refused("less than the length", with("content-length: 50", "hello"))
        },
        // Chunks.
        refused(
            "a chunk with 0x",
            with("transfer-encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "a chunk with a sign",
            with("transfer-encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "a negative chunk",
            with("transfer-encoding: chunked", "-5\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "a chunk beyond 64 bits",
            with(
                "transfer-encoding: chunked",
                "10000000000000005\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        refused(
            "a chunk without a size",
            with("transfer-encoding: chunked", "\r\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "a chunk with bare LF",
            with("transfer-encoding: chunked", "5\nhello\n0\n\n"),
        ),
        refused(
            "a chunk that is too long",
            with("transfer-encoding: chunked", "5\r\nhello!\r\n0\r\n\r\n"),
        ),
        refused(
            "an extension with bare LF",
            with("transfer-encoding: chunked", "5;x\nhello\r\n0\r\n\r\n"),
        ),
        refused(
            "an extension without end",
            with(
                "transfer-encoding: chunked",
                &format!("5;{}", "x".repeat(100_000)),
            ),
        ),
        passed(
            "extensions and trailers",
            with(
                "transfer-encoding: chunked\r\ntrailer: content-length",
                "5;a=\"b\"\r\nhello\r\n0;c\r\ncontent-length: 3\r\nx-sum: 1\r\n\r\n",
            ),
            200,
            "hello",
        ),
        // Heads.
        refused(
            "a folded line",
            with("content-length: 5\r\nx-a: 1\r\n content-length: 6", "hello"),
        ),
        refused(
            "a folded first line",
            "HTTP/1.1 200 OK\r\n content-length: 5\r\n\r\nhello",
        ),
        refused(
            "a space before the colon",
            with("content-length : 5", "hello"),
        ),
        refused(
            "a header without a colon",
            with("content-length: 5\r\nx-a", "hello"),
        ),
        refused(
            "NUL in a value",
            with("content-length: 5\r\nx-a: a\0b", "hello"),
        ),
        refused(
            "NUL in a name",
            with("content-length: 5\r\nx-\0a: b", "hello"),
        ),
        refused(
            "a bare CR",
            with("content-length: 5\r\nx-a: a\rcontent-length: 6", "hello"),
        ),
        passed(
            "a head with bare LF",
            "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
            200,
            "hello",
        ),
        refused(
            "a head that is too long",
            with(&format!("x-a: {}", "x".repeat(100_000)), "hello"),
        ),
        refused(
            "a head without end",
            "HTTP/1.1 200 OK\r\n".to_owned() + &"x-a: 1\r\n".repeat(2_000_000),
        ),
        Row {
            then: Then::Floods(b"x-a: 1\r\n"),
            ..refused("a head of a gibibyte", "HTTP/1.1 200 OK\r\n")
        },
        Row {
            then: Then::Floods(b"HTTP/1.1 102 Processing\r\n\r\n"),
            ..refused("interim answers without end", "")
        },
        passed(
            "the wish for another protocol",
            "HTTP/1.1 426 Upgrade Required\r\nupgrade: h2c\r\nconnection: upgrade\r\n\
             content-length: 5\r\n\r\nhello",
            426,
            "hello",
        ),
        refused("HTTP/0.9", "hello"),
        refused("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        refused(
            "HTTP/2.0",
            "HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        ),
        refused(
            "a status that is none",
            "HTTP/1.1 20 OK\r\ncontent-length: 5\r\n\r\nhello",
        ),
        passed_at_the_end(
            "HTTP/1.0 without a length",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            "hello",
        ),
        passed_at_the_end(
            "HTTP/1.1 without a length",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "hello",
        ),
        passed(
            "headers of one hop",
            with(
                "content-length: 5\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\n\
                 x-hop: 1\r\nte: trailers\r\n\
                 trailer: x\r\nupgrade: h2c\r\nproxy-authenticate: Basic\r\nproxy-connection: \
                  keep-alive",
                "hello",
            ),
            200,
            "hello",
        ),
        passed(
            "a length that is named by Connection",
            with("connection: content-length\r\ncontent-length: 5", "hello"),
            200,
            "hello",
        ),
        // More than one answer.
        passed(
            "bytes behind the end",
            with("content-length: 5", "hello, and more"),
            200,
            "hello",
        ),
        passed(
            "two answers at once",
            with("content-length: 5", "hello") + INJECTED,
            200,
            "hello",
        ),
        passed(
            "an answer behind the last chunk",
            with("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n") + INJECTED,
            200,
            "hello",
        ),
        passed(
            "a few interim answers",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
                .to_owned()
                + &with("content-length: 5", "hello"),
            200,
            "hello",
        ),
        refused(
            "a flood of interim answers",
            "HTTP/1.1 102 Processing\r\n\r\n".repeat(10_000) + &with("content-length: 5", "hello"),
        ),
        refused(
            "another protocol that the request did not ask for",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                .to_owned()
                + INJECTED,
        ),
        // Answers that never have a body.
        passed(
            "204 with a body",
            format!("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello{INJECTED}"),
            204,
            "",
        ),
        passed(
            "204 with chunks",
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            204,
            "",
        ),
        passed(
            "304 with a body",
            format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello{INJECTED}"),
            304,
            "",
        ),
    ];
    rows.push(passed("a proper answer", GOOD, 200, GOOD_BODY));
    rows
}

pub(crate) fn run(setup: &Setup, place: &Place, row: &Row) -> Result<()> {
    setup.engine.answer(row.answer.as_str(), row.then);
    let mut connection = place.connect()?;
    connection.send(place.request("POST", "first", "keep-alive").as_bytes());
    let answer = connection.answer("POST");
    setup.engine.answer_well();
    if row.breaks_off && place.name == "node" {
        ensure!(!matches!(answer, Ok(Some(_))), "a whole answer: {answer:?}");
        ensure!(place.serves(), "a new connection is not served");
        return Ok(());
    }
    let answer = answer?.context("no answer")?;
    ensure!(answer.status == row.status, "{answer:?}");
    ensure!(answer.header("x-request-id") == Some("first"), "{answer:?}");
    match row.body {
        Some(body) => ensure!(answer.body == body, "{answer:?}"),
        None => ensure!(
            answer.body.contains("WORKER_RESET") && !answer.body.contains("hello"),
            "{answer:?}"
        ),
    }
    // In step, or closed.
    connection.last_request(place, "next")?;
    ensure!(place.serves(), "a new connection is not served");
    Ok(())
}

/// The engine refuses a long request before it has read it.
pub(crate) fn an_early_answer_is_passed_on(setup: &Setup) -> Result<()> {
    // More than the buffers of sockets hold.
    const PROMPT_BYTES: usize = 16 * 1024 * 1024;
    let body = format!(
        r#"{{"model":"tiny","prompt":"{}"}}"#,
        "x".repeat(PROMPT_BYTES)
    );
    for place in &setup.places {
        let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nearly";
        setup.engine.answer(answer, Then::WasEarly);
        let mut connection = place.connect()?;
        let head = format!(
            "POST PATH HTTP/1.1\r\nhost: HOST\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        connection.send(place.fill_in(&head).as_bytes());
        connection.send(body.as_bytes());
        let answer = connection.answer("POST")?.context("no answer")?;
        setup.engine.answer_well();
        ensure!(
            (answer.status, answer.body.as_str()) == (400, "early"),
            "{answer:?}"
        );
        connection
            .last_request(place, "next")
            .with_context(|| place.name)?;
        ensure!(place.serves(), "{}: not served again", place.name);
    }
    Ok(())
}

/// Through a node, which alone asks engines with `HEAD`.
pub(crate) fn answers_to_head_have_no_body(setup: &Setup) -> Result<()> {
    let place = setup.places.last().context("no node")?;
    for (lines, length) in [
        ("content-length: 5", Some("5")),
        ("transfer-encoding: chunked", None),
        ("content-length: 5\r\ntransfer-encoding: chunked", None),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nhello{INJECTED}");
        setup.engine.answer(answer, Then::Closes);
        let mut connection = place.connect()?;
        connection.send(place.request("HEAD", "head", "keep-alive").as_bytes());
        let answer = connection.answer("HEAD")?.context("no answer")?;
        setup.engine.answer_well();
        ensure!(
            answer.status == 200 && answer.header("content-length") == length,
            "{lines}: {answer:?}"
        );
        connection
            .last_request(place, "next")
            .with_context(|| lines.to_owned())?;
        ensure!(place.serves(), "{lines}: a new connection is not served");
    }
    Ok(())
}
