//! `status`: the state of the fleet.

use llorch_client::{ModelLoad, Percentiles, RecentError, Status, Traffic};

use super::{
    app::{App, is_missing_route},
    cells::NONE,
};
use crate::{
    exit::{Exit, Failure, Outcome},
    output::{Cell, CellStyle, Table, millis, time},
};

/// The number of recent errors that are shown.
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

    /// The status. The error about an older server says what to do.
    pub(super) fn fleet(&self) -> Result<llorch_client::Response<Status>, Failure> {
        self.client.status().map_err(|error| {
            if is_missing_route(&error) {
                let message = format!(
                    "{} has no /v2/status: it is older than this llorch; upgrade it, or use \
                     `llorch models` and `llorch pools`",
                    self.client.url()
                );
                Failure::Message(Exit::NotFound, message)
            } else {
                error.into()
            }
        })
    }
}

/// One line each for the server, its nodes, slots and rates.
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

/// The percentiles of first token, time between tokens and time in the queue.
pub(super) fn percentiles_table(traffic: &Traffic) -> Table {
    let mut table = Table::new(&["TIME", "P50", "P90", "P99"]);
    let rows = [
        ("first token", &traffic.first_token_ms),
        ("between tokens", &traffic.inter_token_ms),
        ("in queue", &traffic.queue_ms),
    ];
    for (what, percentiles) in rows {
        let cell = |ms: Option<f64>| Cell::number(ms.map_or_else(|| NONE.to_owned(), millis));
        let Percentiles { p50, p90, p99, .. } = *percentiles;
        table.row([Cell::new(what), cell(p50), cell(p90), cell(p99)]);
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
        "QUEUED",
        "BATCH",
    ]);
    for model in models {
        let busy = model.slots_free == 0 || model.queued_interactive > 0;
        let style = if busy {
            CellStyle::Warn
        } else {
            CellStyle::Plain
        };
        table.row([
            Cell::new(model.model.as_str()),
            Cell::number(model.endpoints),
            Cell::number(model.slots_free).style(style),
            Cell::number(model.slots_total),
            Cell::number(model.running),
            Cell::number(model.queued_interactive).style(style),
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
            Cell::new(error.code.as_str()).style(CellStyle::Bad),
            Cell::new(error.model.as_deref().unwrap_or(NONE)),
            Cell::new(error.node_id.as_deref().unwrap_or(NONE)),
            Cell::new(error.message.as_str()),
        ]);
    }
    table
}

/// The time of day in `2026-01-31T12:34:56.789Z`; any other text as it is.
pub(super) fn clock_time(at: &str) -> &str {
    match at.split_once('T') {
        Some((_, time)) => time.get(..8).unwrap_or(time),
        None => at,
    }
}
