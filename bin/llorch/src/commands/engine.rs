//! `engine`: the engines of this machine, and those of all nodes.

mod add;
mod directories;
mod discover;

use engine_discovery::is_same_listener;
use llorch_client::{DrainTarget, NodeId, NodesQuery};
use pool_registry_types::HttpUrl;
use serde_json::json;

use self::directories::{Directories, failed};
use super::{
    App,
    cells::{NONE, endpoint_state, model_names, unavailable_reason},
};
use crate::{
    args,
    exit::{Exit, Failure, Outcome},
    output::{Cell, Output, Table},
};

/// Runs what needs no control plane. `None` for the other commands.
pub(super) fn run_offline(command: &args::Engine, output: Output) -> Option<Outcome> {
    match command {
        args::Engine::Discover { ports, directory } => {
            Some(discover::run(ports, directory, output))
        }
        args::Engine::Add(add) => Some(add::run(add, output)),
        args::Engine::Remove { engine, directory } => Some(remove(engine, directory, output)),
        args::Engine::List { .. } | args::Engine::Restart { .. } => None,
    }
}

/// Removes a handoff of the persistent directory.
fn remove(engine: &str, directory: &args::HandoffDirectory, output: Output) -> Outcome {
    let store = Directories::find(directory)?.store;
    let known = store.list().map_err(|error| failed(&error))?;
    let url = engine.parse::<HttpUrl>().ok();
    let found = known.iter().find(|(_, handoff)| match &url {
        Some(url) => is_same_listener(url, &handoff.url),
        None => format!("{}/{}", handoff.pool_id, handoff.replica_id) == engine,
    });
    let Some((path, handoff)) = found else {
        let listed: Vec<String> = known
            .iter()
            .map(|(_, handoff)| format!("{}/{}", handoff.pool_id, handoff.replica_id))
            .collect();
        let there = if listed.is_empty() {
            "none".to_owned()
        } else {
            listed.join(", ")
        };
        return Err(Failure::Message(
            Exit::NotFound,
            format!(
                "{} has no handoff of {engine}; it has {there}",
                store.dir().display()
            ),
        ));
    };
    store.remove(path).map_err(|error| failed(&error))?;
    let name = format!("{}/{}", handoff.pool_id, handoff.replica_id);
    if output.json {
        return Ok(output.json(&json!({"engine": name, "file": path, "removed": true}))?);
    }
    Ok(output.line(&format!("{name} is removed; its running requests finish"))?)
}

impl App {
    /// Runs what needs a control plane.
    pub(super) fn engine(&self, command: &args::Engine) -> Outcome {
        match command {
            args::Engine::List { node } => self.engines(node.as_ref()),
            args::Engine::Restart { pool } => self.restart_engines(pool),
            // `run_offline` runs these before there is an `App`.
            args::Engine::Discover { .. } | args::Engine::Add(_) | args::Engine::Remove { .. } => {
                Ok(())
            }
        }
    }

    fn engines(&self, only: Option<&NodeId>) -> Outcome {
        let nodes = match only {
            Some(node) => vec![self.client.node(node)?.read()?],
            None => self.client.nodes(&NodesQuery::default())?.read()?.nodes,
        };
        let engines = || {
            nodes.iter().flat_map(|node| {
                let pools = node.pools.iter();
                pools.flat_map(move |pool| {
                    pool.replicas
                        .iter()
                        .map(move |replica| (node, pool, replica))
                })
            })
        };
        if self.output.names {
            let names = engines().map(|(node, pool, replica)| {
                let (pool, replica) = (&pool.status.pool_id, &replica.status.replica_id);
                format!("{}/{pool}/{replica}", node.node_id)
            });
            return Ok(self.output.name_list(names)?);
        }
        if self.output.json {
            let all = engines().map(|(node, pool, replica)| {
                json!({
                    "node_id": node.node_id,
                    "pool_id": pool.status.pool_id,
                    "engine": pool.status.engine,
                    "engine_version": pool.status.engine_version,
                    "replica": replica.status,
                })
            });
            let all: Vec<_> = all.collect();
            return Ok(self.output.json(&json!({ "engines": all }))?);
        }
        let mut table = Table::new(&[
            "NODE", "POOL", "REPLICA", "STATE", "ENGINE", "FREE", "SLOTS", "MODELS", "WHY",
        ])
        .optional(&["ENGINE", "FREE"])
        .long(&["MODELS"]);
        for (node, pool, replica) in engines() {
            let status = &replica.status;
            let draining = status.draining || pool.status.draining || node.drain.is_some();
            let quarantine = replica.quarantine.as_ref();
            let kind = pool.status.engine.as_ref();
            table.row([
                Cell::new(node.node_id.as_str()),
                Cell::new(pool.status.pool_id.as_str()),
                Cell::new(status.replica_id.as_str()),
                endpoint_state(status.ready, draining, quarantine),
                Cell::new(kind.map_or(NONE, |kind| kind.as_str())),
                Cell::number(status.slots_free()),
                Cell::number(status.slots_total()),
                Cell::new(model_names(status.models.as_deref())),
                Cell::new(unavailable_reason(status.last_error.as_deref(), quarantine)),
            ]);
        }
        if table.is_empty() {
            let text =
                "no engine is announced; `llorch engine add URL` on its machine announces one";
            return Ok(self.output.line(text)?);
        }
        Ok(self.output.table(&table)?)
    }

    fn restart_engines(&self, target: &DrainTarget) -> Outcome {
        let (node, pool) = match &target.pool {
            Some(of) if of.replica.is_none() => (&target.node, &of.pool),
            _ => return Err(Failure::usage(format!("must be NODE/POOL, not {target}"))),
        };
        let answer = self.client.restart_pool(node, pool)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        Ok(self
            .output
            .line(&format!("the engines of {target} have been restarted"))?)
    }
}
