//! Engines are replaced under load.

use anyhow::Result;
use serde_json::json;
use test_clock::now;
use test_cluster::Cluster;
use tiny_model::TinyModel;

use super::{CLIENTS, REPLICAS, processes, start, two_pools};
use crate::load::Load;

// spec: PROV-12, PROV-18
#[test]
fn a_reload_to_another_model_under_load_fails_no_request() -> Result<()> {
    Cluster::test("prov-reload", |cluster| {
        let file = two_pools(cluster);
        let (orchestrator, node) = start(cluster, &file)?;
        let before = processes(cluster, &node);
        // Other weights, and the same words, so that every answer can be checked.
        let model = cluster.directory().join("second.gguf");
        let second = TinyModel {
            seed: 2,
            ..TinyModel::default()
        };
        second.write(&model)?;
        let old = format!("{:?}", cluster.model());
        let file = file.replacen(&old, &format!("{model:?}"), 1);
        std::fs::write(cluster.directory().join("pools.toml"), file)?;

        let outcomes = Load::while_it_lasts(orchestrator.client(), CLIENTS).run(|load| {
            load.wait_for(CLIENTS)?;
            let asked = now();
            let answer = node.client().post("/v2/pools/chat/reload", &json!({}))?;
            println!("reloaded after {} ms", asked.elapsed().as_millis());
            assert_eq!(answer.status, 200, "{}", answer.body);
            load.wait_for(CLIENTS)
        })?;
        for outcome in &outcomes {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        let after = processes(cluster, &node);
        for name in REPLICAS {
            let same = before.get(&name) == after.get(&name);
            assert_eq!(same, name.0 == "other", "{before:?} {after:?}");
        }
        assert_eq!(cluster.engine_processes().len(), REPLICAS.len());
        Ok(())
    })
}

// spec: PROV-24
#[test]
fn a_restart_under_load_goes_from_replica_to_replica_and_fails_no_request() -> Result<()> {
    Cluster::test("prov-restart", |cluster| {
        let (orchestrator, node) = start(cluster, &two_pools(cluster))?;
        let before = processes(cluster, &node);
        let outcomes = Load::while_it_lasts(orchestrator.client(), CLIENTS).run(|load| {
            load.wait_for(CLIENTS)?;
            let asked = now();
            let answer = node.client().post("/v2/pools/chat/restart", &json!({}))?;
            println!("restarted after {} ms", asked.elapsed().as_millis());
            assert_eq!(answer.status, 200, "{}", answer.body);
            load.wait_for(CLIENTS)
        })?;
        for outcome in &outcomes {
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        let after = processes(cluster, &node);
        for name in REPLICAS {
            let same = before.get(&name) == after.get(&name);
            assert_eq!(same, name.0 == "other", "{before:?} {after:?}");
        }
        assert_eq!(cluster.engine_processes().len(), REPLICAS.len());
        Ok(())
    })
}
