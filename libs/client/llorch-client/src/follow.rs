//! Following events across lost connections, without losing or repeating one.

use std::time::Duration;

use crate::{Client, ClientError, Events, SseEvent, clock::pause};

/// The first pause before a lost connection is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: a person who watches wants to see the server come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// An event.
    Event(SseEvent),
    /// The connection is lost; the next call tries again, after a pause, from where it was.
    Lost(ClientError),
    /// There are no more events.
    End,
}

/// Events of one source, resumed by `Last-Event-ID`.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    path: String,
    last: Option<String>,
    events: Option<Events>,
    /// It has been connected once: from then on a failure is a lost connection.
    connected: bool,
    failures: u32,
}

impl Follow {
    pub(crate) fn new(client: Client, path: String, last: Option<String>) -> Self {
        Self {
            client,
            path,
            last,
            events: None,
            connected: false,
            failures: 0,
        }
    }

    /// The id of the last event, to go on from there at another time.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// How often in a row it could not connect.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The next event, or what happened to the connection.
    ///
    /// # Errors
    /// When the server cannot be reached the first time, or refuses.
    pub fn step(&mut self) -> Result<Followed, ClientError> {
        match self.try_step() {
            Ok(followed) => Ok(followed),
            Err(error) if self.connected && error.is_connection() => {
                self.events = None;
                self.failures += 1;
                Ok(Followed::Lost(error))
            }
            Err(error) => Err(error),
        }
    }

    fn try_step(&mut self) -> Result<Followed, ClientError> {
        let mut events = match self.events.take() {
            Some(events) => events,
            None => {
                pause(pause_after(self.failures));
                match self.client.events(&self.path, self.last.as_deref())? {
                    Some(events) => events,
                    None => return Ok(Followed::End),
                }
            }
        };
        self.connected = true;
        let event = events
            .next_event()?
            .ok_or_else(|| events.broken("the server closed it"))?;
        self.failures = 0;
        if event.id.is_some() {
            self.last.clone_from(&event.id);
        }
        self.events = Some(events);
        Ok(Followed::Event(event))
    }
}

/// Zero before the first try.
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
