//! Runs the engines of a pool file and prints their status, until Ctrl-C.
//!
//! `cargo run -p engine-provisioner --example run -- pools.toml`

use std::{path::PathBuf, sync::Arc, time::Duration};

use engine_provisioner::{PoolFile, Prepared, ProvisionerConfig};
use local_node::LocalNode;
use service_runtime::{Shutdown, Tasks};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a command line program")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: run POOL-FILE")?;
    let file = PoolFile::read(&PathBuf::from(path))?;
    let runtime_dir = PathBuf::from(".runtime/engines");
    // Before handoffs are read: this removes handoffs of engines that are gone.
    let prepared = Prepared::new(ProvisionerConfig::new(&runtime_dir, ".runtime/state"), file)?;

    let (stop, shutdown) = (Shutdown::new(), Shutdown::new());
    let tasks = Tasks::new(stop.clone());
    service_runtime::signals(stop.clone(), &tasks)?;
    let node = LocalNode::start(local_node::WatchConfig::new(runtime_dir), &tasks, &shutdown)?;
    let engines = prepared.start(
        node.registry().clone(),
        Arc::new(|_| None),
        &tasks,
        &shutdown,
    );

    let mut status = engines.status();
    loop {
        for engine in status.borrow_and_update().iter() {
            let url = engine
                .url
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let error = engine.last_error.as_deref().unwrap_or_default();
            println!(
                "{} {} {} {url} {error}",
                engine.pool_id,
                engine.replica_id,
                engine.phase.as_str()
            );
        }
        tokio::select! {
            () = stop.requested() => break,
            changed = status.changed() => changed?,
        }
    }
    engines.stop_all().await;
    shutdown.request();
    tasks.join(Duration::from_secs(5)).await?;
    Ok(())
}
