//! One task's life: queued, running, and exactly one end. Pure: `(state, change, now)`.

use std::time::Duration;

use pool_registry_types::ErrorCode;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    event::{
        Embedding, End, EngineFacts, Event, Failure, Forecast, Metrics, Place, Started, Token,
    },
    log::EventLog,
};

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It waits for a slot.
    Queued,
    /// An engine works on it.
    Running,
    /// Its answer is complete.
    Done,
    /// It ended with an error.
    Failed,
    /// Its client wanted no more of it.
    Cancelled,
}

impl State {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What happens to a task.
#[derive(Debug)]
pub(crate) enum Change {
    /// An engine has taken it.
    Started(Place),
    /// The engine sent a piece of text.
    Token { text: Box<str>, reasoning: bool },
    /// The engine sent an embedding.
    Embedding { index: u32, values: Box<RawValue> },
    /// The engine said that the answer is complete.
    Finished {
        facts: EngineFacts,
        reason: Option<String>,
    },
    /// It cannot be served, or not to its end.
    Failed(Failure),
    /// Its client cancels it.
    Cancelled,
}

/// A task with everything it has told.
#[derive(Debug)]
pub(crate) struct Task {
    state: State,
    log: EventLog,
    /// What it was told when it came.
    forecast: Forecast,
    max_bytes: usize,
    tokens: u32,
    created: Duration,
    started: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Option<Duration>,
}

impl Task {
    /// A task that keeps at most about `max_bytes` of events.
    pub(crate) fn new(max_bytes: usize, now: Duration) -> Self {
        Self {
            state: State::Queued,
            log: EventLog::default(),
            forecast: Forecast::default(),
            max_bytes,
            tokens: 0,
            created: now,
            started: None,
            first_token: None,
            last_token: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    pub(crate) fn forecast(&self) -> Forecast {
        self.forecast
    }

    /// How many `token` events it has told.
    pub(crate) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Why it has no answer, or only a part of one.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self.log.last() {
            Some(Event::Error(failure)) => Some(failure),
            _ => None,
        }
    }

    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.created)
    }

    pub(crate) fn expect(&mut self, forecast: Forecast) {
        self.forecast = forecast;
    }

    /// Applies `change`; false when it comes too late, or an engine talks before it has started.
    /// Whatever comes after an end changes nothing, so a token that was on its way when the
    /// task was cancelled is never told.
    pub(crate) fn apply(&mut self, change: Change, now: Duration) -> bool {
        match (self.state, change) {
            (State::Queued, Change::Started(place)) => self.start(place, now),
            (State::Running, Change::Token { text, reasoning }) => self.token(text, reasoning, now),
            (State::Running, Change::Embedding { index, values }) => {
                self.keep(Event::Embedding(Embedding {
                    i: index,
                    embedding: values,
                }));
            }
            (State::Running, Change::Finished { facts, reason }) => self.finish(facts, reason),
            (State::Queued | State::Running, Change::Failed(failure)) => {
                self.end(State::Failed, failure)
            }
            (State::Queued | State::Running, Change::Cancelled) => {
                let failure = Failure::new(ErrorCode::Cancelled, "the task was cancelled");
                self.end(State::Cancelled, failure);
            }
            _ => return false,
        }
        true
    }

    fn start(&mut self, place: Place, now: Duration) {
        self.state = State::Running;
        self.started = Some(now);
        self.log.append(Event::Started(Box::new(Started {
            forecast: self.forecast,
            waited_ms: millis(self.age(now)),
            place,
        })));
    }

    fn token(&mut self, text: Box<str>, reasoning: bool, now: Duration) {
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        let kept = self.keep(Event::Token(Token {
            t: text,
            i: self.tokens,
            reasoning,
        }));
        if kept {
            self.tokens = self.tokens.saturating_add(1);
        }
    }

    /// Appends an event of the answer. One answer too long to be kept ends the task: a log with a
    /// hole in it would tell a late reader a different answer than an early one.
    fn keep(&mut self, event: Event) -> bool {
        if self.log.bytes() + event.size() > self.max_bytes {
            let message = format!(
                "the answer is longer than the {} bytes that are kept of a task",
                self.max_bytes
            );
            self.end(
                State::Failed,
                Failure::new(ErrorCode::PayloadTooLarge, message),
            );
            return false;
        }
        self.log.append(event)
    }

    fn finish(&mut self, facts: EngineFacts, reason: Option<String>) {
        let tokens_out = facts.completion_tokens.unwrap_or(u64::from(self.tokens));
        let since =
            |from: Option<Duration>, to: Option<Duration>| Some(millis(to?.saturating_sub(from?)));
        let metrics = Metrics {
            engine: facts,
            queue_ms: since(Some(self.created), self.started),
            first_token_ms: since(self.started, self.first_token),
        };
        self.log.append(Event::Metrics(Box::new(metrics)));
        self.log.append(Event::End(End {
            tokens_out,
            decode_time_ms: since(self.first_token, self.last_token).unwrap_or_default(),
            finish_reason: reason,
        }));
        self.state = State::Done;
    }

    fn end(&mut self, state: State, failure: Failure) {
        self.state = state;
        self.log.append(Event::Error(failure));
    }
}

/// Whole milliseconds, as far as a `u64` goes.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
