//! `status`: the fleet at a glance.

use llorch_client::{ModelLoad, Percentiles, RecentError, Status, Traffic};

use super::{App, is_older};
use crate::{
    exit::{Exit, Failure, Outcome},
    output::{Cell, Look, Table, millis, time},
};

/// How many of the last errors are shown.
const ERRORS_SHOWN: usize = 5;

impl App {
    pub(super) fn status(&self) -> Outcome {
        let answer = self.fleet()?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let status = answer.read()?;
        for line in summary(&status, self.client.url()) {
            self.output.line(&line)?;
        }
        self.output.line("")?;
        self.output.table(&percentiles_table(&status.traffic))?;
        if !status.models.is_empty() {
            self.output.line("")?;
            self.output.table(&models_table(&status.models))?;
        }
        if !status.recent_errors.is_empty() {
            self.output.line("")?;
            self.output
                .table(&errors_table(&status.recent_errors, ERRORS_SHOWN))?;
        }
        Ok(())
    }

    /// The status, or what to do about a server that has none yet.
    pub(super) fn fleet(&self) -> Result<llorch_client::Json<Status>, Failure> {
        self.client.status().map_err(|error| {
            if is_older(&error) {
                let message = format!(
                    "{} has no /v2/status: it is older than this llorch; upgrade it, or use \
                     `llorch models` and `llorch pools`",
                    self.client.url()
                );
                Failure::Told(Exit::NotFound, message)
            } else {
                error.into()
            }
        })
    }
}

/// Who it is, nodes, slots, rates: a line each.
pub(super) fn summary(status: &Status, url: &str) -> Vec<String> {
    let Status {
        version,
        profile,
        nodes,
        slots,
        traffic,
        ..
    } = status;
    let up = time(std::time::Duration::from_millis(status.uptime_ms));
    let mut lines = vec![format!("llorch {version} ({profile}) at {url}, up {up}")];
    let counts = [
        (nodes.online, "online"),
        (nodes.draining, "draining"),
        (nodes.unreachable, "unreachable"),
        (nodes.offline, "offline"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, state)| *count > 0 || *state == "online")
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    lines.push(format!("nodes    {}", counts.join(", ")));
    lines.push(format!("slots    {} of {} free", slots.free, slots.total));
    lines.push(format!(
        "traffic  {:.1} requests/s, {:.1} errors/s, {:.1} tokens/s",
        traffic.requests_per_s, traffic.errors_per_s, traffic.tokens_per_s
    ));
    lines
}

/// First token, between tokens, in line.
pub(super) fn percentiles_table(traffic: &Traffic) -> Table {
    let mut table = Table::new(&["TIME", "P50", "P90", "P99"]);
    let rows = [
        ("first token", &traffic.first_token_ms),
        ("between tokens", &traffic.inter_token_ms),
        ("in line", &traffic.queue_ms),
    ];
    for (what, Percentiles { p50, p90, p99 }) in rows {
        let shown = |ms: &Option<f64>| Cell::number(ms.map_or_else(|| "-".to_owned(), millis));
        table.row([Cell::new(what), shown(p50), shown(p90), shown(p99)]);
    }
    table
}

pub(super) fn models_table(models: &[ModelLoad]) -> Table {
    let mut table = Table::new(&[
        "MODEL",
        "ENDPOINTS",
        "FREE",
        "SLOTS",
        "RUNNING",
        "IN LINE",
        "BATCH",
    ]);
    for model in models {
        let busy = model.slots_free == 0 || model.queued_interactive > 0;
        let look = if busy { Look::Warn } else { Look::Plain };
        table.row([
            Cell::new(model.model.as_str()),
            Cell::number(model.endpoints),
            Cell::number(model.slots_free).looks(look),
            Cell::number(model.slots_total),
            Cell::number(model.running),
            Cell::number(model.queued_interactive).looks(look),
            Cell::number(model.queued_batch),
        ]);
    }
    table
}

pub(super) fn errors_table(errors: &[RecentError], most: usize) -> Table {
    let mut table = Table::new(&["AT", "ERROR", "MODEL", "NODE", "MESSAGE"]);
    for error in errors.iter().take(most) {
        table.row([
            Cell::new(clock_time(&error.at)),
            Cell::new(error.code.as_str()).looks(Look::Bad),
            Cell::new(error.model.as_deref().unwrap_or("-")),
            Cell::new(error.node_id.as_deref().unwrap_or("-")),
            Cell::new(error.message.as_str()),
        ]);
    }
    table
}

/// Of `2026-01-31T12:34:56.789Z` the time of day; anything else as it is.
pub(super) fn clock_time(at: &str) -> &str {
    match at.split_once('T') {
        Some((_, time)) => time.get(..8).unwrap_or(time),
        None => at,
    }
}
