//! Answers whole and broken, in pieces of every size.

use super::*;

const STREAM: Expected = Expected::Stream { events: Some(2) };
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Feeds `answer` in pieces of `size` bytes and adds up the progress.
fn feed(expected: Expected, answer: &str, size: usize) -> Result<Progress, Fault> {
    let mut parser = Parser::new(expected);
    let mut total = Progress::default();
    for piece in answer.as_bytes().chunks(size) {
        let progress = parser.feed(piece)?;
        total.body += progress.body;
        total.events += progress.events;
        total.done = progress.done;
    }
    Ok(total)
}

/// The result must not depend on how the answer is cut into pieces.
fn check(expected: Expected, answer: &str, result: &Result<Progress, Fault>) {
    for size in 1..=answer.len() {
        assert_eq!(
            &feed(expected, answer, size),
            result,
            "pieces of {size}: {answer}"
        );
    }
}

fn progress(body: u64, events: u64, done: bool) -> Result<Progress, Fault> {
    Ok(Progress { body, events, done })
}

#[test]
fn a_whole_answer_has_the_length_it_promised() {
    let head = "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n";
    check(
        Expected::Whole,
        &format!("{head}hello"),
        &progress(5, 0, true),
    );
    check(
        Expected::Whole,
        &format!("{head}hell"),
        &progress(4, 0, false),
    );
    check(
        Expected::Whole,
        &format!("{head}hello!"),
        &Err(Fault::Malformed("bytes after the end of the answer")),
    );
    check(
        Expected::Whole,
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        &progress(0, 0, true),
    );
}

#[test]
fn a_stream_has_all_its_events_however_it_is_chunked() {
    let first = "data: {\"a\":1}\n\n";
    let done = "data: [DONE]\n\n";
    let both = format!("{first}{done}");
    let cases = [
        format!("{STREAM_HEAD}f\r\n{first}\r\ne;x=y\r\n{done}\r\n0\r\n\r\n",),
        format!("{STREAM_HEAD}1D\r\n{both}\r\n0\r\nx-a: b\r\nx-c: d\r\n\r\n"),
        // A chunk ends between the two newlines.
        format!(
            "{STREAM_HEAD}e\r\n{}\r\nf\r\n\n{done}\r\n0\r\n\r\n",
            &first[..14]
        ),
    ];
    for answer in cases {
        check(STREAM, &answer, &progress(29, 2, true));
        assert!(!feed(STREAM, &answer[..answer.len() - 1], 7).unwrap().done);
    }
}

#[test]
fn a_stream_that_lacks_something_does_not_count() {
    let stream = |data: &str| format!("{STREAM_HEAD}{:x}\r\n{data}\r\n0\r\n\r\n", data.len());
    check(
        STREAM,
        &stream("data: 1\n\ndata: 2\n\n"),
        &Err(Fault::NotDone),
    );
    check(
        STREAM,
        &stream("data: [DONE]\n\n"),
        &Err(Fault::Events {
            got: 1,
            expected: 2,
        }),
    );
    check(
        Expected::Stream { events: None },
        &stream("data: [DONE]\n\n"),
        &progress(14, 1, true),
    );
}

#[test]
fn what_is_no_answer_is_told() {
    let cases = [
        (
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            Fault::Status(503),
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\n",
            Fault::Malformed("no HTTP/1.1 status line"),
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            Fault::Malformed("neither content-length nor chunked"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz",
            Fault::Malformed("no chunk size where one should be"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n123456789",
            Fault::Malformed("a chunk of more than 4 GiB"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab",
            Fault::Malformed("a chunk is longer than it says"),
        ),
    ];
    for (answer, fault) in cases {
        check(STREAM, answer, &Err(fault));
    }
}

#[test]
fn a_parser_serves_one_answer_after_the_other() {
    let mut parser = Parser::new(Expected::Whole);
    let answer = b"HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 1\r\n\r\nx";
    assert!(parser.feed(answer).unwrap().done && !parser.keep_alive());
    parser.reset();
    assert!(parser.keep_alive());
    assert!(parser.feed(answer).unwrap().done);
}
