//! Asks one engine: `cargo run -p engine-probe --example probe -- KIND URL [KEY_FILE]`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use engine_probe::{EngineAt, ProbeScope, probe, read_key};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(kind), Some(url)) = (args.next(), args.next()) else {
        return Err("usage: probe KIND URL [KEY_FILE]".into());
    };
    let key = args.next().map(|path| read_key(&path)).transpose()?;
    let engine = EngineAt {
        kind: &kind.parse()?,
        url: &url.parse()?,
        key: key.as_ref(),
    };
    let outcome = probe(engine, ProbeScope::ALL, Duration::from_secs(1)).await?;
    match outcome.reason {
        None => println!("ready, with {:?}", outcome.models.unwrap_or_default()),
        Some(reason) => println!("not ready: {reason}"),
    }
    Ok(())
}
