//! What the fake engine does on the wire.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use fake_engine::{FakeEngine, Fault, Script, Stats};

const SOON: Duration = Duration::from_secs(60);

fn post(engine: &FakeEngine, path: &str, script: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", engine.port())).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-fake: {script}\r\ncontent-length: {length}\r\n\r\n\
         {body}"
    )
    .unwrap();
    stream
}

fn chat(engine: &FakeEngine, script: &str, stream: bool) -> TcpStream {
    post(
        engine,
        "/v1/chat/completions",
        script,
        &format!(r#"{{"stream":{stream},"messages":[]}}"#),
    )
}

/// Reads until `end` has come; the connection may stay open.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&bytes).contains(end) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(
            count > 0,
            "the connection ended after {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(bytes).unwrap()
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

async fn until(engine: &FakeEngine, holds: impl FnMut(&Stats) -> bool) -> Stats {
    tokio::time::timeout(SOON, engine.until(holds))
        .await
        .unwrap()
}

#[test]
fn a_stream_is_well_formed_and_the_connection_is_kept() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let mut stream = chat(&engine, "tokens=3", true);
    let text = read_until(&mut stream, "0\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("text/event-stream"));
    for part in [
        r#""content":" one""#,
        r#""content":" three""#,
        r#""finish_reason":"length""#,
        "data: [DONE]",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(" four"));
    // Every chunk has the size it says.
    let (_, mut rest) = text.split_once("\r\n\r\n").unwrap();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        assert_eq!(&after[size..size + 2], "\r\n");
        rest = &after[size + 2..];
    }
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, r#"{"status":"ok"}"#);
    assert_eq!(
        (engine.stats().connections, engine.stats().finished),
        (1, 1)
    );
}

#[test]
fn an_unstreamed_answer_honours_what_was_asked() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let mut stream = post(
        &engine,
        "/v1/completions",
        "",
        r#"{"prompt":"x","max_tokens":2}"#,
    );
    let text = read_until(&mut stream, "}}");
    assert!(
        text.contains(r#""text":" one two""#) && text.contains(r#""completion_tokens":2"#),
        "{text}"
    );

    let mut stream = post(&engine, "/v1/embeddings", "", r#"{"input":["a","b"]}"#);
    let text = read_until(&mut stream, r#""total_tokens":2}}"#);
    assert_eq!(text.matches("\"embedding\":[").count(), 2);

    let record = &engine.records()[0];
    assert_eq!(
        (record.path.as_str(), record.stream, record.body_len),
        ("/v1/completions", false, 29)
    );
    assert_eq!(record.header("host"), Some("x"));
    assert_eq!(
        record.body_sha256,
        "e7079da103941a3bd1df07d828d397b910f2de819f3760366783b5bdcd9fadd6"
    );
}

#[tokio::test]
async fn faults_are_what_they_are_called() {
    let engine = FakeEngine::start(Script::default()).unwrap();

    let text = read_all(&mut chat(&engine, "cut=2", true));
    assert!(
        text.contains(" two") && !text.contains(" three") && !text.ends_with("\r\n"),
        "{text}"
    );

    let mut stream = chat(&engine, "end=2", true);
    let text = read_until(&mut stream, "0\r\n\r\n");
    assert!(text.contains(" two") && !text.contains("DONE"), "{text}");

    let text = read_all(&mut chat(&engine, "cut=0", false));
    assert!(
        text.starts_with("HTTP/1.1 200 ") && !text.ends_with('}'),
        "{text}"
    );

    let mut stream = chat(&engine, "status=503", true);
    assert!(read_until(&mut stream, "refused by script").starts_with("HTTP/1.1 503 "));

    // How the last request ended is counted after its answer.
    let stats = until(&engine, |stats| stats.finished + stats.broken == 4).await;
    assert_eq!(
        stats,
        Stats {
            peak: 1,
            requests: 4,
            finished: 1,
            broken: 3,
            connections: 4,
            ..Stats::default()
        }
    );
}

#[tokio::test]
async fn a_client_that_goes_is_counted_at_once() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    for script in [
        "silent",
        "stall=1",
        "token_ms=600000",
        "first_ms=600000",
        "head_ms=600000",
    ] {
        let before = engine.stats().cancelled;
        let stream = chat(&engine, script, true);
        until(&engine, |stats| stats.running == 1).await;
        drop(stream);
        until(&engine, |stats| {
            stats.cancelled == before + 1 && stats.running == 0
        })
        .await;
    }
}

#[tokio::test]
async fn concurrent_requests_are_counted_and_shown_as_slots() {
    let engine = FakeEngine::start(Script {
        slots: 2,
        fault: Some(Fault::Silent),
        ..Script::default()
    })
    .unwrap();
    let streams: Vec<TcpStream> = (0..3).map(|_| chat(&engine, "", true)).collect();
    until(&engine, |stats| stats.running == 3).await;

    let mut asking = TcpStream::connect(("127.0.0.1", engine.port())).unwrap();
    asking.write_all(b"GET /slots HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(
        read_until(&mut asking, "]")
            .matches(r#""is_processing":true"#)
            .count(),
        2
    );
    asking.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut asking, "requests_processing 3");

    drop(streams);
    assert_eq!(until(&engine, |stats| stats.running == 0).await.peak, 3);
}

#[tokio::test]
async fn a_slot_is_free_before_the_answer_is_complete() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    // More than the sockets' buffers hold, so that the last write waits for the reader.
    let mut stream = chat(&engine, "tokens=3000000", false);
    let freed = until(&engine, |stats| stats.requests == 1 && stats.running == 0).await;
    assert_eq!(
        freed,
        Stats {
            peak: 1,
            requests: 1,
            connections: 1,
            ..Stats::default()
        },
        "the answer cannot have ended yet"
    );
    // The slot can be filled again meanwhile, and the first request is not counted twice.
    read_until(&mut chat(&engine, "tokens=1", false), "}}");
    let again = until(&engine, |stats| stats.finished == 1).await;
    assert_eq!((again.running, again.peak), (0, 1));

    // A client that goes without having read it all has been answered in part only.
    stream.read_exact(&mut [0; 16]).unwrap();
    drop(stream);
    let ended = until(&engine, |stats| stats.cancelled == 1).await;
    assert_eq!((ended.running, ended.finished, ended.peak), (0, 1, 1));
}

#[test]
fn slots_reused_at_once_are_never_exceeded() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    for (script, streamed, end) in [
        ("", true, "0\r\n\r\n"),
        ("", false, "}}"),
        ("end=1", true, "0\r\n\r\n"),
        ("status=503", true, "}}"),
    ] {
        for _ in 0..50 {
            read_until(&mut chat(&engine, script, streamed), end);
            assert_eq!(engine.stats().running, 0, "{script:?}");
        }
    }
    assert_eq!(engine.stats().peak, 1);
}

#[test]
fn a_hung_engine_accepts_and_says_nothing() {
    let engine = FakeEngine::start(Script {
        hung: true,
        ..Script::default()
    })
    .unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", engine.port())).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
}

#[test]
fn a_stopped_engine_refuses_connections_and_resets_old_ones() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let port = engine.port();
    let mut stream = chat(&engine, "stall=1", true);
    read_until(&mut stream, " one");
    engine.stop();
    assert!(stream.read(&mut [0; 64]).map_or(true, |count| count == 0));
    assert_eq!(
        TcpStream::connect(("127.0.0.1", port)).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn the_script_can_be_changed_while_it_runs() {
    let engine = FakeEngine::start(Script {
        health: 503,
        ..Script::default()
    })
    .unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", engine.port())).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    assert!(read_until(&mut stream, "Loading model").starts_with("HTTP/1.1 503 "));
    engine.update(|script| script.health = 200);
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, "ok");
    let mut stream = chat(&engine, "cutt=1", true);
    assert!(read_until(&mut stream, "cutt=1").starts_with("HTTP/1.1 400 "));
}

#[test]
fn an_idle_connection_is_closed_as_engines_do_it() {
    let engine = FakeEngine::start(Script::default()).unwrap();
    let mut stream = chat(&engine, "tokens=1", false);
    read_until(&mut stream, "}}");
    // It was kept for another request, after which none comes.
    write!(stream, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    read_until(&mut stream, "ok");
    let rest = read_all(&mut stream);
    assert!(!rest.contains("HTTP/1.1"), "nothing is said: {rest}");
}
