//! Takes the event with nothing but the usage out of a stream whose client has not asked for it.

// Engines choose the text here: no index into it may panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use sse::split_last_event;

/// Every such event contains these.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""usage":"#));
static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""choices":"#));

/// Whole events without those that hold only the usage.
pub(crate) fn without_usage(events: Bytes) -> Bytes {
    // Within generated text the quotes would be escaped.
    if !has_value(&USAGE, &events, b"{") {
        return events;
    }
    let mut kept = Vec::new();
    let mut rest: &[u8] = &events;
    while !rest.is_empty() {
        let (before, last) = split_last_event(rest);
        if !is_only_usage(last) {
            kept.push(rest.get(before.len()..).unwrap_or_default());
        }
        if before.len() >= rest.len() {
            break;
        }
        rest = before;
    }
    kept.reverse();
    Bytes::from(kept.concat())
}

fn is_only_usage(event: &[u8]) -> bool {
    has_value(&USAGE, event, b"{") && has_value(&CHOICES, event, b"[]")
}

/// Whether the field has a value that begins with these bytes, whatever blanks are between.
fn has_value(field: &Finder<'_>, events: &[u8], value: &[u8]) -> bool {
    field.find_iter(events).any(|at| {
        let after = at.saturating_add(field.needle().len());
        let mut found = events.get(after..).unwrap_or_default();
        value.iter().all(|byte| {
            found = found.trim_ascii_start();
            let (first, rest) = found.split_first().unwrap_or((&0, b""));
            found = rest;
            first == byte
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-21
    #[test]
    fn only_the_event_with_nothing_but_the_usage_is_removed() {
        let text = "\\\"usage\\\":{";
        let token = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],\"usage\":null}}\n\n"
        );
        let token = &*token;
        let last = "data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"x\":1}}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n";
        let spaced = "data: {\"choices\" : [], \"usage\": {}}\r\n\r\n";
        let done = "data: [DONE]\n\n";
        let pass = |events: &str| {
            let passed = without_usage(Bytes::from(events.to_owned()));
            String::from_utf8(passed.to_vec()).unwrap()
        };
        for unchanged in [token, last, done, ": ping\n\n", ""] {
            assert_eq!(pass(unchanged), unchanged);
        }
        assert_eq!(pass(usage), "");
        assert_eq!(pass(&[token, usage, done].concat()), [token, done].concat());
        assert_eq!(pass(&[usage, done].concat()), done);
        assert_eq!(
            pass(&[token, ":\n\n", last, usage].concat()),
            [token, ":\n\n", last].concat()
        );
        let spaced = spaced.replace("\"choices\" :", "\"choices\":");
        assert_eq!(pass(&[&spaced, done].concat()), done);
    }
}
