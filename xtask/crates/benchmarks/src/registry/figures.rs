//! What is measured of one fleet.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::median::median;

/// The measurements of one fleet.
#[derive(Debug, Default)]
pub(super) struct FleetFigures {
    pub(super) nodes: u64,
    pub(super) registrations: Option<Rate>,
    /// The rounds of each kind of heartbeat.
    pub(super) heartbeats: Vec<(&'static str, Vec<Rate>)>,
    pub(super) health: Vec<Rate>,
    pub(super) bytes_per_node: Option<f64>,
    /// Seconds from the restart until every known node is routable again.
    pub(super) restart_secs: Option<f64>,
    /// Routed requests, each with the phase in which they were sent.
    pub(super) routed: Vec<(&'static str, Rate)>,
    pub(super) paced: Option<PacedFigures>,
    /// The most nodes that were offline, unreachable or missing at one time.
    pub(super) lost: u64,
}

impl FleetFigures {
    /// All rates.
    pub(super) fn rates(&self) -> impl Iterator<Item = &Rate> {
        let heartbeats = self.heartbeats.iter().flat_map(|(_, rounds)| rounds);
        let routed = self.routed.iter().map(|(_, rate)| rate);
        self.registrations
            .iter()
            .chain(heartbeats)
            .chain(&self.health)
            .chain(routed)
    }
}

/// What a load generator measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    pub(super) first_error: String,
}

impl Rate {
    /// Reads the report of a load generator.
    pub(super) fn parse(report: &[u8]) -> Result<Self> {
        let report = parse(report)?;
        let number = |key: &str| report[key].as_f64().unwrap_or_default();
        Ok(Self {
            per_second: number("answers_per_second"),
            p50_ms: number("first_p50_ms"),
            p99_ms: number("first_p99_ms"),
            errors: report["errors"].as_u64().unwrap_or_default(),
            first_error: text(&report, "first_error"),
        })
    }
}

/// The medians of some rounds: per second, and p99 in milliseconds.
pub(super) fn medians(rounds: &[Rate]) -> (f64, f64) {
    let of = |what: fn(&Rate) -> f64| median(rounds.iter().map(what).collect());
    (
        of(|rate| rate.per_second).unwrap_or_default(),
        of(|rate| rate.p99_ms).unwrap_or_default(),
    )
}

/// How a fleet kept the pace that the server sets.
#[derive(Debug)]
pub(super) struct PacedFigures {
    pub(super) seconds: f64,
    pub(super) heartbeats: u64,
    pub(super) errors: u64,
    pub(super) first_error: String,
    pub(super) next_heartbeat_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) slowest_ms: f64,
}

impl PacedFigures {
    /// Reads the report of a load generator that ran for so many seconds.
    pub(super) fn parse(report: &[u8], seconds: f64) -> Result<Self> {
        let report = parse(report)?;
        let count = |key: &str| report[key].as_u64().unwrap_or_default();
        Ok(Self {
            seconds,
            heartbeats: count("heartbeats"),
            errors: count("errors"),
            first_error: text(&report, "first_error"),
            next_heartbeat_ms: count("next_heartbeat_ms"),
            timeout_ms: count("timeout_ms"),
            slowest_ms: report["slowest_ms"].as_f64().unwrap_or_default(),
        })
    }
}

fn parse(report: &[u8]) -> Result<Value> {
    serde_json::from_slice(report).context("the report of load-gen is no JSON")
}

fn text(report: &Value, key: &str) -> String {
    report[key].as_str().unwrap_or_default().to_owned()
}
