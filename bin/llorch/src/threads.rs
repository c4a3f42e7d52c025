//! The command and the signals, each on a thread of its own: a signal is heard whatever the command
//! waits for.

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

/// How a run ends: the command by itself, or somebody ends it.
pub(crate) enum End {
    Done(Exit),
    Signal(i32),
}

/// Runs `command` and returns with what comes first: its end, or a signal.
pub(crate) fn first_end(command: impl FnOnce() -> Exit + Send + 'static) -> io::Result<End> {
    let (tell, ends) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let on_signal = tell.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let _ = on_signal.send(End::Signal(signal));
            }
        })?;
    let on_done = Done(tell, Exit::Failed);
    thread::Builder::new()
        .name("command".to_owned())
        .spawn(move || {
            let mut on_done = on_done;
            on_done.1 = command();
        })?;
    // Told by `Done` however the command ends, so that there is always one.
    Ok(ends.recv().unwrap_or(End::Done(Exit::Failed)))
}

/// Tells when the command is over, however it ended.
struct Done(Sender<End>, Exit);

impl Drop for Done {
    fn drop(&mut self) {
        if thread::panicking() {
            screen::restore();
        }
        let _ = self.0.send(End::Done(self.1));
    }
}
