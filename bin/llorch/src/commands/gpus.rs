//! `gpus`, and the GPUs in `nodes` and `top`.

use llorch_client::{Gpu, Node, Nodes};
use pool_registry_types::{GpuStatus, NodeId, NodeStatus};

use super::{
    App,
    cells::{NONE, only_node},
};
use crate::{
    exit::Outcome,
    output::{Cell, CellStyle, Table, bar, gib},
};

impl App {
    pub(super) fn gpus(&self, only: Option<&NodeId>) -> Outcome {
        let answer = self.client.gpus()?;
        let mut gpus = answer.read()?.gpus;
        gpus.retain(|gpu| only.is_none_or(|node| gpu.node_id == *node));
        if self.output.json {
            return Ok(self.output.json(&only.map_or_else(
                || answer.raw.clone(),
                |node| only_node(&answer.raw, "gpus", node),
            ))?);
        }
        if self.output.names {
            let name = |gpu: &Gpu| format!("{}/{}", gpu.node_id, gpu.status.device_id);
            return Ok(self.output.name_list(gpus.iter().map(name))?);
        }
        if gpus.is_empty() {
            return Ok(self.output.line("no GPU is known")?);
        }
        Ok(self.output.table(&of_all_nodes(&gpus))?)
    }
}

/// The GPUs of a node as last reported; before the first report, its registered hardware.
pub(super) fn of_node(node: &Node) -> Vec<Gpu> {
    let one = |status| Gpu::new(node.node_id.clone(), status);
    match &node.gpus {
        Some(reported) => reported.iter().cloned().map(one).collect(),
        None => {
            let hardware = node.capabilities.gpus.iter();
            let without_figures = hardware.map(|gpu| {
                let mut gpu_status = GpuStatus::new(gpu.device_id, gpu.name.clone());
                gpu_status.vram_total_bytes = Some(gpu.vram_total_bytes);
                gpu_status
            });
            without_figures.map(one).collect()
        }
    }
}

/// The GPUs of all nodes that are not offline. The last report of an offline node is outdated.
pub(super) fn of_live_nodes(nodes: &Nodes) -> Vec<Gpu> {
    let live = |node: &&Node| node.status != NodeStatus::Offline;
    nodes.nodes.iter().filter(live).flat_map(of_node).collect()
}

fn of_all_nodes(gpus: &[Gpu]) -> Table {
    let mut head = vec!["NODE"];
    head.extend(COLUMNS);
    let mut table = Table::new(&head).optional(&OPTIONAL);
    for gpu in gpus {
        let node = Cell::new(gpu.node_id.as_str());
        table.row([node].into_iter().chain(row(&gpu.status)));
    }
    table
}

/// The GPUs of one node, without the column of the node.
pub(super) fn of_one_node(gpus: &[Gpu]) -> Table {
    let mut table = Table::new(&COLUMNS).optional(&OPTIONAL);
    for gpu in gpus {
        table.row(row(&gpu.status));
    }
    table
}

const COLUMNS: [&str; 8] = [
    "GPU",
    "NAME",
    "VRAM USED",
    "VRAM",
    "LOAD",
    "TEMP",
    "POWER",
    "WHY",
];

/// The columns that a narrow terminal leaves out.
const OPTIONAL: [&str; 3] = ["POWER", "TEMP", "VRAM"];

fn row(status: &GpuStatus) -> [Cell; COLUMNS.len()] {
    let figure = |figure: Option<u32>, unit: &str| {
        Cell::number(figure.map_or_else(|| NONE.to_owned(), |figure| format!("{figure} {unit}")))
    };
    let memory = |bytes: Option<u64>| Cell::number(bytes.map_or_else(|| NONE.to_owned(), gib));
    [
        Cell::number(status.device_id),
        Cell::new(status.name.as_str()),
        memory(status.vram_used_bytes),
        memory(status.vram_total_bytes),
        figure(status.utilization_percent, "%"),
        figure(status.temperature_celsius, "°C"),
        figure(status.power_watts, "W"),
        Cell::new(status.problem.as_deref().unwrap_or_default()).style(CellStyle::Bad),
    ]
}

/// One row for each node, for `top`: its whole memory, and the load of each GPU. `gpus` must be
/// sorted by node.
pub(super) fn by_node(gpus: &[Gpu]) -> Table {
    // The last column is wrapped, so the longest values are there.
    let mut table = Table::new(&["NODE", "VRAM", "USED", "LOAD %"]);
    for node in gpus.chunk_by(|one, next| one.node_id == next.node_id) {
        let memory = |gpu: &Gpu| Some((gpu.status.vram_used_bytes?, gpu.status.vram_total_bytes?));
        // The server chooses the numbers, so the sum must not overflow.
        let sum = |sum: u64, bytes: &u64| sum.saturating_add(*bytes);
        let known: Vec<(u64, u64)> = node.iter().filter_map(memory).collect();
        let used = known.iter().map(|(used, _)| used).fold(0, sum);
        let total = known.iter().map(|(_, total)| total).fold(0, sum);
        let mut loads = Vec::new();
        let mut problems = Vec::new();
        for status in node.iter().map(|gpu| &gpu.status) {
            let load = status.utilization_percent;
            loads.push(load.map_or_else(|| NONE.to_owned(), |load| load.to_string()));
            if let Some(problem) = &status.problem {
                problems.push(format!("; GPU {}: {problem}", status.device_id));
            }
        }
        let style = if problems.is_empty() {
            CellStyle::Plain
        } else {
            CellStyle::Bad
        };
        table.row([
            Cell::new(node.first().map_or(NONE, |gpu| gpu.node_id.as_str())),
            bar(used, total),
            Cell::number(if total == 0 {
                NONE.to_owned()
            } else {
                format!("{} of {}", gib(used), gib(total))
            }),
            Cell::new(format!("{}{}", loads.join(" "), problems.concat())).style(style),
        ]);
    }
    table
}
