//! A few log lines and a page of metrics: `cargo run -p telemetry --example demo -- json`.
#![expect(clippy::print_stdout, reason = "an example prints to its terminal")]

use std::error::Error;

use telemetry::{LogFormat, Metrics, init, prometheus_client::metrics::counter::Counter};

fn main() -> Result<(), Box<dyn Error>> {
    let format = std::env::args().nth(1).unwrap_or_default();
    let format = if format.is_empty() {
        LogFormat::Text
    } else {
        format.parse()?
    };
    init(format, "debug")?;

    let metrics = Metrics::new("demo", env!("CARGO_PKG_VERSION"));
    let served = Counter::<u64>::default();
    metrics.register(|registry| registry.register("served", "Requests served", served.clone()));

    let _span = tracing::info_span!("request", id = "01J").entered();
    served.inc();
    tracing::info!(served = served.get(), "answered");
    tracing::debug!("only with a filter that lets it through");
    println!("{}", metrics.render());
    Ok(())
}
