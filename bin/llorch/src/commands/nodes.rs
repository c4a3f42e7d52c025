//! `nodes`: all nodes, or one of them with its pools, replicas and GPUs.

use llorch_client::{Node, NodeId, NodePool, NodeStatus, NodesQuery, RefusedNode};
use serde_json::json;

use super::{
    App,
    cells::{
        NONE, endpoint_state, free_vram, model_names, node_status, running, unavailable_reason,
    },
    gpus,
};
use crate::{
    args,
    exit::Outcome,
    output::{Cell, Table, count, millis, note},
};

impl App {
    pub(super) fn nodes(&self, nodes: &args::Nodes) -> Outcome {
        match &nodes.action {
            Some(args::NodesAction::Forget { node }) => return self.forget(node),
            Some(args::NodesAction::Revoke { node }) => return self.revoke_node(node),
            None => {}
        }
        if let Some(node) = &nodes.node {
            let answer = self.client.node(node)?;
            if self.output.json {
                return Ok(self.output.json(&answer.raw)?);
            }
            let node = answer.read()?;
            if self.output.names {
                return Ok(self.output.name_list([node.node_id])?);
            }
            return self.one_node(&node);
        }
        let mut query = NodesQuery::default();
        if let Some(status) = nodes.status {
            query = query.status(status.into());
        }
        if let Some(model) = &nodes.model {
            query = query.model(model.clone());
        }
        if let Some(limit) = nodes.limit {
            query = query.limit(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        let lists_all = query == NodesQuery::default();
        let answer = self.client.nodes(&query)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let nodes = answer.read()?;
        if self.output.names {
            let names = nodes.nodes.iter().map(|node| &node.node_id);
            return Ok(self.output.name_list(names)?);
        }
        if nodes.nodes.is_empty() {
            let none = if lists_all {
                "no node has joined"
            } else {
                "no such node"
            };
            self.output.line(none)?;
            return self.refused_nodes(&nodes.refused_nodes);
        }
        if nodes.self_suspicion {
            self.output.line(
                "most nodes fell silent together: the control plane suspects itself and keeps its \
                 routes",
            )?;
        }
        self.output.table(&nodes_table(&nodes.nodes))?;
        self.problems(&nodes.nodes)?;
        self.refused_nodes(&nodes.refused_nodes)?;
        if nodes.next_after.is_some() {
            note("there are more nodes; --limit shows more of them, --status and --model others");
        }
        Ok(())
    }

    /// What is wrong on nodes beyond their status.
    fn problems(&self, nodes: &[Node]) -> Outcome {
        for node in nodes {
            for gpu in node.gpus.iter().flatten() {
                if let Some(problem) = &gpu.problem {
                    let line = format!("{}: GPU {}: {problem}", node.node_id, gpu.device_id);
                    self.output.line(&line.replace('\n', " "))?;
                }
            }
            for refused in &node.refused_handoffs {
                let line = format!(
                    "{}: handoff {} is refused: {}",
                    node.node_id,
                    refused.file(),
                    refused.reason()
                );
                self.output.line(&line.replace('\n', " "))?;
            }
        }
        Ok(())
    }

    /// Nodes that want to join and may not.
    fn refused_nodes(&self, refused: &[RefusedNode]) -> Outcome {
        for node in refused {
            let id = node.node_id.as_ref();
            let id = id.map_or_else(String::new, |id| format!("{id} at "));
            let line = format!(
                "refused {id}{}, {} ago: {}",
                node.from,
                millis(node.last_ms as f64),
                node.reason
            );
            self.output.line(&line.replace('\n', " "))?;
        }
        Ok(())
    }

    /// Removes a node, and warns when it lives: it will be back.
    fn forget(&self, node_id: &NodeId) -> Outcome {
        let known = self.client.node(node_id)?.read()?;
        self.client.forget_node(node_id)?;
        if known.status != NodeStatus::Offline {
            note(&format!(
                "llorch: warning: {node_id} was {} and registers again with its next heartbeat; \
                 stop its agent first, or use `llorch drain` to keep requests away",
                known.status
            ));
        }
        if self.output.json {
            let value = json!({"node_id": node_id, "forgotten": true});
            return Ok(self.output.json(&value)?);
        }
        Ok(self.output.line(&format!("{node_id} is forgotten"))?)
    }

    fn one_node(&self, node: &Node) -> Outcome {
        self.output
            .table(&nodes_table(std::slice::from_ref(node)))?;
        self.problems(std::slice::from_ref(node))?;
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
        ])
        .optional(&["VRAM FREE", "ENGINE", "RUNNING"])
        .long(&["MODELS"]);
        for pool in &node.pools {
            let status = &pool.status;
            let draining = status.draining || pool.drain.is_some();
            let why = pool.unavailable.as_deref().or(status.last_error.as_deref());
            table.row([
                Cell::new(status.pool_id.as_str()),
                endpoint_state(status.ready, draining, pool.quarantine.as_ref()),
                running(pool.requests_running),
                Cell::number(status.slots_free()),
                Cell::number(status.slots_total()),
                free_vram(status.vram_free_bytes),
                Cell::new(
                    status
                        .engine
                        .as_ref()
                        .map_or(NONE, |engine| engine.as_str()),
                ),
                Cell::new(model_names(status.models_available.as_deref())),
                Cell::new(unavailable_reason(why, pool.quarantine.as_ref())),
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
}

/// One row for each node.
fn nodes_table(nodes: &[Node]) -> Table {
    let mut table = Table::new(&[
        "NODE", "STATUS", "FREE", "SLOTS", "POOLS", "GPUS", "HEARD", "VERSION", "ADDRESS",
    ])
    .optional(&["ADDRESS", "VERSION", "GPUS", "POOLS"]);
    for node in nodes {
        let ready = || node.pools.iter().filter(|pool| pool.status.ready);
        table.row([
            Cell::new(node.node_id.as_str()),
            node_status(node.status),
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

/// The replicas of each pool that has several, or one that gets no requests.
fn replicas_table(pools: &[NodePool]) -> Table {
    let mut table = Table::new(&[
        "POOL", "REPLICA", "STATE", "RUNNING", "FREE", "SLOTS", "WHY",
    ]);
    for pool in pools {
        let has_trouble = pool.replicas.iter().any(|replica| {
            !replica.status.ready || replica.status.draining || replica.quarantine.is_some()
        });
        if pool.replicas.len() < 2 && !has_trouble {
            continue;
        }
        for replica in &pool.replicas {
            let status = &replica.status;
            let quarantine = replica.quarantine.as_ref();
            table.row([
                Cell::new(pool.status.pool_id.as_str()),
                Cell::new(status.replica_id.as_str()),
                endpoint_state(status.ready, status.draining, quarantine),
                running(replica.requests_running),
                Cell::number(status.slots_free()),
                Cell::number(status.slots_total()),
                Cell::new(unavailable_reason(status.last_error.as_deref(), quarantine)),
            ]);
        }
    }
    table
}
