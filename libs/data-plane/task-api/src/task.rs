//! The states of a task: queued, running, and exactly one end. It is pure: `(state, change, now)`.

use std::time::Duration;

use pool_registry_types::ErrorCode;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    event::{
        Embedding, End, EngineFigures, Forecast, Metrics, ServedBy, Started, TaskError, TaskEvent,
        Token,
    },
    log::EventLog,
};

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = State))]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskState {
    /// It waits for a slot.
    Queued,
    /// An engine generates its answer.
    Running,
    /// Its answer is complete.
    Done,
    /// It ended with an error.
    Failed,
    /// Its client cancelled it.
    Cancelled,
}

impl TaskState {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// A change of a task.
#[derive(Debug)]
pub(crate) enum TaskChange {
    /// An engine has started its request.
    Started(ServedBy),
    /// The engine sent a piece of text.
    Token { text: Box<str>, reasoning: bool },
    /// The engine sent an embedding.
    Embedding { index: u32, values: Box<RawValue> },
    /// The answer is complete.
    Finished {
        figures: EngineFigures,
        reason: Option<String>,
    },
    /// There is no answer, or an incomplete one.
    Failed(TaskError),
    /// Its client cancels it.
    Cancelled,
}

impl From<TaskError> for TaskChange {
    fn from(error: TaskError) -> Self {
        Self::Failed(error)
    }
}

/// A task with its events.
#[derive(Debug)]
pub(crate) struct Task {
    state: TaskState,
    log: EventLog,
    /// The forecast at its submission.
    forecast: Forecast,
    max_bytes: usize,
    tokens: u32,
    created: Duration,
    started: Option<Duration>,
    first_token: Option<Duration>,
    last_token: Option<Duration>,
}

impl Task {
    /// Creates a task that keeps at most about `max_bytes` of events.
    pub(crate) fn new(max_bytes: usize, now: Duration) -> Self {
        Self {
            state: TaskState::Queued,
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

    pub(crate) fn state(&self) -> TaskState {
        self.state
    }

    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    pub(crate) fn forecast(&self) -> Forecast {
        self.forecast
    }

    /// The number of its `token` events.
    pub(crate) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Why it has no answer, or an incomplete one.
    pub(crate) fn error(&self) -> Option<&TaskError> {
        match self.log.last() {
            Some(TaskEvent::Error(error)) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.created)
    }

    pub(crate) fn set_forecast(&mut self, forecast: Forecast) {
        self.forecast = forecast;
    }

    /// Applies `change`. Returns false when it comes after the end, or before the start.
    ///
    /// Nothing changes after the end, so a token that was on its way when the task was cancelled
    /// never becomes an event.
    pub(crate) fn apply(&mut self, change: TaskChange, now: Duration) -> bool {
        match (self.state, change) {
            (TaskState::Queued, TaskChange::Started(served_by)) => self.start(served_by, now),
            (TaskState::Running, TaskChange::Token { text, reasoning }) => {
                self.token(text, reasoning, now);
            }
            (TaskState::Running, TaskChange::Embedding { index, values }) => {
                self.append(TaskEvent::Embedding(Embedding {
                    i: index,
                    embedding: values,
                }));
            }
            (TaskState::Running, TaskChange::Finished { figures, reason }) => {
                self.finish(figures, reason);
            }
            (TaskState::Queued | TaskState::Running, TaskChange::Failed(error)) => {
                self.end(TaskState::Failed, error);
            }
            (TaskState::Queued | TaskState::Running, TaskChange::Cancelled) => {
                let error = TaskError::new(ErrorCode::Cancelled, "the task was cancelled");
                self.end(TaskState::Cancelled, error);
            }
            _ => return false,
        }
        true
    }

    fn start(&mut self, served_by: ServedBy, now: Duration) {
        self.state = TaskState::Running;
        self.started = Some(now);
        self.log.append(TaskEvent::Started(Box::new(Started {
            forecast: self.forecast,
            waited_ms: millis(self.age(now)),
            served_by,
        })));
    }

    fn token(&mut self, text: Box<str>, reasoning: bool, now: Duration) {
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        let kept = self.append(TaskEvent::Token(Token {
            t: text,
            i: self.tokens,
            reasoning,
        }));
        if kept {
            self.tokens = self.tokens.saturating_add(1);
        }
    }

    /// Appends an event of the answer. An answer that is too long to be kept ends the task: with an
    /// incomplete log a late reader would get another answer than an early one.
    fn append(&mut self, event: TaskEvent) -> bool {
        if self.log.bytes() + event.size() > self.max_bytes {
            let message = format!(
                "the answer is longer than the {} bytes that are kept of a task",
                self.max_bytes
            );
            self.end(
                TaskState::Failed,
                TaskError::new(ErrorCode::PayloadTooLarge, message),
            );
            return false;
        }
        self.log.append(event)
    }

    fn finish(&mut self, figures: EngineFigures, reason: Option<String>) {
        let tokens_out = figures.completion_tokens.unwrap_or(u64::from(self.tokens));
        let since =
            |from: Option<Duration>, to: Option<Duration>| Some(millis(to?.saturating_sub(from?)));
        let metrics = Metrics {
            engine: figures,
            queue_ms: since(Some(self.created), self.started),
            first_token_ms: since(self.started, self.first_token),
        };
        self.log.append(TaskEvent::Metrics(Box::new(metrics)));
        self.log.append(TaskEvent::End(End {
            tokens_out,
            decode_time_ms: since(self.first_token, self.last_token).unwrap_or_default(),
            finish_reason: reason,
        }));
        self.state = TaskState::Done;
    }

    fn end(&mut self, state: TaskState, error: TaskError) {
        self.state = state;
        self.log.append(TaskEvent::Error(error));
    }
}

/// Whole milliseconds, at most `u64::MAX`.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
