//! Which paths of an engine a client may ask for.
//!
//! Engines decode a path before they route it, and they differ in percent-escapes, doubled slashes,
//! dots and letter case. So a path is judged by every way in which an engine may read it, and an
//! ambiguous one is refused. Accepted paths are forwarded byte for byte.

use thiserror::Error;

/// The ends of the paths that administer engines. Ends, because the URL of an engine may have a
/// path of its own.
const ADMINISTRATION: [&str; 3] = [
    "/load_lora_adapter",
    "/unload_lora_adapter",
    "/chat/completions/control",
];

/// How many characters of a refused path an error repeats.
const MAX_ECHO_CHARS: usize = 100;

/// What a path asks an engine to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnginePath {
    /// Respond to a request.
    Inference,
    /// Change the engine itself. Not for clients.
    Administration,
}

/// A path that engines may read in different ways.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the path {path:?} is not in its plain form: {why}")]
pub struct AmbiguousPath {
    path: String,
    why: Ambiguity,
}

/// Why a path is ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Ambiguity {
    /// A `%` without its digits.
    #[error("each % must be followed by two hexadecimal digits")]
    BrokenEscape,
    /// An escaped letter, digit, `-`, `.`, `_` or `~`.
    #[error("letters, digits, - . _ and ~ must not be percent-encoded")]
    NeedlessEscape,
    /// A character that some engines take for a separator, or for the beginning of another escape.
    #[error("it must not hold /, \\, ;, ?, #, % or control characters, percent-encoded or not")]
    Separator,
    /// A character that is not allowed in a path.
    #[error("it holds a character that must be percent-encoded")]
    MissingEscape,
    /// The escapes are not UTF-8.
    #[error("its percent-encoding is not UTF-8")]
    NotUtf8,
    /// An empty segment that is not the last, `.` or `..`.
    #[error("it must not hold empty segments, . or ..")]
    Segment,
}

/// What `path`, without its query, asks an engine to do.
///
/// # Errors
/// When decoding and encoding the path again would change it, or when it holds a character that
/// only some engines take for a separator.
pub fn classify(path: &str) -> Result<EnginePath, AmbiguousPath> {
    if let Err(why) = check(path) {
        let path = path.chars().take(MAX_ECHO_CHARS).collect();
        return Err(AmbiguousPath { path, why });
    }
    // In a plain path none of these letters can be escaped.
    let path = path.strip_suffix('/').unwrap_or(path).as_bytes();
    let is_administration = ADMINISTRATION.iter().any(|end| {
        let from = path.len().checked_sub(end.len());
        from.and_then(|from| path.get(from..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
    });
    Ok(if is_administration {
        EnginePath::Administration
    } else {
        EnginePath::Inference
    })
}

fn check(path: &str) -> Result<(), Ambiguity> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !is_last) {
            return Err(Ambiguity::Segment);
        }
        check_segment(segment.as_bytes())?;
    }
    Ok(())
}

/// RFC 3986, section 3.3: `segment`, without `;`, and in the normal form of section 6.2.2.2.
fn check_segment(mut segment: &[u8]) -> Result<(), Ambiguity> {
    let mut escaped = Vec::new();
    while let Some((&byte, rest)) = segment.split_first() {
        segment = rest;
        match byte {
            b'%' => {
                let (digits, rest) = rest.split_at_checked(2).ok_or(Ambiguity::BrokenEscape)?;
                segment = rest;
                let byte = hex(digits).ok_or(Ambiguity::BrokenEscape)?;
                if is_unreserved(byte) {
                    return Err(Ambiguity::NeedlessEscape);
                }
                if is_separator(byte) {
                    return Err(Ambiguity::Separator);
                }
                escaped.push(byte);
                continue;
            }
            _ if is_separator(byte) => return Err(Ambiguity::Separator),
            _ if is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte) => {}
            _ => return Err(Ambiguity::MissingEscape),
        }
        // A character is escaped as a whole.
        end_of_escapes(&mut escaped)?;
    }
    end_of_escapes(&mut escaped)
}

fn end_of_escapes(escaped: &mut Vec<u8>) -> Result<(), Ambiguity> {
    if escaped.is_empty() {
        return Ok(());
    }
    let text = str::from_utf8(escaped).map_err(|_| Ambiguity::NotUtf8)?;
    // C1 controls; those of ASCII are separators.
    if text.chars().any(char::is_control) {
        return Err(Ambiguity::Separator);
    }
    escaped.clear();
    Ok(())
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_control() || b"/\\;?#%".contains(&byte)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // spec: PATH-24
    #[test]
    fn a_plain_path_is_classified() {
        for path in [
            "/",
            "/v1",
            "/v1/images/generations",
            "/v1/images/generations/",
            "/v1/a.b/c..d/.../~x",
            "/v1beta/models/x:generate",
            "/v1/files/my%20file%C3%A9%c3%a9",
            "/v1/a%2Bb+c@d%40e",
            "/v1/load_lora_adapters",
            "/v1/load_lora_adapter/x",
            "/v1/xload_lora_adapter",
        ] {
            assert_eq!(classify(path), Ok(EnginePath::Inference), "{path}");
        }
        for path in [
            "/v1/load_lora_adapter",
            "/v1/load_lora_adapter/",
            "/V1/Load_Lora_Adapter/",
            "/v1/unload_lora_adapter",
            "/load_lora_adapter",
            "/v1/chat/completions/control",
        ] {
            assert_eq!(classify(path), Ok(EnginePath::Administration), "{path}");
        }
    }

    // spec: PATH-24
    #[test]
    fn an_ambiguous_path_is_refused() {
        use Ambiguity::{BrokenEscape, MissingEscape, NeedlessEscape, NotUtf8, Segment, Separator};
        for (path, why) in [
            ("/v1/%6coad_lora_adapter", NeedlessEscape),
            ("/v1/load%5Flora_adapter", NeedlessEscape),
            ("/v1/%2e%2e/slots", NeedlessEscape),
            ("/v1/.%2E/slots", NeedlessEscape),
            ("/v1/%256coad_lora_adapter", Separator),
            ("/v1/%25%36coad_lora_adapter", Separator),
            ("/v1%2Fload_lora_adapter", Separator),
            ("/v1/x%2fload_lora_adapter", Separator),
            ("/v1\\load_lora_adapter", Separator),
            ("/v1%5cload_lora_adapter", Separator),
            ("/v1/load_lora_adapter;x=1", Separator),
            ("/v1/load_lora_adapter%3bx", Separator),
            ("/v1/load_lora_adapter%3Fx", Separator),
            ("/v1/load_lora_adapter%23", Separator),
            ("/v1/load_lora_adapter%00", Separator),
            ("/v1/load_lora_adapter%0a", Separator),
            ("/v1/load_lora_adapter%7F", Separator),
            ("/v1/load_lora_adapter%C2%85", Separator),
            ("/v1//load_lora_adapter", Segment),
            ("//v1/load_lora_adapter", Segment),
            ("/v1/load_lora_adapter//", Segment),
            ("/v1/./load_lora_adapter", Segment),
            ("/v1/../slots", Segment),
            ("/v1/x/..", Segment),
            ("/v1/%", BrokenEscape),
            ("/v1/%6", BrokenEscape),
            ("/v1/%zz", BrokenEscape),
            ("/v1/%+6", BrokenEscape),
            ("/v1/%u006c", BrokenEscape),
            ("/v1/%C3x", NotUtf8),
            ("/v1/%c0%af", NotUtf8),
            ("/v1/%FF", NotUtf8),
            ("/v1/\u{e9}", MissingEscape),
            ("/v1/a b", MissingEscape),
            ("/v1/{x}", MissingEscape),
        ] {
            let refused = classify(path).map_err(|error| error.why);
            assert_eq!(refused, Err(why), "{path}");
        }
        let error = classify("/v1/%6c\u{1b}").unwrap_err().to_string();
        assert!(
            error.starts_with(r#"the path "/v1/%6c\u{1b}" is not"#),
            "{error}"
        );
        let long = classify(&format!("/{}%6c", "x".repeat(10_000))).unwrap_err();
        assert!(long.to_string().len() < 300);
    }

    fn decoded(path: &str) -> String {
        let bytes = path.as_bytes();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            match bytes.get(at..at + 3).filter(|escape| escape[0] == b'%') {
                Some(escape) if hex(&escape[1..]).is_some() => {
                    out.extend(hex(&escape[1..]));
                    at += 3;
                }
                _ => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The path as the most lenient engine would read it.
    fn as_read_leniently(path: &str) -> String {
        let path = decoded(&decoded(path)).to_lowercase().replace('\\', "/");
        let path = path.split(['?', '#', '\0']).next().unwrap();
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment.split(';').next().unwrap() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                segment => segments.push(segment),
            }
        }
        format!("/{}", segments.join("/"))
    }

    proptest! {
        // spec: PATH-24
        #[test]
        fn no_way_of_reading_an_accepted_path_is_administration(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "/v1", "/", "load_lora_adapter", "lo", "ad_lora_adapter", "L", "%6c",
                    "%256c", "%2f", "%5C", "\\", ";", ";x", "%3b", "..", ".", "%2e", "chat",
                    "completions", "control", "%", "%25", "x", "?", "%3f", "%00",
                    "%20", "%c3%a9", ":",
                ]),
                0..8,
            ),
        ) {
            let path = format!("/{}", parts.concat());
            if classify(&path) == Ok(EnginePath::Inference) {
                let read = as_read_leniently(&path);
                prop_assert!(
                    !ADMINISTRATION.iter().any(|end| read.ends_with(end)),
                    "{path} may be read as {read}"
                );
                // Decoding it once or twice gives the same path.
                prop_assert_eq!(decoded(&path), decoded(&decoded(&path)));
            }
        }

        #[test]
        fn any_path_is_judged(path in "\\PC{0,60}") {
            let _ = classify(&path);
        }
    }
}
