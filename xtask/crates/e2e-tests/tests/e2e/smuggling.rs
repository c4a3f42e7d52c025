//! Messages whose end two parties may see in different places (RFC 9112, section 11), from clients
//! and from engines.
//!
//! Each row is sent through the real daemons. Whatever a row does, its client reads one answer, its
//! connection is closed or carries on with the next request, and a new connection is served. A real
//! engine cannot send most of these answers, so the engine is a socket.

mod client;
mod engine;
mod from_clients;
mod from_engines;

use anyhow::{Context, Result};
use serde_json::json;
use test_clock::wait_for;
use test_cluster::{Cluster, write_handoff};

use self::{
    client::{Place, SOON},
    engine::ScriptedEngine,
};

/// The way to the engine that a row takes.
struct Setup {
    engine: ScriptedEngine,
    /// Where clients can send requests: the gateway, and a node itself.
    places: Vec<Place>,
}

fn handoff(engine: &ScriptedEngine) -> serde_json::Value {
    json!({
        "pool_id": "pool-0", "replica_id": "r0", "engine": "scripted", "url": engine.url(),
        "engine_version": "1", "slots": 4, "models": ["tiny"],
    })
}

fn in_home(test: impl FnOnce(&Setup) -> Result<()>) -> Result<()> {
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

fn in_cloud(test: impl FnOnce(&Setup) -> Result<()>) -> Result<()> {
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
fn each<R>(
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

// spec: PATH-23
#[test]
fn an_engine_puts_nothing_into_a_connection_of_a_client_in_home() -> Result<()> {
    in_home(|setup| {
        each(
            setup,
            &from_engines::rows(),
            |row| row.name,
            from_engines::run,
        )
    })
}

// spec: PATH-23
#[test]
fn an_engine_puts_nothing_into_a_connection_of_a_client_in_cloud() -> Result<()> {
    in_cloud(|setup| {
        each(
            setup,
            &from_engines::rows(),
            |row| row.name,
            from_engines::run,
        )?;
        from_engines::answers_to_head_have_no_body(setup)
    })
}

// spec: PATH-23
#[test]
fn a_client_puts_nothing_into_a_connection_to_an_engine_in_home() -> Result<()> {
    in_home(|setup| {
        each(
            setup,
            &from_clients::rows(),
            |row| row.name,
            from_clients::run,
        )
    })
}

// spec: PATH-23
#[test]
fn a_client_puts_nothing_into_a_connection_to_an_engine_in_cloud() -> Result<()> {
    in_cloud(|setup| {
        each(
            setup,
            &from_clients::rows(),
            |row| row.name,
            from_clients::run,
        )
    })
}
