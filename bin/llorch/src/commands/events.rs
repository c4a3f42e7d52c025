//! `events`: what happened in the fleet, and what happens.

use llorch_client::{FleetEvent, Follow, Followed, SseEvent};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{App, is_older, status::clock_time};
use crate::{
    exit::{Exit, Failure, Outcome},
    output::{Cell, Table, note},
};

impl App {
    pub(super) fn events(
        &self,
        follow: bool,
        limit: Option<u32>,
        after: Option<String>,
    ) -> Outcome {
        let told = if follow {
            self.follow_fleet(after)
        } else {
            self.recent(limit)
        };
        told.map_err(|failure| match failure {
            Failure::Client(error) if is_older(&error) => {
                let url = self.client.url();
                let message = format!(
                    "{url} has no /v2/events: it is older than this llorch; upgrade it, or read \
                     its log"
                );
                Failure::Told(Exit::NotFound, message)
            }
            failure => failure,
        })
    }

    fn recent(&self, limit: Option<u32>) -> Outcome {
        let answer = self.client.recent_events(limit)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let mut table = Table::new(&["AT", "EVENT", "NODE", "POOL", "MODEL", "MESSAGE"]);
        for event in answer.raw["events"].as_array().into_iter().flatten() {
            let event = FleetEvent::deserialize(event).unwrap_or_default();
            let or_none = |text: Option<String>| Cell::new(text.unwrap_or_else(|| "-".to_owned()));
            table.row([
                Cell::new(event.at),
                Cell::new(event.kind),
                or_none(event.node_id),
                or_none(event.pool_id),
                or_none(event.model),
                Cell::new(event.message),
            ]);
        }
        if table.is_empty() {
            return Ok(self.output.line("nothing has happened yet")?);
        }
        Ok(self.output.table(&table)?)
    }

    fn follow_fleet(&self, after: Option<String>) -> Outcome {
        let mut follow = self.client.fleet_events(after);
        loop {
            match next(&mut follow, None)? {
                Some(event) if self.output.json => self.output.json(&as_json(&event))?,
                Some(event) => self.output.line(&line(&event))?,
                None => return Ok(()),
            }
        }
    }
}

/// The next event, across lost connections, which are told. Gives up after so many tries in a row.
pub(super) fn next(
    follow: &mut Follow,
    most_failures: Option<u32>,
) -> Result<Option<SseEvent>, Failure> {
    loop {
        match follow.step()? {
            Followed::Event(event) => return Ok(Some(event)),
            Followed::End => return Ok(None),
            Followed::Lost(error) => {
                if most_failures.is_some_and(|most| follow.failures() > most) {
                    return Err(error.into());
                }
                if follow.failures() == 1 {
                    note(&format!("llorch: {error}; trying again"));
                }
            }
        }
    }
}

/// An event as one JSON value; data that is JSON stays JSON.
pub(super) fn as_json(event: &SseEvent) -> Value {
    let data =
        serde_json::from_str(&event.data).unwrap_or_else(|_| Value::String(event.data.clone()));
    json!({"id": event.id, "event": event.event, "data": data})
}

fn line(event: &SseEvent) -> String {
    let Ok(told) = serde_json::from_str::<FleetEvent>(&event.data) else {
        return format!("{} {}", event.event, event.data);
    };
    let place = match (&told.node_id, &told.pool_id) {
        (Some(node), Some(pool)) => format!("{node}/{pool}  "),
        (Some(node), None) => format!("{node}  "),
        _ => String::new(),
    };
    format!(
        "{}  {:<14}  {place}{}",
        clock_time(&told.at),
        event.event,
        told.message
    )
}
