//! Prints the store of a stopped control plane: `cargo run -p registry-store --example show --
//! .runtime/state`.

use std::{error::Error, path::PathBuf, time::SystemTime};

use registry_store::{FILE_NAME, FileStore, RegistryStore as _};
use service_registry::PersistedNode;

#[expect(clippy::print_stdout, reason = "the example prints its result")]
fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("which state directory?")?;
    let directory = PathBuf::from(directory);
    // Opening would create the file.
    if !directory.join(FILE_NAME).is_file() {
        return Err(format!("there is no {FILE_NAME} in {}", directory.display()).into());
    }
    let store = FileStore::open(&directory)?;
    let now = SystemTime::now();
    for node in store.load()? {
        println!("{}", line(&node.to_persisted(now)));
    }
    Ok(())
}

fn line(node: &PersistedNode) -> String {
    let mut line = format!("{:24}", node.node_id);
    match &node.registered {
        Some(registered) => {
            let ready = registered.pools.iter().filter(|pool| pool.ready).count();
            line += &format!(
                "{}  {ready} of {} pools ready",
                registered.registration.address,
                registered.pools.len()
            );
        }
        None => line += "has left",
    }
    if node.drain.is_some() {
        line += ", drained";
    }
    for (pool, _) in &node.pool_drains {
        line += &format!(", {pool} drained");
    }
    if let Some(left) = node.forget_in {
        line += &format!(", absent, forgotten in {} min", left.as_secs() / 60);
    }
    line
}
