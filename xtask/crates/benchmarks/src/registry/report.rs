//! The report in Markdown.

use std::fmt::Write as _;

use super::{
    figures::{FleetFigures, medians},
    load::{CONNECTIONS, SHARED_CONNECTIONS},
    options::Options,
};
use crate::markdown::{Table, number, text};

/// One line for the terminal.
pub(super) fn summary(figures: &FleetFigures) -> String {
    let mut line = format!("{} nodes:", figures.nodes);
    for (title, rounds) in &figures.heartbeats {
        let (per_second, p99) = medians(rounds);
        // Writing to a String cannot fail.
        let _ = write!(line, " {title} {per_second:.0}/s p99 {p99:.1} ms,");
    }
    let bytes = figures.bytes_per_node.unwrap_or_default();
    let _ = write!(line, " {bytes:.0} bytes a node, {} lost", figures.lost);
    line
}

pub(super) fn render(options: &Options, all: &[FleetFigures]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let Options {
        rounds, seconds, ..
    } = options;
    let membership = membership(all);
    let heartbeats = heartbeats(all);
    let requests = requests(all);
    let paced = paced(all);
    format!(
        "# Registry benchmark

{cores} cores for the control plane, the load generator and the stand-in engines together.
Simulated: nodes with one pool of one replica and one GPU, as messages over HTTP on reused
connections ({CONNECTIONS} in the closed loops, {SHARED_CONNECTIONS} for nodes that keep the pace).
A stand-in engine answers the probes of all of them. Real: the control plane, and one node with two
stand-in engines. Medians of {rounds} rounds of {seconds} s. Memory is the growth of the control
plane's resident memory.

{membership}
## Heartbeats

{heartbeats}
## Requests meanwhile

{requests}
## At the pace of the server

{paced}"
    )
}

fn membership(all: &[FleetFigures]) -> Table<6> {
    let mut table = Table::new([
        number("nodes"),
        number("registrations/s"),
        number("p99 ms"),
        number("bytes per node"),
        number("restart until all are routable, s"),
        number("nodes lost"),
    ]);
    for figures in all {
        let registrations = figures.registrations.clone().unwrap_or_default();
        table.add([
            figures.nodes.to_string(),
            format!("{:.0}", registrations.per_second),
            format!("{:.2}", registrations.p99_ms),
            format!("{:.0}", figures.bytes_per_node.unwrap_or_default()),
            figures
                .restart_secs
                .map_or_else(String::new, |secs| format!("{secs:.2}")),
            figures.lost.to_string(),
        ]);
    }
    table
}

fn heartbeats(all: &[FleetFigures]) -> Table<5> {
    let mut table = Table::new([
        number("nodes"),
        text("heartbeats"),
        number("per second"),
        number("p99 ms"),
        number("of `GET /health`"),
    ]);
    for figures in all {
        let (health, _) = medians(&figures.health);
        for (title, rounds) in &figures.heartbeats {
            let (per_second, p99) = medians(rounds);
            table.add([
                figures.nodes.to_string(),
                (*title).to_owned(),
                format!("{per_second:.0}"),
                format!("{p99:.2}"),
                format!("{:.2}", per_second / health.max(1.0)),
            ]);
        }
    }
    table
}

fn requests(all: &[FleetFigures]) -> Table<5> {
    let mut table = Table::new([
        number("nodes"),
        text("when"),
        number("per second"),
        number("p50 ms"),
        number("p99 ms"),
    ]);
    for figures in all {
        for (when, rate) in &figures.routed {
            table.add([
                figures.nodes.to_string(),
                (*when).to_owned(),
                format!("{:.0}", rate.per_second),
                format!("{:.2}", rate.p50_ms),
                format!("{:.2}", rate.p99_ms),
            ]);
        }
    }
    table
}

fn paced(all: &[FleetFigures]) -> Table<7> {
    let mut table = Table::new([
        number("nodes"),
        number("seconds"),
        number("heartbeats"),
        number("refused"),
        number("interval ms"),
        number("timeout ms"),
        number("slowest answer ms"),
    ]);
    for figures in all {
        if let Some(paced) = &figures.paced {
            table.add([
                figures.nodes.to_string(),
                format!("{:.0}", paced.seconds),
                paced.heartbeats.to_string(),
                paced.errors.to_string(),
                paced.next_heartbeat_ms.to_string(),
                paced.timeout_ms.to_string(),
                format!("{:.1}", paced.slowest_ms),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::figures::Rate, *};

    #[test]
    fn the_report_has_a_row_for_each_fleet_and_kind() {
        let rate = |per_second| Rate {
            per_second,
            p99_ms: 2.0,
            ..Rate::default()
        };
        let figures = FleetFigures {
            nodes: 10,
            registrations: Some(rate(5000.0)),
            heartbeats: vec![(
                "unchanged",
                vec![rate(10.0), rate(30_000.0), rate(20_000.0)],
            )],
            health: vec![rate(40_000.0)],
            bytes_per_node: Some(3000.0),
            ..FleetFigures::default()
        };
        let options = Options {
            fleets: Vec::new(),
            rounds: 3,
            seconds: 1.0,
            stay: Duration::from_secs(1),
        };
        let text = render(&options, &[figures]);
        for line in [
            "| 10 | 5000 | 2.00 | 3000 |  | 0 |",
            "| 10 | unchanged | 20000 | 2.00 | 0.50 |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
