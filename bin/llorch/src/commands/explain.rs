//! `explain`: the placement of a request that is not sent.

use serde_json::{Value, json};

use super::{App, cells::free_vram};
use crate::{
    args::Explain,
    exit::{Exit, Failure, Outcome},
    output::{Cell, CellStyle, Table, count},
};

impl App {
    pub(super) fn explain(&self, explain: &Explain) -> Outcome {
        let mut body = json!({ "model": explain.model });
        let fields = [
            ("strategy", explain.strategy.clone()),
            ("session_id", explain.session.clone()),
            (
                "pin_node",
                explain.pin_node.as_ref().map(ToString::to_string),
            ),
            ("prompt", explain.prompt.clone()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                body[name] = Value::String(value);
            }
        }
        let answer = self.client.explain(&body)?;
        let explained = answer.read()?;
        // A script asks whether there is a place at all.
        let is_unknown = explained.candidates.is_empty();
        let outcome = if is_unknown {
            Err(Failure::Reported(Exit::NotFound))
        } else {
            Ok(())
        };
        if self.output.json {
            self.output.json(&answer.raw)?;
            return outcome;
        }
        let chosen = explained
            .candidates
            .iter()
            .find(|candidate| candidate.chosen);
        let verdict = match (chosen, &explained.no_place) {
            (Some(candidate), _) => format!("to {}/{}", candidate.node_id, candidate.pool_id),
            (None, Some(reason)) => format!("nowhere now: {reason}"),
            (None, None) => "nowhere now".to_owned(),
        };
        self.output.line(&format!(
            "{verdict} ({}, {} queued)",
            explained.strategy,
            count(explained.waiting, "request")
        ))?;
        if is_unknown {
            return outcome;
        }
        self.output.line("")?;
        let mut table = Table::new(&[
            "NODE",
            "POOL",
            "USED",
            "SLOTS",
            "VRAM FREE",
            "SCORE",
            "VERDICT",
        ]);
        for candidate in &explained.candidates {
            let (verdict, style) = match (&candidate.skipped, candidate.chosen) {
                (_, true) => ("chosen", CellStyle::Good),
                (Some(reason), false) => (reason.as_str(), CellStyle::Warn),
                (None, false) => ("possible", CellStyle::Plain),
            };
            let pool = match &candidate.replica_id {
                Some(replica) => format!("{}/{replica}", candidate.pool_id),
                None => candidate.pool_id.to_string(),
            };
            let score = candidate.score_in_words.clone().unwrap_or_else(|| {
                let parts: Vec<String> = candidate.score.iter().map(u64::to_string).collect();
                parts.join(" ")
            });
            table.row([
                Cell::new(candidate.node_id.as_str()),
                Cell::new(pool),
                Cell::number(candidate.slots_used),
                Cell::number(candidate.slots_total),
                free_vram(candidate.vram_free_bytes),
                Cell::new(score),
                Cell::new(verdict).style(style),
            ]);
        }
        Ok(self.output.table(&table)?)
    }
}
