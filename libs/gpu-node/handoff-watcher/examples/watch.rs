//! Prints the events of a directory until its input ends: `cargo run -p handoff-watcher --example
//! watch -- DIR`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, io};

use handoff_watcher::{Config, Event, HandoffWatcher};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: watch DIR")?;
    let watcher = HandoffWatcher::start(Config::new(dir), |event| match event {
        Event::Appeared(handoff) => println!("appeared  {}", describe(&handoff)),
        Event::Changed { old, new } => {
            println!("changed   {} -> {}", describe(&old), describe(&new))
        }
        Event::Gone(handoff) => println!("gone      {}", describe(&handoff)),
        Event::Refused { path, reason } => println!("refused   {}: {reason}", path.display()),
        Event::Resolved { path } => println!("resolved    {}", path.display()),
        Event::Scanned => println!("that is what there is"),
    })?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    watcher.stop();
    Ok(())
}

fn describe(handoff: &pool_registry_types::Handoff) -> String {
    format!(
        "{}/{} {} at {} with {} slots",
        handoff.pool_id, handoff.replica_id, handoff.engine, handoff.url, handoff.slots
    )
}
