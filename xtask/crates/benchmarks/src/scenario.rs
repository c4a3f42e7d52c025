//! What is asked of every contender.

use std::time::Duration;

use test_client::chat_body;

/// The tokens of a streamed answer.
const STREAM_TOKENS: u32 = 64;
/// The events of a stream beside its tokens: the role, the finish reason, `[DONE]`.
const OTHER_EVENTS: u32 = 3;
/// The tokens of an answer of [`SLOW`] engines: four seconds.
const SLOW_TOKENS: u32 = 8;
/// The tokens of an unstreamed answer: a body of about 400 bytes.
const WHOLE_TOKENS: u32 = 16;

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scenario {
    /// In a word, for options and file names.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) connections: u32,
    pub(super) streamed: bool,
    /// Of one answer.
    pub(super) tokens: u32,
    /// What the engines are told, see `fake-engine --help`.
    pub(super) engine: &'static str,
    /// Whether the first half second does not count. Where the burst of new connections is part of
    /// the question, it does.
    pub(super) warm_up: bool,
    /// Whether the same load runs once before, uncounted and for [`REHEARSAL`], and is long over
    /// ([`PAUSE`]).
    pub(super) rehearsed: bool,
}

/// How long a rehearsal lasts: one stream and a bit.
pub(super) const REHEARSAL: Duration = Duration::from_millis(800);
/// From the rehearsal to what counts. Engines, the stand-ins too, close connections that were idle
/// for 5 s: after that, a burst needs new connections.
pub(super) const PAUSE: Duration = Duration::from_secs(6);

const FAST: &str = "first_ms=0,token_ms=0,burst=0";
const LIVE: &str = "first_ms=20,token_ms=10,burst=0";
/// Slow enough that the events of all streams together keep no part busy: 2 tokens a second.
const SLOW: &str = "first_ms=20,token_ms=500,burst=0";

/// What is measured, in this order.
pub(super) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "unstreamed",
        title: "Unstreamed, 32 connections",
        connections: 32,
        streamed: false,
        tokens: WHOLE_TOKENS,
        engine: FAST,
        warm_up: true,
        rehearsed: false,
    },
    Scenario {
        name: "streamed",
        title: "Streamed, 64 chunks an answer, each written by itself as engines do, 32 \
                connections",
        connections: 32,
        streamed: true,
        tokens: STREAM_TOKENS,
        engine: FAST,
        warm_up: true,
        rehearsed: false,
    },
    // No engine does this; it shows what a chunk costs when reading and writing it costs nothing.
    Scenario {
        name: "burst",
        title: "Streamed, 64 chunks an answer, all in one write, 32 connections",
        connections: 32,
        streamed: true,
        tokens: STREAM_TOKENS,
        engine: "first_ms=0,token_ms=0,burst=1",
        warm_up: true,
        rehearsed: false,
    },
    // Much of it is the first touch of memory, which on a virtual machine is dear.
    Scenario {
        name: "first",
        title: "The first 256 live streams in the life of a gateway: 20 ms to the first token, 10 \
                ms between tokens, all begun at once",
        connections: 256,
        streamed: true,
        tokens: STREAM_TOKENS,
        engine: LIVE,
        warm_up: false,
        rehearsed: false,
    },
    Scenario {
        name: "live",
        title: "256 live streams as before, all begun at once on new connections, 6 s after the \
                last such burst",
        connections: 256,
        streamed: true,
        tokens: STREAM_TOKENS,
        engine: LIVE,
        warm_up: false,
        rehearsed: true,
    },
    Scenario {
        name: "crowd",
        title: "4000 live streams: 20 ms to the first token, 500 ms between tokens, all begun at \
                once on new connections",
        connections: 4000,
        streamed: true,
        tokens: SLOW_TOKENS,
        engine: SLOW,
        warm_up: false,
        rehearsed: false,
    },
];

/// Tokens the engines are ready to answer.
pub(super) const ENGINE_TOKENS: u32 = STREAM_TOKENS;
/// Slots of each engine: alone it could serve every scenario, so that slots never limit.
pub(super) const ENGINE_SLOTS: u32 = 4096;
/// The directive for engines that answer at once.
pub(super) const ENGINE_FAST: &str = FAST;

impl Scenario {
    /// The options of `load-gen` for it.
    pub(super) fn load(&self, seconds: f64) -> Vec<String> {
        let mut options = vec![
            "--connections".to_owned(),
            self.connections.to_string(),
            "--body".to_owned(),
            chat_body(self.tokens, self.streamed).to_string(),
            "--seconds".to_owned(),
            seconds.to_string(),
            "--warm-up".to_owned(),
            if self.warm_up { "0.5" } else { "0" }.to_owned(),
        ];
        if self.streamed {
            options.extend([
                "--stream".to_owned(),
                "--events".to_owned(),
                (self.tokens + OTHER_EVENTS).to_string(),
            ]);
        }
        options
    }
}
