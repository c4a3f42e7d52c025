//! Registers a node and reports by heartbeat until Enter is pressed, without an async runtime:
//! `cargo run -p node-registration --example heartbeat -- http://localhost:8080 my-node`.

use std::{error::Error, io, time::Duration};

use node_registration::{NodeRegistration, RegistrationConfig};
use pool_registry_types::PoolStatus;

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let (Some(control_plane), Some(node_id)) = (arguments.next(), arguments.next()) else {
        return Err("usage: heartbeat http://CONTROL-PLANE:8080 NODE_ID".into());
    };
    let config = RegistrationConfig::new(
        node_id.parse()?,
        node_id.parse()?,
        "http://127.0.0.1:9200".parse()?,
        control_plane.parse()?,
    )
    .with_version(env!("CARGO_PKG_VERSION"))
    .with_pools(vec!["pool-0".parse()?]);
    let registration = NodeRegistration::new(config).start(pools)?;

    tracing::info!("press Enter to deregister");
    io::stdin().read_line(&mut String::new())?;
    tracing::info!(status = ?registration.status());
    registration.deregister(Duration::from_secs(2))?;
    Ok(())
}

/// The state of a node with one idle engine of four slots.
fn pools() -> Vec<PoolStatus> {
    let pool = serde_json::json!({
        "pool_id": "pool-0", "ready": true, "draining": false, "slots_free": 4, "slots_total": 4,
        "engine": "llamacpp",
    });
    serde_json::from_value(pool).into_iter().collect()
}
