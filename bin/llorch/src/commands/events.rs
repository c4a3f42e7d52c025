//! `events`: past events of the fleet, and new ones as they happen.

use llorch_client::{EventSubscription, FleetEvent, ServerEvent, SubscriptionUpdate};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    app::{App, is_missing_route},
    status::clock_time,
};
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
        let outcome = if follow {
            self.follow_fleet(after)
        } else {
            self.recent(limit)
        };
        outcome.map_err(|failure| match failure {
            Failure::Client(error) if is_missing_route(&error) => {
                let url = self.client.url();
                let message = format!(
                    "{url} has no /v2/events: it is older than this llorch; upgrade it, or read \
                     its log"
                );
                Failure::Message(Exit::NotFound, message)
            }
            failure => failure,
        })
    }

    fn recent(&self, limit: Option<u32>) -> Outcome {
        let answer = self.client.recent_events(limit)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let mut table = Table::new(&["AT", "EVENT", "NODE", "POOL", "MODEL", "MESSAGE"])
            .optional(&["MODEL"])
            .long(&["MODEL"]);
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
        let mut subscription = self.client.fleet_events(after);
        loop {
            match next_event(&mut subscription, None)? {
                Some(event) if self.output.json => self.output.json(&as_json(&event))?,
                Some(event) => self.output.line(&line(&event))?,
                None => return Ok(()),
            }
        }
    }
}

/// Waits for the next event across lost connections, and reports the first loss. Fails after
/// `max_failures` failed connections in a row.
pub(super) fn next_event(
    subscription: &mut EventSubscription,
    max_failures: Option<u32>,
) -> Result<Option<ServerEvent>, Failure> {
    loop {
        match subscription.next_update()? {
            SubscriptionUpdate::Event(event) => return Ok(Some(event)),
            SubscriptionUpdate::Disconnected(error) => {
                if max_failures.is_some_and(|max| subscription.failures() > max) {
                    return Err(error.into());
                }
                if subscription.failures() == 1 {
                    note(&format!("llorch: {error}; trying again"));
                }
            }
            // `End`, and what a later version of the client may add.
            _ => return Ok(None),
        }
    }
}

/// An event as one JSON value; data that is JSON stays JSON.
pub(super) fn as_json(event: &ServerEvent) -> Value {
    let data =
        serde_json::from_str(&event.data).unwrap_or_else(|_| Value::String(event.data.clone()));
    json!({"id": event.id, "event": event.event, "data": data})
}

fn line(event: &ServerEvent) -> String {
    let Ok(fleet_event) = serde_json::from_str::<FleetEvent>(&event.data) else {
        return format!("{} {}", event.event, event.data);
    };
    let endpoint = match (&fleet_event.node_id, &fleet_event.pool_id) {
        (Some(node), Some(pool)) => format!("{node}/{pool}  "),
        (Some(node), None) => format!("{node}  "),
        _ => String::new(),
    };
    format!(
        "{}  {:<14}  {endpoint}{}",
        clock_time(&fleet_event.at),
        event.event,
        fleet_event.message
    )
}
