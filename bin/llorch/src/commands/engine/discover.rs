//! `engine discover`: what answers on this machine.

use engine_discovery::{
    DEFAULT_PORTS, Found, Search, Verdict, discover_blocking, is_same_listener,
};
use pool_registry_types::Handoff;
use serde_json::{Value, json};

use super::directories::Directories;
use crate::{
    args,
    commands::cells::{NONE, model_names},
    exit::Outcome,
    output::{Cell, CellStyle, Output, Table},
};

pub(super) fn run(ports: &[u16], directory: &args::HandoffDirectory, output: Output) -> Outcome {
    let ports = if ports.is_empty() {
        DEFAULT_PORTS.to_vec()
    } else {
        ports.to_vec()
    };
    let search = Search {
        ports,
        own: Vec::new(),
    };
    let mut found = discover_blocking(&search)?;
    // Other servers at ports that are not named are of no interest here.
    found.retain(|found| found.candidate.is_named || found.verdict.kind().is_some());
    // Without a daemon on this machine nothing is announced.
    let handoffs = Directories::find(directory).map(|directories| directories.handoffs());
    let handoffs: Vec<Handoff> = handoffs
        .unwrap_or_default()
        .into_iter()
        .map(|(_, handoff)| handoff)
        .collect();
    if output.names {
        let engines = found.iter().filter(|found| found.verdict.kind().is_some());
        return Ok(output.name_list(engines.map(|found| &found.url))?);
    }
    if output.json {
        let all: Vec<Value> = found.iter().map(|found| shown(found, &handoffs)).collect();
        return Ok(output.json(&json!({ "candidates": all }))?);
    }
    if found.is_empty() {
        return Ok(output.line("no engine answers on this machine")?);
    }
    Ok(output.table(&table(&found, &handoffs))?)
}

/// The handoff that announces what was found, as `POOL/REPLICA`.
fn announced(found: &Found, handoffs: &[Handoff]) -> Option<String> {
    let handoff = handoffs
        .iter()
        .find(|handoff| is_same_listener(&handoff.url, &found.url))?;
    Some(format!("{}/{}", handoff.pool_id, handoff.replica_id))
}

fn state(found: &Found, announced: Option<&str>) -> (&'static str, CellStyle) {
    match (&found.verdict, announced) {
        (Verdict::Engine(_), Some(_)) => ("announced", CellStyle::Good),
        (Verdict::Engine(_), None) => ("found", CellStyle::Good),
        (Verdict::NotReady(..), _) => ("not ready", CellStyle::Warn),
        (Verdict::NeedsKey(_), _) => ("needs a key", CellStyle::Warn),
        (Verdict::Shared(_), _) => ("shared port", CellStyle::Bad),
        (Verdict::Ours(_), _) => ("llorch", CellStyle::Dim),
        _ => ("no engine", CellStyle::Dim),
    }
}

fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Engine(_) => String::new(),
        Verdict::NotReady(_, why) | Verdict::NotAnEngine(why) | Verdict::NoAnswer(why) => {
            why.clone()
        }
        Verdict::Ours(daemon) => (*daemon).to_owned(),
        other => other.to_string(),
    }
}

fn table(found: &[Found], handoffs: &[Handoff]) -> Table {
    let mut table = Table::new(&[
        "URL", "STATE", "ENGINE", "SLOTS", "VERSION", "AS", "MODELS", "WHY",
    ])
    .optional(&["VERSION", "AS"])
    .long(&["MODELS"]);
    for found in found {
        let announced = announced(found, handoffs);
        let (word, style) = state(found, announced.as_deref());
        let engine = match &found.verdict {
            Verdict::Engine(engine) => Some(engine),
            _ => None,
        };
        let slots = engine.and_then(|engine| engine.slots);
        let version = engine.and_then(|engine| engine.version.as_deref());
        let models = engine.map(|engine| &engine.models[..]);
        table.row([
            Cell::new(found.url.to_string()),
            Cell::new(word).style(style),
            Cell::new(found.verdict.kind().map_or(NONE, |kind| kind.name())),
            Cell::number(slots.map_or_else(|| NONE.to_owned(), |slots| slots.to_string())),
            Cell::new(version.unwrap_or(NONE)),
            Cell::new(announced.as_deref().unwrap_or(NONE)),
            Cell::new(model_names(models)),
            Cell::new(reason(&found.verdict)),
        ]);
    }
    table
}

fn shown(found: &Found, handoffs: &[Handoff]) -> Value {
    let announced = announced(found, handoffs);
    let (state, _) = state(found, announced.as_deref());
    let engine = match &found.verdict {
        Verdict::Engine(engine) => Some(engine),
        _ => None,
    };
    json!({
        "url": found.url.to_string(),
        "state": state,
        "engine": found.verdict.kind().map(|kind| kind.name()),
        "slots": engine.and_then(|engine| engine.slots),
        "version": engine.and_then(|engine| engine.version.as_deref()),
        "models": engine.map(|engine| &engine.models),
        "announced_as": announced,
        "why": reason(&found.verdict),
    })
}
