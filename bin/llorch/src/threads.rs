//! Runs the command and waits for signals, each on a thread of its own. So a signal is handled
//! whatever the command waits for.

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{exit::Exit, screen};

/// Why the program ends.
pub(crate) enum ProgramEnd {
    /// The command has finished.
    Finished(Exit),
    /// A signal arrived first.
    Signal(i32),
}

/// Runs `command` until it finishes or a signal arrives.
pub(crate) fn run_until_signal(
    command: impl FnOnce() -> Exit + Send + 'static,
) -> io::Result<ProgramEnd> {
    let (sender, ends) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let on_signal = sender.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let _ = on_signal.send(ProgramEnd::Signal(signal));
            }
        })?;
    let guard = FinishGuard {
        sender,
        exit: Exit::Failed,
    };
    thread::Builder::new()
        .name("command".to_owned())
        .spawn(move || {
            let mut guard = guard;
            guard.exit = command();
        })?;
    // The guard sends even when the command panics, so there is always an end.
    Ok(ends.recv().unwrap_or(ProgramEnd::Finished(Exit::Failed)))
}

/// Sends the end of the command when it is dropped, also by a panic.
struct FinishGuard {
    sender: Sender<ProgramEnd>,
    exit: Exit,
}

impl Drop for FinishGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            screen::restore();
        }
        let _ = self.sender.send(ProgramEnd::Finished(self.exit));
    }
}
