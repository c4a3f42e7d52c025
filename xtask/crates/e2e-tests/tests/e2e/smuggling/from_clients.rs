//! Requests of clients.

use anyhow::{Result, ensure};

use super::{
    client::{BODY, Place},
    setup::Setup,
};

/// What a client sends, and what comes of it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// With `PATH` and `HOST` for those of the place.
    request: String,
    expected: Expected,
}

#[derive(Clone, Copy)]
enum Expected {
    /// The engine gets [`BODY`], once.
    Served,
    /// A status, and nothing at the engine.
    Refused(u16),
    /// The connection ends, with or without an answer, and nothing is at the engine.
    CutOff,
}

/// A request that an attacker tries to slip in between two others.
const SMUGGLED: &str =
    "POST PATH HTTP/1.1\r\nhost: HOST\r\nx-smuggled: 1\r\ncontent-length: 2\r\n\r\n{}";

pub(crate) fn rows() -> Vec<Row> {
    use Expected::{CutOff, Refused, Served};
    let length = BODY.len();
    let chunks = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
    let with = |lines: &str, body: &str| {
        format!("POST PATH HTTP/1.1\r\nhost: HOST\r\n{lines}\r\n\r\n{body}")
    };
    let sized = |lines: &str| with(&format!("content-length: {length}\r\n{lines}"), BODY);
    let chunked = |body: &str| with("transfer-encoding: chunked", body);
    let row = |name, request: String, expected| Row {
        name,
        request,
        expected,
    };
    vec![
        // Transfer-Encoding and Content-Length.
        row(
            "a length and chunked",
            with("content-length: 3\r\ntransfer-encoding: chunked", &chunks),
            Served,
        ),
        row(
            "chunked and a longer length",
            with(
                "transfer-encoding: chunked\r\ncontent-length: 200",
                &(chunks.clone() + SMUGGLED),
            ),
            Served,
        ),
        row(
            "identity and a length",
            sized("transfer-encoding: identity"),
            Refused(400),
        ),
        row(
            "xchunked",
            with("transfer-encoding: xchunked", &chunks),
            Refused(400),
        ),
        row(
            "xchunked and a length",
            sized("transfer-encoding: xchunked"),
            Refused(400),
        ),
        row(
            "gzip and chunked",
            with("transfer-encoding: gzip, chunked", &chunks),
            Refused(400),
        ),
        row(
            "chunked and identity",
            with("transfer-encoding: chunked, identity", &chunks),
            Refused(400),
        ),
        row(
            "chunked twice",
            with("transfer-encoding: chunked, chunked", &chunks),
            Refused(400),
        ),
        row(
            "chunked in two lines",
            with(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
                &chunks,
            ),
            Refused(400),
        ),
        row(
            "chunked with a vertical tab",
            with("transfer-encoding: \u{b}chunked", &chunks),
            Refused(400),
        ),
        row("an empty coding", sized("transfer-encoding:"), Refused(400)),
        row(
            "chunked in HTTP/1.0",
            format!(
                "POST PATH HTTP/1.0\r\nhost: HOST\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ),
            Refused(400),
        ),
        // Content-Length.
        row(
            "two lengths",
            with("content-length: 2\r\ncontent-length: 16", BODY),
            Refused(400),
        ),
        row(
            "two lengths in one",
            with("content-length: 2, 16", BODY),
            Refused(400),
        ),
        row(
            "a length twice",
            with("content-length: 16\r\ncontent-length: 16", BODY),
            Served,
        ),
        row(
            "a length with a sign",
            with("content-length: +16", BODY),
            Refused(400),
        ),
        row(
            "a negative length",
            with("content-length: -16", BODY),
            Refused(400),
        ),
        row(
            "a hexadecimal length",
            with("content-length: 0x10", BODY),
            Refused(400),
        ),
        row(
            "a length in two words",
            with("content-length: 1 6", BODY),
            Refused(400),
        ),
        row(
            "an empty length",
            with("content-length:", BODY),
            Refused(400),
        ),
        row(
            "a length beyond 64 bits",
            with("content-length: 18446744073709551632", BODY),
            Refused(400),
        ),
        // Chunks.
        row(
            "a chunk with 0x",
            chunked("0x10\r\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "a chunk with a sign",
            chunked("+10\r\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "a negative chunk",
            chunked("-10\r\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "a chunk beyond 64 bits",
            chunked("10000000000000010\r\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "a chunk without a size",
            chunked("\r\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "a chunk with bare LF",
            chunked("10\n{\"model\":\"tiny\"}\n0\n\n"),
            CutOff,
        ),
        row(
            "a chunk that is too long",
            chunked("f\r\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "an extension with bare LF",
            chunked("10;x\n{\"model\":\"tiny\"}\r\n0\r\n\r\n"),
            CutOff,
        ),
        row(
            "extensions and trailers",
            chunked(
                "10;a=b\r\n{\"model\":\"tiny\"}\r\n0\r\ncontent-length: 3\r\nx-smuggled: 1\r\n\r\n",
            ),
            Served,
        ),
        // Heads.
        row(
            "a folded line",
            sized("x-a: 1\r\n x-smuggled: 1"),
            Refused(400),
        ),
        row(
            "a space before the colon",
            with("content-length : 16", BODY),
            Refused(400),
        ),
        row(
            "a space before the colon of chunked",
            sized("transfer-encoding : chunked"),
            Refused(400),
        ),
        row("NUL in a value", sized("x-a: a\0b"), Refused(400)),
        row("NUL in a name", sized("x-\0a: b"), Refused(400)),
        row("a bare CR", sized("x-a: a\rx-smuggled: 1"), Refused(400)),
        row(
            "a head with bare LF",
            format!("POST PATH HTTP/1.1\nhost: HOST\ncontent-length: {length}\n\n{BODY}"),
            Served,
        ),
        row("two hosts", sized("host: other.example"), Refused(400)),
        row(
            "no host",
            format!("POST PATH HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{BODY}"),
            Refused(400),
        ),
        row(
            "absolute form with the same host",
            format!(
                "POST http://HOSTPATH HTTP/1.1\r\nhost: HOST\r\ncontent-length: {length}\r\n\r\n\
                 {BODY}"
            ),
            Served,
        ),
        row("HTTP/0.9", "GET PATH\r\n\r\n".to_owned(), Refused(400)),
        row(
            "HTTP/2.0",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            CutOff,
        ),
        row(
            "an upgrade",
            sized(
                "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: \
                 AAMAAABkAAQAAP__",
            ),
            Served,
        ),
        row(
            "headers of one hop",
            sized(
                "connection: keep-alive, x-smuggled\r\nx-smuggled: 1\r\nte: trailers\r\n\
                 proxy-connection: keep-alive",
            ),
            Served,
        ),
        row(
            "TE that Connection does not name",
            sized("te: trailers, deflate;q=0.5"),
            Served,
        ),
        row("a proper request", sized("x-a: 1"), Served),
    ]
}

/// What no engine ever sees.
const OF_ONE_HOP: [&str; 8] = [
    "\r\ntransfer-encoding:",
    "\r\nexpect:",
    "\r\nconnection:",
    "\r\nupgrade:",
    "\r\nte:",
    "\r\nproxy-connection:",
    "\r\nhttp2-settings:",
    "x-smuggled",
];

pub(crate) fn run(setup: &Setup, place: &Place, row: &Row) -> Result<()> {
    setup.engine.take_seen();
    let mut connection = place.connect()?;
    connection.send(place.fill_in(&row.request).as_bytes());
    let answer = connection.answer("POST")?;
    let seen = setup.engine.take_seen();
    match (row.expected, &answer) {
        (Expected::Served, Some(answer)) => {
            ensure!(answer.status == 200, "{answer:?}");
            ensure!(matches!(&seen[..], [one] if one.body == BODY), "{seen:?}");
        }
        (Expected::Refused(status), Some(answer)) => {
            ensure!(
                answer.status == status && seen.is_empty(),
                "{answer:?}, {seen:?}"
            );
        }
        (Expected::CutOff, Some(answer)) => {
            ensure!(
                answer.status == 400 && seen.is_empty(),
                "{answer:?}, {seen:?}"
            );
        }
        (Expected::CutOff, None) => ensure!(seen.is_empty(), "{seen:?}"),
        (_, None) => anyhow::bail!("no answer"),
    }
    for request in &seen {
        let head = request.head.to_ascii_lowercase();
        let foreign = OF_ONE_HOP.iter().find(|header| head.contains(**header));
        ensure!(foreign.is_none(), "{foreign:?} went on: {head}");
        ensure!(head.matches("\r\ncontent-length:").count() == 1, "{head}");
    }
    match &answer {
        Some(answer) if !answer.closes() => {
            connection.last_request(place, "next")?;
        }
        _ => connection.ends()?,
    }
    let smuggled = setup.engine.take_seen();
    ensure!(
        smuggled
            .iter()
            .all(|request| !request.head.contains("x-smuggled")),
        "{smuggled:?}"
    );
    ensure!(place.serves(), "a new connection is not served");
    Ok(())
}

/// A client that sends its body only when it is told to is told so, and one that expects something
/// else is served (RFC 9110, section 10.1.1). No engine sees what was expected.
pub(crate) fn expectations_are_met(setup: &Setup) -> Result<()> {
    for place in &setup.places {
        for (expect, is_told) in [("100-continue", true), ("200-maybe", false)] {
            setup.engine.take_seen();
            let head = format!(
                "POST PATH HTTP/1.1\r\nhost: HOST\r\nx-request-id: first\r\nexpect: {expect}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n",
                BODY.len()
            );
            let mut connection = place.connect()?;
            connection.send(place.fill_in(&head).as_bytes());
            if is_told {
                let interim = connection.answer("POST")?;
                ensure!(interim.is_some_and(|told| told.status == 100), "{expect}");
            }
            connection.send(BODY.as_bytes());
            let answer = connection.answer("POST")?;
            ensure!(
                answer.is_some_and(|answer| answer.status == 200),
                "{expect}"
            );
            let seen = setup.engine.take_seen();
            let is_foreign = |seen: &super::engine::Seen| seen.head.contains("\r\nexpect");
            ensure!(seen.len() == 1 && !seen.iter().any(is_foreign), "{seen:?}");
            connection.last_request(place, "next")?;
        }
        // A body that is too large is refused before the client sends it.
        let mut connection = place.connect()?;
        let head = "POST PATH HTTP/1.1\r\nhost: HOST\r\nexpect: 100-continue\r\n\
                    content-length: 1000000000\r\n\r\n";
        connection.send(place.fill_in(head).as_bytes());
        let answer = connection.answer("POST")?;
        ensure!(answer.is_some_and(|answer| answer.status == 413), "no 413");
        connection.ends()?;
        ensure!(place.serves(), "a new connection is not served");
    }
    Ok(())
}
