//! Signals: the first requests the shutdown, the second exits at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Shutdown, Tasks};

/// The exit code after a second signal: 128 + SIGINT, as shells show for an interrupted program.
pub const EXIT_SECOND_SIGNAL: i32 = 130;

/// Listens for SIGTERM and SIGINT from now on.
///
/// The first of either requests `shutdown`. The second ends the process at once with
/// [`EXIT_SECOND_SIGNAL`], for an operator who does not want to wait for streams to finish.
///
/// # Errors
/// When the handlers cannot be installed.
///
/// # Panics
/// Outside a tokio runtime with its I/O driver enabled.
pub fn signals(shutdown: Shutdown, tasks: &Tasks) -> io::Result<()> {
    // Installed before this returns, so that no signal is lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tasks.spawn_unjoined("signals", async move {
        let first = next(&mut terminate, &mut interrupt).await;
        tracing::info!(
            signal = first,
            "stopping; a second signal ends the process at once"
        );
        shutdown.request();
        let second = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = second, "a second signal: ending at once");
        exit_at_once();
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the operator asked twice: destructors are what is not waited for"
)]
fn exit_at_once() -> ! {
    std::process::exit(EXIT_SECOND_SIGNAL)
}
