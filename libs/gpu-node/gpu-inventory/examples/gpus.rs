//! Prints what this machine has: `cargo run -p gpu-inventory --example gpus [-- FILE.json]`, where
//! the file describes GPUs for a machine without any.

use std::{error::Error, io, io::Write};

use gpu_inventory::{FileSource, HostResources, Inventory, hostname};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let inventory = match std::env::args_os().nth(1) {
        Some(file) => Inventory::new(Box::new(FileSource::new(file)), HostResources::detect()),
        None => Inventory::detect(),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {:?}", hostname()?, inventory.host())?;
    let snapshot = inventory.read();
    for gpu in &snapshot.gpus {
        writeln!(out, "{gpu:#?}")?;
    }
    writeln!(
        out,
        "free on all GPUs: {} bytes",
        snapshot.vram_free_for(None).0
    )?;
    writeln!(
        out,
        "a registration would say: {}",
        serde_json::to_string(&inventory.capabilities())?
    )?;
    Ok(())
}
