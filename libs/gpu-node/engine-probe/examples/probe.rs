//! Asks one engine: `cargo run -p engine-probe --example probe -- llamacpp http://localhost:8081`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use engine_probe::{ProbeScope, probe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(kind), Some(url)) = (args.next(), args.next()) else {
        return Err("usage: probe KIND URL".into());
    };
    let outcome = probe(
        &kind.parse()?,
        &url.parse()?,
        ProbeScope::ALL,
        Duration::from_secs(1),
    )
    .await?;
    match outcome.reason {
        None => println!("ready, with {:?}", outcome.models.unwrap_or_default()),
        Some(reason) => println!("not ready: {reason}"),
    }
    Ok(())
}
