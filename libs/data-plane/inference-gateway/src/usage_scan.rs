//! Finds the numbers that an engine reports of its own work, by their place in a response.
//!
//! A response repeats what the client sent: metadata, tools, schemas. A name alone is no proof that
//! the engine has written the number. So the scanner follows the nesting, and reads numbers in
//! `usage` and `timings` at the top, and nowhere else. It keeps its state between pieces, which may
//! be cut anywhere, and allocates nothing.

// Engines choose the text here: no index and no number in it may panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use memchr::{memchr2, memmem::Finder};

use crate::dialect::Dialect;

/// Longer than each name that is looked for.
const KEY_BYTES: usize = 32;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Prompt,
    Fresh,
    Cached,
    CacheMade,
    Output,
    Predicted,
    Total,
}

/// What an engine has reported; the last number of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// All tokens of the prompt.
    pub(crate) prompt: Option<u32>,
    /// Tokens of the prompt that were not in a cache.
    pub(crate) fresh: Option<u32>,
    /// Tokens of the prompt that were in a cache.
    pub(crate) cached: Option<u32>,
    /// Tokens of the prompt that are in a cache now.
    pub(crate) cache_made: Option<u32>,
    /// Generated tokens.
    pub(crate) output: Option<u32>,
    /// Generated tokens in the timings of llama-server.
    pub(crate) predicted: Option<u32>,
    /// All tokens.
    pub(crate) total: Option<u32>,
}

impl Report {
    fn set(&mut self, part: Part, count: u32) {
        let place = match part {
            Part::Prompt => &mut self.prompt,
            Part::Fresh => &mut self.fresh,
            Part::Cached => &mut self.cached,
            Part::CacheMade => &mut self.cache_made,
            Part::Output => &mut self.output,
            Part::Predicted => &mut self.predicted,
            Part::Total => &mut self.total,
        };
        *place = Some(count);
    }

    /// Takes over what a later report says.
    pub(crate) fn merge(&mut self, later: &Self) {
        self.prompt = later.prompt.or(self.prompt);
        self.fresh = later.fresh.or(self.fresh);
        self.cached = later.cached.or(self.cached);
        self.cache_made = later.cache_made.or(self.cache_made);
        self.output = later.output.or(self.output);
        self.predicted = later.predicted.or(self.predicted);
        self.total = later.total.or(self.total);
    }
}

/// An object whose fields matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The response, or an event of its stream.
    Top,
    /// The response within an event: of OpenAI's responses and Anthropic's messages.
    Envelope,
    Usage,
    Timings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Between,
    /// In a string, which is a name that may matter or not.
    Text {
        is_key: bool,
    },
    /// After a backslash in a string.
    Escaped,
    /// In a number; `None` when it is too large to be plausible.
    Number(Part, Option<u32>),
}

/// A position in a response.
#[derive(Debug, Clone)]
pub(crate) struct UsageScan {
    mode: Mode,
    /// How many objects and lists are open.
    depth: u32,
    /// The outermost open objects that matter. Each is a field of the one before it.
    places: [Place; 3],
    open: u8,
    key: [u8; KEY_BYTES],
    /// `KEY_BYTES` and more: another name.
    key_bytes: usize,
    /// The next string of the innermost place is a name.
    expects_key: bool,
    /// The outermost object has ended.
    has_ended: bool,
}

impl Default for UsageScan {
    fn default() -> Self {
        Self {
            mode: Mode::Between,
            depth: 0,
            places: [Place::Top; 3],
            open: 0,
            key: [0; KEY_BYTES],
            key_bytes: 0,
            expects_key: false,
            has_ended: false,
        }
    }
}

impl UsageScan {
    /// A position at the name of a field at the top.
    fn at_field() -> Self {
        Self {
            depth: 1,
            open: 1,
            expects_key: true,
            ..Self::default()
        }
    }

    /// Reads the next piece of a response in JSON, or of several.
    pub(crate) fn piece(&mut self, dialect: Dialect, mut rest: &[u8], report: &mut Report) {
        while let Some((&first, after)) = rest.split_first() {
            match self.mode {
                Mode::Text { is_key } => {
                    let end = memchr2(b'"', b'\\', rest);
                    let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                    if is_key {
                        self.extend_key(text);
                    }
                    let Some(end) = end else { return };
                    let (_, from_end) = rest.split_at_checked(end).unwrap_or_default();
                    let Some((&ending, after)) = from_end.split_first() else {
                        return;
                    };
                    rest = after;
                    self.mode = Mode::Between;
                    if ending == b'\\' {
                        // No name that matters has an escape.
                        if is_key {
                            self.key_bytes = KEY_BYTES;
                        }
                        self.mode = Mode::Escaped;
                    }
                }
                Mode::Escaped => {
                    rest = after;
                    self.mode = Mode::Text { is_key: false };
                }
                Mode::Number(part, count) if first.is_ascii_digit() => {
                    let digit = u32::from(first.saturating_sub(b'0'));
                    let count = count.and_then(|count| count.checked_mul(10)?.checked_add(digit));
                    rest = after;
                    self.mode = Mode::Number(part, count);
                }
                Mode::Number(part, count) => {
                    if let Some(count) = count {
                        report.set(part, count);
                    }
                    self.mode = Mode::Between;
                }
                Mode::Between => {
                    rest = after;
                    self.between(dialect, first);
                }
            }
        }
    }

    fn between(&mut self, dialect: Dialect, byte: u8) {
        // Directly in the innermost place.
        let is_direct = self.depth > 0 && self.depth == u32::from(self.open);
        match byte {
            b'{' => self.open_object(dialect, is_direct),
            // A list of responses has each of them at the top.
            b'[' if self.depth > 0 => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if self.depth > 0 => {
                if is_direct {
                    self.open = self.open.saturating_sub(1);
                }
                self.depth = self.depth.saturating_sub(1);
                self.has_ended = self.has_ended || self.depth == 0;
                self.forget_key();
            }
            b'"' if self.depth > 0 => {
                let is_key = is_direct && self.expects_key;
                if is_key {
                    self.key_bytes = 0;
                }
                self.mode = Mode::Text { is_key };
            }
            b':' if is_direct => self.expects_key = false,
            b',' if is_direct => self.expects_key = true,
            b'0'..=b'9' if is_direct && !self.expects_key => {
                if let Some(part) = self.part(dialect) {
                    self.mode = Mode::Number(part, Some(u32::from(byte.saturating_sub(b'0'))));
                }
                // What follows a fraction or an exponent is no other number.
                self.forget_key();
            }
            // A negative number.
            b'-' if is_direct => self.forget_key(),
            _ => {}
        }
    }

    fn open_object(&mut self, dialect: Dialect, is_direct: bool) {
        let place = match (self.depth, self.place(), self.key()) {
            (0, ..) => Some(Place::Top),
            _ if !is_direct || self.expects_key => None,
            (_, Some(Place::Top | Place::Envelope), b"usage") => Some(Place::Usage),
            (_, Some(Place::Top), b"timings") => Some(Place::Timings),
            (_, Some(Place::Top), b"response") if dialect == Dialect::Responses => {
                Some(Place::Envelope)
            }
            (_, Some(Place::Top), b"message") if dialect == Dialect::Messages => {
                Some(Place::Envelope)
            }
            _ => None,
        };
        if let Some(place) = place
            && let Some(free) = self.places.get_mut(usize::from(self.open))
        {
            *free = place;
            self.open = self.open.saturating_add(1);
            self.expects_key = true;
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn place(&self) -> Option<Place> {
        let last = self.open.checked_sub(1)?;
        self.places.get(usize::from(last)).copied()
    }

    /// What a number in the innermost place is.
    fn part(&self, dialect: Dialect) -> Option<Part> {
        use Dialect::{Completions, Messages, Ollama, Plain, Responses};
        let part = match (dialect, self.place()?, self.key()) {
            (Completions | Plain, Place::Usage, b"prompt_tokens") => Part::Prompt,
            (Completions | Plain, Place::Usage, b"completion_tokens") => Part::Output,
            (Plain, Place::Usage, b"total_tokens") => Part::Total,
            (Completions, Place::Timings, b"prompt_n") => Part::Fresh,
            (Completions, Place::Timings, b"cache_n") => Part::Cached,
            (Completions, Place::Timings, b"predicted_n") => Part::Predicted,
            // llama-server's own routes.
            (Plain, Place::Top, b"tokens_evaluated") => Part::Prompt,
            (Plain, Place::Top, b"tokens_predicted") => Part::Output,
            // Only Anthropic's messages count the cache apart.
            (Responses | Messages, Place::Usage, b"input_tokens") => Part::Fresh,
            (Responses | Messages, Place::Usage, b"output_tokens") => Part::Output,
            (Messages, Place::Usage, b"cache_read_input_tokens") => Part::Cached,
            (Messages, Place::Usage, b"cache_creation_input_tokens") => Part::CacheMade,
            (Completions | Responses | Messages | Plain | Ollama, ..) => return None,
        };
        Some(part)
    }

    fn key(&self) -> &[u8] {
        self.key.get(..self.key_bytes).unwrap_or_default()
    }

    fn forget_key(&mut self) {
        self.key_bytes = 0;
    }

    fn extend_key(&mut self, text: &[u8]) {
        let end = self.key_bytes.saturating_add(text.len());
        if let Some(free) = self.key.get_mut(self.key_bytes..end) {
            free.copy_from_slice(text);
        }
        self.key_bytes = end;
    }
}

/// Every report has one of these, with a value after it.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""usage""#));
static TIMINGS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""timings""#));
static NATIVE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""tokens_predicted""#));

/// Where a text reports something first, if it may. Nearly every event of a stream does not, and
/// some have `"usage":null`.
fn first_report(dialect: Dialect, text: &[u8]) -> Option<usize> {
    let object = |name: &Finder<'_>, text: &[u8]| {
        name.find_iter(text).find(|at| {
            let after = text.get(at.saturating_add(name.needle().len())..);
            let after = after.unwrap_or_default().trim_ascii_start();
            let value = after.strip_prefix(b":").unwrap_or_default();
            value.trim_ascii_start().starts_with(b"{")
        })
    };
    match dialect {
        Dialect::Completions => {
            let usage = object(&USAGE, text);
            let before = text.get(..usage.unwrap_or(text.len())).unwrap_or_default();
            object(&TIMINGS, before).or(usage)
        }
        Dialect::Responses | Dialect::Messages => object(&USAGE, text),
        // The native number of the prompt may come before that of the output.
        Dialect::Plain => object(&USAGE, text)
            .or_else(|| NATIVE.find(text))
            .map(|_| 0),
        Dialect::Ollama => None,
    }
}

/// What a whole response reports.
pub(crate) fn whole_report(dialect: Dialect, response: &[u8]) -> Option<Report> {
    let first = first_report(dialect, response)?;
    let (_, rest) = response.split_at_checked(first)?;
    Some(rest_report(dialect, rest).unwrap_or_else(|| {
        let mut report = Report::default();
        // A number that nothing follows is whole.
        let mut scan = UsageScan::default();
        scan.piece(dialect, response, &mut report);
        scan.piece(dialect, b" ", &mut report);
        report
    }))
}

/// What a response reports from the name of its first report on. Reports are at its end, so most of
/// it is not read. `None` when that name is not a field at the top: then the object that it belongs
/// to ends before the response does, or never.
fn rest_report(dialect: Dialect, rest: &[u8]) -> Option<Report> {
    let (last, before) = rest.trim_ascii_end().split_last()?;
    if !before.starts_with(b"\"") {
        return None;
    }
    let (mut scan, mut report) = (UsageScan::at_field(), Report::default());
    scan.piece(dialect, before, &mut report);
    if scan.has_ended {
        return None;
    }
    scan.piece(dialect, &[*last], &mut report);
    scan.has_ended.then_some(report)
}

/// What whole events report. The last one that reports a number wins.
pub(crate) fn events_report(dialect: Dialect, events: &[u8]) -> Option<Report> {
    first_report(dialect, events).map(|_| {
        let mut report = Report::default();
        let mut scan = UsageScan::default();
        for line in events.split(|byte| *byte == b'\n') {
            if let Some(data) = line.strip_prefix(b"data:") {
                scan.piece(dialect, data, &mut report);
            } else if line.trim_ascii().is_empty() {
                scan = UsageScan::default();
            }
        }
        report
    })
}
