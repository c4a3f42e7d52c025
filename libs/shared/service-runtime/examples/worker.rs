//! A worker that ticks until Ctrl-C and then takes a moment to finish:
//! `cargo run -p service-runtime --example worker`.
#![expect(clippy::print_stdout, reason = "an example prints to its terminal")]

use std::{error::Error, time::Duration};

use service_runtime::{Readiness, Shutdown, Tasks, signals};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    signals(shutdown.clone(), &tasks)?;

    let readiness = Readiness::new();
    let first_tick = readiness.latch("first tick");
    tasks.spawn("ticker", tick(shutdown.clone(), first_tick));

    shutdown.requested().await;
    readiness.stopping();
    println!("stopping; press Ctrl-C again not to wait");
    tasks.join(Duration::from_secs(5)).await?;
    println!("done");
    Ok(())
}

async fn tick(shutdown: Shutdown, first_tick: service_runtime::Latch) {
    let mut first_tick = Some(first_tick);
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            _ = interval.tick() => println!("tick"),
        }
        drop(first_tick.take());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
}
