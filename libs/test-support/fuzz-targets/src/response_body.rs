//! The body of an upstream's answer (RFC 9112, sections 6 and 7).
//!
//! Input: a digit that says how the body is cut into reads; a letter for its framing: `c` for
//! chunks, `u` for the end of the connection, and any other byte for a length of as many bytes as
//! the letter's number; then what the upstream sent.
//!
//! * However the body is cut into reads, the body, what stands behind it and the verdict are the
//!   same.
//! * Chunks mean what a second and simple reading of them says.
//! * Nothing that was not sent comes out, and nothing comes out after the end.

use http1_client::fuzzing::{Framing, ResponseBody};

use crate::pieces::{pieces, seeded};

/// The most bytes of an extension or of all trailers that the simple reader compares.
const MAX_AROUND: usize = 8 * 1024;

/// See the top of this file.
pub fn response_body(input: &[u8]) {
    let Some((seed, input)) = seeded(input) else {
        return;
    };
    let Some((letter, input)) = seeded(input) else {
        return;
    };
    let framing = match letter {
        b'c' => Framing::Chunked,
        b'u' => Framing::UntilClose,
        number => Framing::Length(number.into()),
    };
    let whole = decode(framing, std::iter::once(input));
    let cut = decode(framing, pieces(seed, input));
    assert_eq!(cut, whole, "the cut changed the body");
    assert!(whole.body.len() + whole.behind.len() <= input.len());
    match framing {
        Framing::Length(length) => {
            let length = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(input.len());
            let (body, behind) = input.split_at(length);
            assert_eq!(
                (whole.body.as_slice(), whole.behind.as_slice()),
                (body, behind)
            );
            assert!(!whole.is_refused);
        }
        Framing::UntilClose => assert_eq!(
            (whole.body.as_slice(), whole.is_over, whole.is_refused),
            (input, false, false)
        ),
        Framing::Chunked if input.len() < MAX_AROUND => assert_eq!(whole, read_chunks(input)),
        Framing::Chunked => {}
    }
}

/// What became of a body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    body: Vec<u8>,
    behind: Vec<u8>,
    is_over: bool,
    is_refused: bool,
}

fn decode<'a>(framing: Framing, reads: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = ResponseBody::new(framing);
    let mut decoded = Decoded::default();
    for read in reads {
        let was_over = decoder.is_complete();
        let before = decoded.body.len();
        let Ok(behind) = decoder.decode(read, &mut decoded.body) else {
            decoded.is_refused = true;
            return decoded;
        };
        assert!(
            read.ends_with(behind),
            "what stands behind the end is not of this read"
        );
        assert!(
            behind.is_empty() || decoder.is_complete(),
            "something was left out"
        );
        assert!(
            !was_over || (behind == read && decoded.body.len() == before),
            "a body goes on after its end"
        );
        decoded.behind.extend_from_slice(behind);
    }
    decoded.is_over = decoder.is_complete();
    assert_eq!(
        decoder.bytes_left().is_some_and(|left| left == 0),
        decoded.is_over,
        "an end that is not told"
    );
    assert!(!decoded.is_over || decoder.may_end_here());
    decoded
}

/// Reads chunks that came all at once.
fn read_chunks(input: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    let mut rest = input;
    decoded.is_refused = read_body(&mut rest, &mut decoded.body, &mut decoded.is_over).is_err();
    if decoded.is_over {
        decoded.behind = rest.to_vec();
    }
    decoded
}

/// The coding is broken.
struct Broken;

/// Goes on until the input or the body ends.
fn read_body(rest: &mut &[u8], body: &mut Vec<u8>, is_over: &mut bool) -> Result<(), Broken> {
    loop {
        let Some(line) = take_line(rest, |line| size(line).is_some())? else {
            return Ok(());
        };
        let size = size(line).ok_or(Broken)?;
        if size == 0 {
            break;
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        let (data, behind) = rest.split_at(length);
        body.extend_from_slice(data);
        *rest = behind;
        if rest.is_empty() {
            return Ok(());
        }
        if !b"\r\n".starts_with(&rest[..rest.len().min(2)]) {
            return Err(Broken);
        }
        *rest = &rest[rest.len().min(2)..];
    }
    while let Some(line) = take_line(rest, |_| true)? {
        if line.is_empty() {
            *is_over = true;
            return Ok(());
        }
    }
    Ok(())
}

/// A line without its end; `None` when the input ends before it does. `may_begin` says of a line,
/// or of the beginning of one, whether it can be right.
fn take_line<'a>(
    rest: &mut &'a [u8],
    may_begin: impl Fn(&[u8]) -> bool,
) -> Result<Option<&'a [u8]>, Broken> {
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let line = &rest[..end.unwrap_or(rest.len())];
    // Nothing has come of the line yet, and all may still be well.
    let is_open = end.is_none() && line.is_empty();
    if !is_open && !may_begin(line) {
        return Err(Broken);
    }
    let Some(end) = end else {
        *rest = &[];
        return Ok(None);
    };
    match &rest[end..] {
        [b'\r'] => {
            *rest = &[];
            Ok(None)
        }
        [b'\r', b'\n', behind @ ..] => {
            *rest = behind;
            Ok(Some(line))
        }
        _ => Err(Broken),
    }
}

/// The size that begins a line: 1 to 16 hexadecimal digits, and behind them nothing, or an
/// extension.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, rest) = line.split_at(digits);
    let is_extended = matches!(rest.first(), None | Some(b';' | b' ' | b'\t'));
    if !is_extended || digits.len() > 16 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
