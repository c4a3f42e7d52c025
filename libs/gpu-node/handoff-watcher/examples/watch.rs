//! Prints the events of a directory until its input ends:
//! `cargo run -p handoff-watcher --example watch -- DIR`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, io, path::PathBuf};

use handoff_watcher::{HandoffEvent, HandoffWatcher};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: watch DIR")?;
    let watcher = HandoffWatcher::builder(PathBuf::from(dir)).start(|event| match event {
        HandoffEvent::Appeared { path, handoff, .. } => {
            println!("appeared  {}: {}", path.display(), describe(&handoff));
        }
        HandoffEvent::Changed { old, new, .. } => {
            println!("changed   {} -> {}", describe(&old), describe(&new));
        }
        HandoffEvent::Gone { path, handoff, .. } => {
            println!("gone      {}: {}", path.display(), describe(&handoff));
        }
        HandoffEvent::Refused { path, reason, .. } => {
            println!("refused   {}: {reason}", path.display());
        }
        HandoffEvent::Resolved { path, .. } => println!("resolved  {}", path.display()),
        HandoffEvent::Scanned => println!("the first scan is complete"),
        other => println!("{other:?}"),
    })?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    watcher.stop();
    Ok(())
}

fn describe(handoff: &pool_registry_types::Handoff) -> String {
    format!(
        "{}/{} {} at {} with {} slots",
        handoff.pool_id,
        handoff.replica_id,
        handoff.engine,
        handoff.url,
        handoff.slots()
    )
}
