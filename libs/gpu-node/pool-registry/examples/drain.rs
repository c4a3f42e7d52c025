//! Claims, a full pool, and a drain: `cargo run -p pool-registry --example drain`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use pool_registry::{DrainTarget, PoolRegistry};
use pool_registry_types::{Handoff, PoolId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = PoolId::new("pool-0")?;
    let registry = PoolRegistry::new(vec![pool.clone()]);
    let handoff: Handoff = serde_json::from_str(
        r#"{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp",
            "url":"http://localhost:8081","slots":2}"#,
    )?;
    registry.upsert(handoff)?;

    let first = registry.claim(&pool, None)?;
    let second = registry.claim(&pool, None)?;
    println!(
        "two requests run on {}; free: {}",
        first.url(),
        first.slots().pool.free
    );
    if let Err(error) = registry.claim(&pool, None) {
        println!("a third is refused: {error}");
    }

    registry.drain(&DrainTarget::Node)?;
    drop((first, second));
    registry.idle().await;
    println!("drained: {}", serde_json::to_string(&registry.statuses())?);
    Ok(())
}
