//! `nodes`, `pools` and `models`: what there is, as tables.

use llorch_client::{Model, Node, NodePool, NodesQuery, Pool, Quarantine};
use pool_registry_types::{NodeId, NodeStatus};
use serde_json::{Value, json};

use super::{App, NONE, gpus};
use crate::{
    args,
    exit::{Exit, Failure, Outcome},
    output::{Cell, Look, Table, count, gib, millis, note},
};

impl App {
    pub(super) fn nodes(&self, nodes: args::Nodes) -> Outcome {
        if let Some(node) = &nodes.node {
            let answer = self.client.node(node)?;
            if self.output.json {
                return Ok(self.output.json(&answer.raw)?);
            }
            return self.one_node(&answer.read()?);
        }
        let query = NodesQuery {
            status: nodes.status.map(NodeStatus::from),
            model: nodes.model,
            limit: nodes
                .limit
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        };
        let all = query == NodesQuery::default();
        let answer = self.client.nodes(&query)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let nodes = answer.read()?;
        if nodes.nodes.is_empty() {
            let none = if all {
                "no node has joined"
            } else {
                "no such node"
            };
            return Ok(self.output.line(none)?);
        }
        if nodes.self_suspicion {
            self.output.line(
                "most nodes fell silent together: the control plane suspects itself and keeps its \
                 routes",
            )?;
        }
        self.output.table(&nodes_table(&nodes.nodes))?;
        if nodes.next_after.is_some() {
            note("there are more nodes; --limit shows more of them, --status and --model others");
        }
        Ok(())
    }

    fn one_node(&self, node: &Node) -> Outcome {
        self.output
            .table(&nodes_table(std::slice::from_ref(node)))?;
        self.output.line("")?;
        let gpus = gpus::of_node(node);
        if !gpus.is_empty() {
            self.output.table(&gpus::of_one_node(&gpus))?;
            self.output.line("")?;
        }
        if let Some(drain) = node.drain {
            let running = drain.requests_running.map_or_else(String::new, |requests| {
                format!("{} running, ", count(requests, "request"))
            });
            self.output.line(&format!(
                "draining for {}, {running}{} still taken as last reported",
                millis(drain.for_ms as f64),
                count(u64::from(drain.slots_busy), "slot")
            ))?;
        }
        let mut table = Table::new(&[
            "POOL",
            "STATE",
            "RUNNING",
            "FREE",
            "SLOTS",
            "VRAM FREE",
            "ENGINE",
            "MODELS",
            "WHY",
        ]);
        for pool in &node.pools {
            let status = &pool.status;
            let draining = status.draining || pool.drain.is_some();
            let why = pool.unavailable.as_deref().or(status.last_error.as_deref());
            table.row([
                Cell::new(status.pool_id.as_str()),
                state(status.ready, draining, pool.quarantine.as_ref()),
                running(pool.requests_running),
                Cell::number(status.slots_free()),
                Cell::number(status.slots_total()),
                vram(status.vram_free_bytes),
                Cell::new(
                    status
                        .engine
                        .as_ref()
                        .map_or(NONE, |engine| engine.as_str()),
                ),
                Cell::new(models(status.models_available.as_deref())),
                Cell::new(why_not(why, pool.quarantine.as_ref())),
            ]);
        }
        self.output.table(&table)?;
        let replicas = replicas_table(&node.pools);
        if !replicas.is_empty() {
            self.output.line("")?;
            self.output.table(&replicas)?;
        }
        Ok(())
    }

    pub(super) fn pools(&self, only: Option<&NodeId>) -> Outcome {
        let answer = self.client.pools()?;
        let mut pools = answer.read()?.pools;
        if let Some(node) = only {
            pools.retain(|pool| pool.node_id == *node);
            if pools.is_empty() {
                let message = format!("no pool of a node {node}; `llorch nodes` lists the nodes");
                return Err(Failure::Told(Exit::NotFound, message));
            }
        }
        if self.output.json {
            return Ok(self.output.json(&only.map_or_else(
                || answer.raw.clone(),
                |node| only_of(&answer.raw, "pools", node),
            ))?);
        }
        if pools.is_empty() {
            return Ok(self.output.line("no engine is announced")?);
        }
        Ok(self.output.table(&pools_table(&pools))?)
    }

    pub(super) fn models(&self) -> Outcome {
        let answer = self.client.catalog()?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let models = answer.read()?.models;
        if models.is_empty() {
            return Ok(self
                .output
                .line("nobody names a model; `llorch pools` shows the engines")?);
        }
        Ok(self.output.table(&models_table(&models))?)
    }
}

/// The same answer with what of its list `of` belongs to one node.
pub(super) fn only_of(raw: &Value, of: &str, node: &NodeId) -> Value {
    let all = raw[of].as_array().into_iter().flatten();
    json!({of: all.filter(|one| one["node_id"] == node.as_str()).collect::<Vec<_>>()})
}

/// All nodes, one line each.
pub(super) fn nodes_table(nodes: &[Node]) -> Table {
    let mut table = Table::new(&[
        "NODE", "STATUS", "FREE", "SLOTS", "POOLS", "GPUS", "HEARD", "VERSION", "ADDRESS",
    ]);
    for node in nodes {
        let look = match node.status {
            NodeStatus::Online => Look::Good,
            NodeStatus::Draining => Look::Warn,
            NodeStatus::Unreachable | NodeStatus::Offline => Look::Bad,
        };
        let ready = || node.pools.iter().filter(|pool| pool.status.ready);
        table.row([
            Cell::new(node.node_id.as_str()),
            Cell::new(node.status.as_str()).looks(look),
            Cell::number(
                ready()
                    .map(|pool| u64::from(pool.status.slots_free()))
                    .sum::<u64>(),
            ),
            Cell::number(
                ready()
                    .map(|pool| u64::from(pool.status.slots_total()))
                    .sum::<u64>(),
            ),
            Cell::number(node.pools.len()),
            Cell::number(node.capabilities.gpus.len()),
            Cell::number(millis(node.last_heartbeat_age_ms as f64)),
            Cell::new(node.version.as_deref().unwrap_or(NONE)),
            Cell::new(node.address.as_str()),
        ]);
    }
    table
}

/// The replicas of pools that have more than one, or one that takes no requests.
fn replicas_table(pools: &[NodePool]) -> Table {
    let mut table = Table::new(&[
        "POOL", "REPLICA", "STATE", "RUNNING", "FREE", "SLOTS", "WHY",
    ]);
    for pool in pools {
        let troubled = pool.replicas.iter().any(|replica| {
            !replica.status.ready || replica.status.draining || replica.quarantine.is_some()
        });
        if pool.replicas.len() < 2 && !troubled {
            continue;
        }
        for replica in &pool.replicas {
            let status = &replica.status;
            let quarantine = replica.quarantine.as_ref();
            table.row([
                Cell::new(pool.status.pool_id.as_str()),
                Cell::new(status.replica_id.as_str()),
                state(status.ready, status.draining, quarantine),
                running(replica.requests_running),
                Cell::number(status.slots_free()),
                Cell::number(status.slots_total()),
                Cell::new(why_not(status.last_error.as_deref(), quarantine)),
            ]);
        }
    }
    table
}

fn pools_table(pools: &[Pool]) -> Table {
    let with_replicas = pools.iter().any(|pool| pool.replica_id.is_some());
    let mut head = vec!["NODE", "POOL"];
    if with_replicas {
        head.push("REPLICA");
    }
    head.extend([
        "STATE",
        "RUNNING",
        "FREE",
        "SLOTS",
        "VRAM FREE",
        "ENGINE",
        "MODELS",
        "WHY",
    ]);
    let mut table = Table::new(&head);
    for pool in pools {
        let mut row = vec![
            Cell::new(pool.node_id.as_str()),
            Cell::new(pool.pool_id.as_str()),
        ];
        if with_replicas {
            row.push(Cell::new(
                pool.replica_id
                    .as_ref()
                    .map_or(NONE, |replica| replica.as_str()),
            ));
        }
        row.extend([
            state(pool.ready, pool.draining, pool.quarantine.as_ref()),
            running(pool.requests_running),
            Cell::number(pool.slots_free),
            Cell::number(pool.slots_total),
            vram(pool.vram_free_bytes),
            Cell::new(pool.engine.as_deref().unwrap_or(NONE)),
            Cell::new(models(pool.models_available.as_deref())),
            Cell::new(why_not(
                pool.unavailable.as_deref(),
                pool.quarantine.as_ref(),
            )),
        ]);
        table.row(row);
    }
    table
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
        let (text, look) = if model.available {
            ("yes", Look::Good)
        } else {
            ("no", Look::Bad)
        };
        let nodes: Vec<&str> = model.nodes.iter().map(NodeId::as_str).collect();
        table.row([
            Cell::new(model.model.as_str()),
            Cell::new(text).looks(look),
            Cell::number(model.endpoints),
            Cell::number(model.endpoints_ready),
            Cell::number(model.slots_free),
            Cell::number(model.slots_total),
            Cell::new(nodes.join(" ")),
        ]);
    }
    table
}

fn state(ready: bool, draining: bool, quarantine: Option<&Quarantine>) -> Cell {
    let (text, look) = match (draining, quarantine, ready) {
        (true, ..) => ("draining", Look::Warn),
        (_, Some(_), _) => ("quarantined", Look::Bad),
        (_, _, true) => ("ready", Look::Good),
        (_, _, false) => ("not ready", Look::Bad),
    };
    Cell::new(text).looks(look)
}

/// Requests of the control plane's; one of an older version does not tell.
fn running(requests: Option<u64>) -> Cell {
    Cell::number(requests.map_or_else(|| NONE.to_owned(), |requests| requests.to_string()))
}

fn vram(bytes: u64) -> Cell {
    Cell::number(if bytes == 0 {
        NONE.to_owned()
    } else {
        gib(bytes)
    })
}

fn models(models: Option<&[String]>) -> String {
    models.map_or_else(|| NONE.to_owned(), |models| models.join(" "))
}

fn why_not(reason: Option<&str>, quarantine: Option<&Quarantine>) -> String {
    match (reason, quarantine) {
        (
            _,
            Some(Quarantine {
                reason,
                retry_in_ms,
            }),
        ) => {
            format!("{reason} (tried again in {})", millis(*retry_in_ms as f64))
        }
        (Some(reason), None) => reason.to_owned(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-2
    #[test]
    fn pools_say_where_they_stand_and_why() {
        let pools: llorch_client::Pools = serde_json::from_value(json!({"pools":[
            {"node_id":"gpu-1","pool_id":"chat","ready":true,"draining":false,"slots_free":3,"slots_total":4,
             "vram_free_bytes":19_327_352_832_u64,"engine":"llamacpp","models_available":["tiny"],"quarantine":null},
            {"node_id":"gpu-2","pool_id":"chat","ready":false,"draining":false,"slots_free":0,"slots_total":0,
             "unavailable":"connection refused","quarantine":null},
            {"node_id":"gpu-3","pool_id":"chat","ready":true,"draining":true,"slots_free":0,"slots_total":2,
             "requests_running":1,"quarantine":{"reason":"it reset","retry_in_ms":900}},
        ]}))
        .unwrap();
        assert_eq!(
            pools_table(&pools.pools).lines(None, false),
            [
                "NODE   POOL  STATE      RUNNING  FREE  SLOTS  VRAM FREE  ENGINE    MODELS  WHY",
                "gpu-1  chat  ready            -     3      4   18.0 GiB  llamacpp  tiny",
                "gpu-2  chat  not ready        -     0      0          -  -         -       \
                 connection refused",
                "gpu-3  chat  draining         1     0      2          -  -         -       it \
                 reset (tried again in 900 ms)",
            ]
        );
    }
}
