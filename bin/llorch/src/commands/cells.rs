//! Cells and values that several tables share.

use std::borrow::Borrow;

use llorch_client::{NodeId, NodeStatus, Quarantine};
use serde_json::{Value, json};

use crate::output::{Cell, CellStyle, gib, millis};

/// Stands for "nothing" and "unknown".
pub(super) const NONE: &str = "-";

/// The response with only those entries of its list `list` that belong to the node.
pub(super) fn only_node(response: &Value, list: &str, node: &NodeId) -> Value {
    let entries = response[list].as_array().into_iter().flatten();
    let of_node = entries.filter(|entry| entry["node_id"] == node.as_str());
    json!({list: of_node.collect::<Vec<_>>()})
}

pub(super) fn node_status(status: NodeStatus) -> Cell {
    let style = match status {
        NodeStatus::Online => CellStyle::Good,
        NodeStatus::Draining => CellStyle::Warn,
        NodeStatus::Unreachable | NodeStatus::Offline => CellStyle::Bad,
    };
    Cell::new(status.as_str()).style(style)
}

/// The state of an endpoint.
pub(super) fn endpoint_state(ready: bool, draining: bool, quarantine: Option<&Quarantine>) -> Cell {
    let (text, style) = match (draining, quarantine, ready) {
        (true, ..) => ("draining", CellStyle::Warn),
        (_, Some(_), _) => ("quarantined", CellStyle::Bad),
        (_, _, true) => ("ready", CellStyle::Good),
        (_, _, false) => ("not ready", CellStyle::Bad),
    };
    Cell::new(text).style(style)
}

/// Requests that the control plane has running; an older server does not send the count.
pub(super) fn running(requests: Option<u64>) -> Cell {
    Cell::number(requests.map_or_else(|| NONE.to_owned(), |requests| requests.to_string()))
}

/// Free memory; 0 when unknown.
pub(super) fn free_vram(bytes: u64) -> Cell {
    Cell::number(if bytes == 0 {
        NONE.to_owned()
    } else {
        gib(bytes)
    })
}

pub(super) fn model_names<S: Borrow<str>>(models: Option<&[S]>) -> String {
    models.map_or_else(|| NONE.to_owned(), |models| models.join(" "))
}

/// Why an endpoint gets no requests: its open circuit breaker, else its own reason.
pub(super) fn unavailable_reason(reason: Option<&str>, quarantine: Option<&Quarantine>) -> String {
    match (reason, quarantine) {
        (_, Some(quarantine)) => format!(
            "{} (tried again in {})",
            quarantine.reason,
            millis(quarantine.retry_in_ms as f64)
        ),
        (Some(reason), None) => reason.to_owned(),
        (None, None) => String::new(),
    }
}
