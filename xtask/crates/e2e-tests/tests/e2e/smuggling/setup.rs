//! The daemons and the scripted engine of a test, and where its rows are sent.

use anyhow::{Context, Result};
use serde_json::json;
use test_clock::wait_for;
use test_cluster::{Cluster, write_handoff};

use super::{
    client::{Place, SOON},
    engine::ScriptedEngine,
};

/// The way to the engine that a row takes.
pub(crate) struct Setup {
    pub(crate) engine: ScriptedEngine,
    /// Where clients can send requests: the gateway, and a node itself.
    pub(crate) places: Vec<Place>,
}

/// One slot: when a row does not return it, no later request is served.
fn handoff(engine: &ScriptedEngine) -> serde_json::Value {
    json!({
        "pool_id": "pool-0", "replica_id": "r0", "engine": "scripted", "url": engine.url(),
        "engine_version": "1", "slots": 1, "models": ["tiny"],
    })
}

pub(crate) fn in_home(test: impl FnOnce(&Setup) -> Result<()>) -> Result<()> {
    Cluster::test("smuggling-home", |cluster| {
        let mut home = cluster.home(&[])?;
        let engine = ScriptedEngine::start()?;
        write_handoff(home.daemon().directory(), &handoff(&engine))?;
        let gateway = Place::gateway(&home.url())?;
        wait_for("an answer", SOON, || gateway.serves())?;
        let places = vec![gateway];
        test(&Setup { engine, places })
    })
}

pub(crate) fn in_cloud(test: impl FnOnce(&Setup) -> Result<()>) -> Result<()> {
    Cluster::test("smuggling-cloud", |cluster| {
        let orchestrator = cluster.orchestrator(&[])?;
        let mut node = cluster.node("node-a", &orchestrator, &[])?;
        let engine = ScriptedEngine::start()?;
        write_handoff(node.daemon().directory(), &handoff(&engine))?;
        let gateway = Place::gateway(&orchestrator.url())?;
        wait_for("an answer", SOON, || gateway.serves())?;
        let places = vec![gateway, Place::node(&node.url())?];
        test(&Setup { engine, places })
    })
}

/// Runs every row at every place, and says which one failed.
pub(crate) fn each<R>(
    setup: &Setup,
    rows: &[R],
    name: impl Fn(&R) -> &str,
    run: impl Fn(&Setup, &Place, &R) -> Result<()>,
) -> Result<()> {
    for place in &setup.places {
        for row in rows {
            run(setup, place, row)
                .with_context(|| format!("{} at the {}", name(row), place.name))?;
        }
    }
    Ok(())
}
