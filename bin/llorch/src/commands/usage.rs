//! `usage`: what keys have used.

use llorch_client::UsageFilter;

use super::App;
use crate::{
    args,
    exit::Outcome,
    output::{Cell, Table, millis},
};

impl App {
    pub(super) fn usage(&self, usage: args::Usage) -> Outcome {
        let filter = UsageFilter {
            key: usage.key,
            model: usage.model,
            from: usage.from,
            to: usage.to,
        };
        let answer = self.client.usage(&filter)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let rows = answer.read()?.usage;
        if rows.is_empty() {
            return Ok(self
                .output
                .line("no key has used anything; only requests with a key are counted")?);
        }
        let columns = [
            "DAY", "KEY", "NAME", "MODEL", "REQUESTS", "INPUT", "OUTPUT", "SLOTS",
        ];
        let mut table = Table::new(&columns).optional(&["KEY"]);
        for row in &rows {
            table.row([
                Cell::new(&row.date),
                Cell::new(&row.key_id),
                Cell::new(&row.key_name),
                Cell::new(&row.model),
                Cell::number(row.requests),
                Cell::number(row.input_tokens),
                Cell::number(row.output_tokens),
                Cell::number(millis(row.slot_ms as f64)),
            ]);
        }
        Ok(self.output.table(&table)?)
    }
}
