//! The trace of a request, from the W3C header `traceparent` (Trace Context, level 1).

use std::fmt;

use http::HeaderName;

/// The header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    /// The span that made the request.
    parent_id: u64,
    flags: u8,
}

/// The trace is recorded. A trace that begins here is undecided; with this flag, later services
/// record it.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// A trace that begins here.
    #[must_use]
    pub fn new() -> Self {
        Self {
            // Zero is not a valid id.
            trace_id: fastrand::u128(..).max(1),
            parent_id: random_span(),
            flags: SAMPLED,
        }
    }

    /// Parses a header; `None` if it is malformed, and then a new trace begins.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let version = hex(parts.next()?, 2)?;
        let context = Self {
            trace_id: hex(parts.next()?, 32)?,
            parent_id: u64::try_from(hex(parts.next()?, 16)?).ok()?,
            flags: u8::try_from(hex(parts.next()?, 2)?).ok()?,
        };
        // Later versions may add parts; this one has none.
        let is_known = version != 0xff && (version > 0 || parts.next().is_none());
        (is_known && context.trace_id != 0 && context.parent_id != 0).then_some(context)
    }

    /// The next step of the same trace, made here.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            parent_id: random_span(),
            ..self
        }
    }

    /// The value of the header. Every request gets one, so it is written without the formatting
    /// machinery.
    #[must_use]
    pub fn to_header(self) -> [u8; 55] {
        let mut text = *b"00-................................-................-..";
        write_hex(&mut text[3..35], &self.trace_id.to_be_bytes());
        write_hex(&mut text[36..52], &self.parent_id.to_be_bytes());
        write_hex(&mut text[53..], &[self.flags]);
        text
    }

    /// Trace id, span id and flags.
    #[cfg(feature = "otlp")]
    pub(crate) fn parts(self) -> (u128, u64, u8) {
        (self.trace_id, self.parent_id, self.flags)
    }

    /// Builds a context from [`parts`](Self::parts).
    #[cfg(feature = "otlp")]
    pub(crate) fn from_parts(trace_id: u128, parent_id: u64, flags: u8) -> Self {
        Self {
            trace_id,
            parent_id,
            flags,
        }
    }

    /// The trace id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_header()).unwrap_or_default())
    }
}

/// A new span id. Zero is not a valid one.
fn random_span() -> u64 {
    fastrand::u64(..).max(1)
}

/// Writes bytes as pairs of hexadecimal digits. `text` has two places for each byte.
fn write_hex(text: &mut [u8], bytes: &[u8]) {
    let written = const_hex::encode_to_slice(bytes, text);
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Exactly `N` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_right = text.len() == digits && text.bytes().all(is_hex);
    is_right.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    // spec: SEE-15
    #[test]
    fn a_header_is_read_and_written() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child, context);
        assert_eq!(TraceContext::parse(&child.to_string()), Some(child));
        let fresh = TraceContext::new();
        assert_eq!(TraceContext::parse(&fresh.to_string()), Some(fresh));
    }

    // spec: SEE-15
    #[test]
    fn what_is_none_is_refused() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
        assert!(TraceContext::parse(&GOOD.replacen("00", "01", 1)).is_some());
        assert!(TraceContext::parse(&format!("01{}-x", &GOOD[2..])).is_some());
    }
}
