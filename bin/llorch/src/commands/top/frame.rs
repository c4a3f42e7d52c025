//! The screen of `top`: a pure function of the state of the fleet and the size of the screen.

use console::measure_text_width;
use llorch_client::{Node, Nodes, Status};

use super::{
    super::{
        cells::node_status,
        gpus,
        status::{errors_table, percentiles_table, summary},
    },
    view::{CUT, Order, slots},
};
use crate::output::{Cell, CellStyle, Table, bar, millis, printable};

/// The maximum number of errors.
const ERRORS_SHOWN: usize = 5;

/// The last known state of the fleet.
pub(super) struct FleetView {
    pub(super) url: String,
    pub(super) status: Status,
    /// The nodes to show; the nodes that are not online come first in a large fleet.
    pub(super) nodes: Nodes,
    /// Why the state is outdated.
    pub(super) problem: Option<String>,
}

/// All lines: the title first, tables fitted to `width`.
pub(super) fn frame(view: &FleetView, order: Order, width: u16, color: bool) -> Vec<String> {
    let paint = |code: &str, text: &str| {
        if color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let status = &view.status;
    let mut lines = summary(status, &view.url);
    if let Some(title) = lines.first_mut() {
        let help = format!("↑↓ scroll, s sorts: {}, q quits", order.name());
        *title = ends(title, &[&help, "q quits"], width);
        *title = paint("7", title);
    }
    if let Some(problem) = &view.problem {
        lines.push(paint("31", &format!("outdated: {}", printable(problem))));
    }
    let mut section = |table: &Table, more: Option<String>| {
        if !table.is_empty() {
            lines.push(String::new());
            lines.extend(table.lines(Some(width), color));
            lines.extend(more);
        }
    };
    section(&percentiles_table(&status.traffic), None);
    section(&models(status), None);
    let not_shown = status
        .nodes
        .all()
        .saturating_sub(view.nodes.nodes.len() as u64);
    let more = (not_shown > 0).then(|| format!("{CUT} {not_shown} more nodes; see `llorch nodes`"));
    section(&node_table(&order.sorted(&view.nodes.nodes)), more);
    section(&gpus::by_node(&gpus::of_live_nodes(&view.nodes)), None);
    section(&errors_table(&status.recent_errors, ERRORS_SHOWN), None);

    lines
}

/// `left` at one end of a line, and at the other the first of `rights` that fits.
fn ends(left: &str, rights: &[&str], width: u16) -> String {
    for right in rights {
        let used = measure_text_width(left) + measure_text_width(right);
        let gap = usize::from(width).saturating_sub(used);
        if gap > 0 {
            return format!("{left}{}{right}", " ".repeat(gap));
        }
    }
    left.to_owned()
}

fn models(status: &Status) -> Table {
    let mut table = Table::new(&[
        "MODEL",
        "SLOTS",
        "BUSY",
        "RUNNING",
        "QUEUED",
        "BATCH",
        "ENDPOINTS",
    ]);
    for model in &status.models {
        let busy = model.slots_total.saturating_sub(model.slots_free);
        let queue_style = if model.queued_interactive > 0 {
            CellStyle::Warn
        } else {
            CellStyle::Plain
        };
        table.row([
            Cell::new(model.model.as_str()),
            bar(busy, model.slots_total),
            Cell::number(format!("{busy}/{}", model.slots_total)),
            Cell::number(model.running),
            Cell::number(model.queued_interactive).style(queue_style),
            Cell::number(model.queued_batch),
            Cell::number(model.endpoints),
        ]);
    }
    table
}

fn node_table(nodes: &[&Node]) -> Table {
    let mut table = Table::new(&["NODE", "STATUS", "SLOTS", "BUSY", "HEARD", "WHY"]);
    for node in nodes {
        let (busy, total) = slots(node);
        let not_ready = || {
            let pools = node.pools.iter();
            pools
                .filter_map(|pool| {
                    pool.unavailable
                        .as_deref()
                        .or(pool.status.last_error.as_deref())
                })
                .next()
                .map(str::to_owned)
        };
        table.row([
            Cell::new(node.node_id.as_str()),
            node_status(node.status),
            bar(busy, total),
            Cell::number(format!("{busy}/{total}")),
            Cell::number(millis(node.last_heartbeat_age_ms as f64)),
            Cell::new(
                node.status_reason
                    .clone()
                    .or_else(not_ready)
                    .unwrap_or_default(),
            ),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{super::view::View, *};
    use serde_json::json;

    /// Bytes of memory.
    const H100: u64 = 85_899_345_920;

    fn gpu(index: u32) -> serde_json::Value {
        json!({"device_id":index,"name":"H100","vram_total_bytes":H100,
         "vram_used_bytes":H100 / 10 * 9,"utilization_percent":100 - index})
    }

    fn view() -> FleetView {
        let status = json!({
            "version":"0.1.0","profile":"cloud","uptime_ms":11_520_000,
            "nodes":{"online":2,"draining":0,"unreachable":0,"offline":1},"slots":{"total":4,"free":1},
            "models":[{"model":"tiny","endpoints":1,"slots_total":4,"slots_free":1,"running":3,"queued_interactive":0,"queued_batch":2}],
            "traffic":{"window_ms":10000,"requests_per_s":12.3,"errors_per_s":0,"tokens_per_s":410.04,
                       "first_token_ms":{"p50":12.0,"p90":20.0,"p99":31.0},"inter_token_ms":{"p50":2.1,"p90":2.5,"p99":null},
                       "queue_ms":{"p50":null,"p90":null,"p99":null}},
            "recent_errors":[{"at":"2026-01-01T12:03:11.5Z","request_id":"r",
             "code":"WORKER_RESET","message":"the engine went away",
                              "model":"tiny","node_id":"gpu-2"}],
        });
        let nodes = json!({"nodes":[
            {"node_id":"gpu-1","address":"http://h:1","status":"online","last_heartbeat_age_ms":900,
             "gpus":(0..8).map(gpu).collect::<Vec<_>>(),
             "pools":[{"pool_id":"p","ready":true,"draining":false,"slots_free":1,"slots_total":4}]},
            {"node_id":"gpu-2","address":"http://h:2","status":"offline","status_reason":"silent \
             for 30 s","last_heartbeat_age_ms":45_000,
             "gpus":[gpu(0)]},
            {"node_id":"gpu-3","address":"http://h:3","status":"online","last_heartbeat_age_ms":900,
             "capabilities":{"gpus":[{"device_id":0,"name":"H100","vram_total_bytes":H100}],"cpu_cores":2,"ram_total_bytes":3}},
        ]});
        let nodes = serde_json::from_value(nodes).unwrap();
        FleetView {
            url: "http://127.0.0.1:8080".to_owned(),
            status: serde_json::from_value(status).unwrap(),
            nodes,
            problem: None,
        }
    }

    // spec: CLI-8, CLI-13
    #[test]
    fn eighty_columns_fit_the_whole_fleet() {
        assert_eq!(
            frame(&view(), Order::Listed, 80, false),
            [
                "llorch 0.1.0 (cloud) at http://127.0.0.1:8080, up 3 h 12 min             q quits",
                "nodes    2 online, 1 offline",
                "slots    1 of 4 free",
                "traffic  12.3 requests/s, 0.0 errors/s, 410.0 tokens/s",
                "",
                "TIME               P50     P90    P99",
                "first token      12 ms   20 ms  31 ms",
                "between tokens  2.1 ms  2.5 ms      -",
                "in queue             -       -      -",
                "",
                "MODEL  SLOTS       BUSY  RUNNING  QUEUED  BATCH  ENDPOINTS",
                "tiny   ████████░░   3/4        3       0      2          1",
                "",
                "NODE   STATUS   SLOTS       BUSY   HEARD  WHY",
                "gpu-1  online   ████████░░   3/4  900 ms",
                "gpu-2  offline  ░░░░░░░░░░   0/0  45.0 s  silent for 30 s",
                "gpu-3  online   ░░░░░░░░░░   0/0  900 ms",
                "",
                "NODE   VRAM                          USED  LOAD %",
                "gpu-1  █████████░  576.0 GiB of 640.0 GiB  100 99 98 97 96 95 94 93",
                "gpu-3  ░░░░░░░░░░                       -  -",
                "",
                "AT        ERROR         MODEL  NODE   MESSAGE",
                "12:03:11  WORKER_RESET  tiny   gpu-2  the engine went away",
            ]
        );
    }

    // spec: CLI-74
    #[test]
    fn nodes_are_sorted_as_the_title_says() {
        let view = view();
        for (order, first) in [
            (Order::Listed, "gpu-1"),
            (Order::Name, "gpu-1"),
            (Order::Busy, "gpu-1"),
            (Order::Silent, "gpu-2"),
        ] {
            let lines = frame(&view, order, 120, false);
            let title = format!("s sorts: {}, q quits", order.name());
            assert!(lines[0].ends_with(&title), "{}", lines[0]);
            let head = lines
                .iter()
                .position(|line| line.starts_with("NODE   STATUS"));
            assert!(lines[head.unwrap() + 1].starts_with(first), "{order:?}");
        }
    }

    // spec: CLI-32
    #[test]
    fn a_large_fleet_is_shown_in_part() {
        let mut view = view();
        view.status.nodes.online = 9_999;
        let shown = frame(&view, Order::Listed, 80, false);
        let last = shown
            .iter()
            .position(|line| line.starts_with("gpu-3  online"))
            .unwrap();
        assert_eq!(shown[last + 1], "… 9997 more nodes; see `llorch nodes`");
    }

    // spec: CLI-8
    #[test]
    fn every_screen_size_fits() {
        let mut view = view();
        let gpus = view.nodes.nodes[0].gpus.get_or_insert_default();
        for index in 8..64 {
            let mut more = gpus[0].clone();
            more.device_id = index;
            more.problem = Some(llorch_client::ErrorText::cut("it does not answer any more"));
            gpus.push(more);
        }
        view.problem = Some("cannot reach http://127.0.0.1:8080: connection refused".to_owned());
        view.status.models = (0..300)
            .map(|n| {
                let mut load = llorch_client::ModelLoad::default();
                load.model = format!("{}-{n}", "模型".repeat(30));
                load
            })
            .collect();
        for (width, height) in [(80, 24), (40, 10), (10, 3), (1, 1), (300, 100)] {
            for color in [false, true] {
                let lines = frame(&view, Order::Listed, width, color);
                let lines = View::default().part(&lines, width, height);
                assert!(lines.len() <= usize::from(height), "{width}×{height}");
                for line in lines {
                    assert!(
                        measure_text_width(&line) <= usize::from(width),
                        "{width}: {line:?}"
                    );
                }
            }
        }
    }
}
