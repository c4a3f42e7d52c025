//! Event subscriptions that survive lost connections without losing or repeating an event.

use std::time::Duration;

use crate::{
    clock::pause,
    error::ClientError,
    event_stream::{EventStream, ServerEvent},
    transport::Transport,
};

/// The pause before the first reconnection. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: short enough that a person sees the server come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What a subscription returns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SubscriptionUpdate {
    /// An event.
    Event(ServerEvent),
    /// The connection is lost. The next call reconnects after a pause.
    Disconnected(ClientError),
    /// There are no more events.
    End,
}

/// Subscribes to the events of one source. Reconnects with `Last-Event-ID`.
#[derive(Debug)]
pub struct EventSubscription {
    transport: Transport,
    path: String,
    last_id: Option<String>,
    stream: Option<EventStream>,
    /// The first connection has succeeded. From then on a failed connection is retried.
    was_connected: bool,
    failures: u32,
}

impl EventSubscription {
    pub(crate) fn new(transport: Transport, path: String, last_id: Option<String>) -> Self {
        Self {
            transport,
            path,
            last_id,
            stream: None,
            was_connected: false,
            failures: 0,
        }
    }

    /// The id of the last event, with which another subscription can continue.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How many connections have failed since the last event.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Waits for the next event, or for the end of the connection.
    ///
    /// # Errors
    /// When the first connection fails, or the server refuses.
    pub fn next_update(&mut self) -> Result<SubscriptionUpdate, ClientError> {
        match self.try_next() {
            Ok(update) => Ok(update),
            Err(error) if self.was_connected && error.is_connection() => {
                self.stream = None;
                self.failures = self.failures.saturating_add(1);
                Ok(SubscriptionUpdate::Disconnected(error))
            }
            Err(error) => Err(error),
        }
    }

    fn try_next(&mut self) -> Result<SubscriptionUpdate, ClientError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                pause(pause_after(self.failures));
                match self.transport.events(&self.path, self.last_id.as_deref())? {
                    Some(stream) => stream,
                    None => return Ok(SubscriptionUpdate::End),
                }
            }
        };
        self.was_connected = true;
        let event = stream
            .next_event()?
            .ok_or_else(|| stream.interrupted("the server closed the connection"))?;
        self.failures = 0;
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        self.stream = Some(stream);
        Ok(SubscriptionUpdate::Event(event))
    }
}

/// The pause before the next connection; zero before the first.
fn pause_after(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let pauses: Vec<u128> = [0, 1, 2, 3, 9, 99]
            .map(|n| pause_after(n).as_millis())
            .into();
        assert_eq!(pauses, [0, 200, 400, 800, 3000, 3000]);
    }
}
