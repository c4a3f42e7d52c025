//! `models`: the models and their endpoints.

use llorch_client::{Model, NodeId};

use super::App;
use crate::{
    exit::Outcome,
    output::{Cell, CellStyle, Table},
};

impl App {
    pub(super) fn models(&self) -> Outcome {
        let answer = self.client.catalog()?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let models = answer.read()?.models;
        if self.output.names {
            return Ok(self
                .output
                .name_list(models.iter().map(|model| &model.model))?);
        }
        if models.is_empty() {
            return Ok(self
                .output
                .line("no engine has a model; `llorch pools` shows the engines")?);
        }
        Ok(self.output.table(&models_table(&models))?)
    }
}

fn models_table(models: &[Model]) -> Table {
    let mut table = Table::new(&[
        "MODEL",
        "AVAILABLE",
        "ENDPOINTS",
        "READY",
        "FREE",
        "SLOTS",
        "NODES",
    ]);
    for model in models {
        let (text, style) = if model.available {
            ("yes", CellStyle::Good)
        } else {
            ("no", CellStyle::Bad)
        };
        let nodes: Vec<&str> = model.nodes.iter().map(NodeId::as_str).collect();
        table.row([
            Cell::new(model.model.as_str()),
            Cell::new(text).style(style),
            Cell::number(model.endpoints),
            Cell::number(model.endpoints_ready),
            Cell::number(model.slots_free),
            Cell::number(model.slots_total),
            Cell::new(nodes.join(" ")),
        ]);
    }
    table
}
