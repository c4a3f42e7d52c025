//! A stream of events as a stream of lines.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use ollama_api::{Answer, Moment};
use stream_proxy::StreamError;
use tokio::time::Instant;

/// A stream of OpenAI's API that Ollama's clients read.
#[derive(Debug)]
pub(crate) struct OllamaBody<B> {
    /// Sends whole events.
    events: Box<B>,
    answer: Answer,
    started: Instant,
    is_over: bool,
}

impl<B> OllamaBody<B>
where
    B: Body<Data = Bytes, Error = StreamError> + Unpin,
{
    pub(crate) fn new(events: B, answer: Answer, started: Instant) -> Self {
        Self {
            events: Box::new(events),
            answer,
            started,
            is_over: false,
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.is_over
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let lines = match ready!(Pin::new(&mut *self.events).poll_frame(cx)) {
                Some(Ok(frame)) => self.translate(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.is_over = true;
                    with_moment(self.started, |now| self.answer.end(now))
                }
            };
            if !lines.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(lines.into()))));
            }
        }
    }

    /// The lines for whole events. The data of an event is one line.
    fn translate(&mut self, events: &[u8]) -> Vec<u8> {
        with_moment(self.started, |now| {
            let data = sse::fields(events).filter(|field| is_data(field.name));
            data.flat_map(|field| self.answer.event(field.value, now))
                .collect()
        })
    }
}

/// `error` is llama-server's format of errors.
fn is_data(name: &[u8]) -> bool {
    matches!(name, b"data" | b"error")
}

fn with_moment<T>(started: Instant, run: impl FnOnce(Moment<'_>) -> T) -> T {
    let created_at = rfc3339(SystemTime::now());
    run(Moment {
        created_at: &created_at,
        elapsed_ns: nanos_since(started),
    })
}

/// The time since the request came.
pub(crate) fn nanos_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A time of day as Ollama writes it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}
