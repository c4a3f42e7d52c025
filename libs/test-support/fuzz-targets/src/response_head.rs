//! The head of an upstream's answer (RFC 9112).
//!
//! Input: a digit that says where the head is cut, and from `4` on that the request was `HEAD`;
//! then what the upstream sent.
//!
//! * However the head is cut into reads, the verdict is the same.
//! * The framing is that of RFC 9112, section 6.3, as a second and simple reading of the lines has
//!   it; a transfer coding other than `chunked` alone is refused.
//! * What goes on to the client holds no hop-by-hop header, no line break, and a length only where
//!   it is the one that counts.

use http::{
    Method,
    header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use http1_client::fuzzing::{Framing, ResponseHead, parse_head};

use crate::pieces::{place, seeded};

/// Set in the first byte when the request was `HEAD`.
const IS_HEAD: u8 = 4;

/// See the top of this file.
pub fn response_head(input: &[u8]) {
    let Some((seed, input)) = seeded(input) else {
        return;
    };
    let method = if seed & IS_HEAD == 0 {
        Method::POST
    } else {
        Method::HEAD
    };
    let whole = parse_head(input, &method);
    let cut = place(seed, input);
    match (parse_head(&input[..cut], &method), &whole) {
        (Ok(None), Ok(Some(head))) => assert!(cut < head.length, "a whole head was not seen"),
        (Ok(None), _) => {}
        (part, whole) => assert_eq!(
            part, *whole,
            "the first {cut} bytes were read as something else"
        ),
    }
    if let Ok(Some(head)) = &whole {
        assert!(head.length <= input.len());
        let text = &input[..head.length];
        assert!(text.ends_with(b"\n"), "the head does not end with a line");
        assert_eq!(
            parse_head(text, &method).as_ref(),
            Ok(&Some(head.clone())),
            "what follows the head counts"
        );
        is_framed_as_its_lines_say(text, &method, head);
        holds_nothing_for_this_hop(head);
    }
}

/// The values of a header, read line by line.
fn values<'a>(head: &'a [u8], wanted: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.split(|byte| *byte == b'\n').filter_map(move |line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        name.eq_ignore_ascii_case(wanted.as_bytes())
            .then(|| value[1..].trim_ascii())
    })
}

fn is_framed_as_its_lines_say(text: &[u8], method: &Method, head: &ResponseHead) {
    let codings: Vec<_> = values(text, "transfer-encoding").collect();
    let lengths: Vec<_> = values(text, "content-length")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|text| {
            let text = std::str::from_utf8(text.trim_ascii()).expect("a length of digits");
            text.parse::<u64>().expect("a length in range")
        })
        .collect();
    assert!(
        lengths.windows(2).all(|two| two[0] == two[1]),
        "lengths that differ: {lengths:?}"
    );
    match codings.as_slice() {
        [] => {}
        [coding] => assert!(coding.eq_ignore_ascii_case(b"chunked"), "another coding"),
        _ => panic!("several codings"),
    }
    let never_has_a_body =
        head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
    let framing = match lengths.first() {
        _ if never_has_a_body || *method == Method::HEAD => Framing::Length(0),
        _ if !codings.is_empty() => Framing::Chunked,
        Some(length) => Framing::Length(*length),
        None => Framing::UntilClose,
    };
    assert_eq!(head.body.framing(), framing);
    assert!(
        !head.keep_alive || framing != Framing::UntilClose,
        "the connection is kept, but only its end ends the body"
    );
    let told: Vec<_> = head.headers.get_all(CONTENT_LENGTH).iter().collect();
    match told.as_slice() {
        [] => {}
        [value] => {
            assert!(
                codings.is_empty() && !never_has_a_body,
                "a length that does not count"
            );
            let length = lengths.first().map(u64::to_string).unwrap_or_default();
            assert_eq!(value.as_bytes(), length.as_bytes());
        }
        _ => panic!("several lengths go on"),
    }
}

fn holds_nothing_for_this_hop(head: &ResponseHead) {
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        assert!(!head.headers.contains_key(&name), "{name} goes on");
    }
    for (name, value) in &head.headers {
        let is_clean = !value
            .as_bytes()
            .iter()
            .any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        assert!(is_clean, "{name} breaks its line");
    }
}
