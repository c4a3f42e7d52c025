//! `pools`: the endpoints of all nodes.

use llorch_client::{NodeId, Pool};

use super::{
    App,
    cells::{NONE, endpoint_state, free_vram, model_names, only_node, running, unavailable_reason},
};
use crate::{
    exit::{Exit, Failure, Outcome},
    output::{Cell, Table},
};

impl App {
    pub(super) fn pools(&self, only: Option<&NodeId>) -> Outcome {
        let answer = self.client.pools()?;
        let mut pools = answer.read()?.pools;
        if let Some(node) = only {
            pools.retain(|pool| pool.node_id == *node);
            if pools.is_empty() {
                let message = format!("no pool of a node {node}; `llorch nodes` lists the nodes");
                return Err(Failure::Message(Exit::NotFound, message));
            }
        }
        if self.output.json {
            return Ok(self.output.json(&only.map_or_else(
                || answer.raw.clone(),
                |node| only_node(&answer.raw, "pools", node),
            ))?);
        }
        if self.output.names {
            return Ok(self.output.name_list(pools.iter().map(target))?);
        }
        if pools.is_empty() {
            return Ok(self.output.line("no engine is announced")?);
        }
        Ok(self.output.table(&pools_table(&pools))?)
    }
}

/// What `drain` takes.
fn target(pool: &Pool) -> String {
    let (node, id) = (&pool.node_id, &pool.pool_id);
    match &pool.replica_id {
        Some(replica) => format!("{node}/{id}/{replica}"),
        None => format!("{node}/{id}"),
    }
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
    let mut table = Table::new(&head)
        .optional(&["VRAM FREE", "ENGINE", "RUNNING"])
        .long(&["MODELS"]);
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
            endpoint_state(pool.ready, pool.draining, pool.quarantine.as_ref()),
            running(pool.requests_running),
            Cell::number(pool.slots_free),
            Cell::number(pool.slots_total),
            free_vram(pool.vram_free_bytes),
            Cell::new(pool.engine.as_deref().unwrap_or(NONE)),
            Cell::new(model_names(pool.models_available.as_deref())),
            Cell::new(unavailable_reason(
                pool.unavailable.as_deref(),
                pool.quarantine.as_ref(),
            )),
        ]);
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // spec: CLI-34
    #[test]
    fn pools_fit_a_terminal_of_eighty_columns() {
        let pools: llorch_client::Pools = serde_json::from_value(json!({"pools":[
            {"node_id":"gpu-node-1","pool_id":"chat","replica_id":"r0","ready":true,"draining":false,
             "slots_free":3,"slots_total":4,"requests_running":1,"vram_free_bytes":19_327_352_832_u64,
             "engine":"llamacpp","models_available":["org/a-model-with-a-long-name","another-model"]},
            {"node_id":"gpu-node-2","pool_id":"chat","replica_id":"r0","ready":false,"draining":false,
             "slots_free":0,"slots_total":4,"requests_running":0,"vram_free_bytes":0,
             "engine":"vllm","models_available":[],
             "unavailable":"no replica ready: cannot connect to http://127.0.0.1:8081: Connection \
                            refused (os error 111)"},
        ]}))
        .unwrap();
        assert_eq!(
            pools_table(&pools.pools).lines(Some(80), false),
            [
                "NODE        POOL  REPLICA  STATE      RUNNING  FREE  SLOTS  MODELS",
                "gpu-node-1  chat  r0       ready            1     3      4  org/a-model-with-a-…",
                "gpu-node-2  chat  r0       not ready        0     0      4",
                "  no replica ready: cannot connect to http://127.0.0.1:8081: Connection refused",
                "  (os error 111)",
            ]
        );
    }

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
