//! The terminal in full-screen mode. It is restored however the program ends.

use std::{
    io::{self, Read as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::Print,
    terminal::{
        Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
        enable_raw_mode,
    },
};

use crate::keys::{Key, KeyDecoder};

/// The terminal is in full-screen mode.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Full-screen mode; dropping it restores the terminal.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Enters full-screen mode. Keys go to `on_key` until it returns false.
    pub(crate) fn enter(on_key: impl Fn(Key) -> bool + Send + 'static) -> io::Result<Self> {
        enable_raw_mode()?;
        ACTIVE.store(true, Ordering::SeqCst);
        // From here on an early return restores the terminal.
        let screen = Self(());
        execute!(
            io::stdout(),
            EnterAlternateScreen,
            Hide,
            Clear(ClearType::All)
        )?;
        // The thread blocks on standard input until the process ends.
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                let mut decoder = KeyDecoder::default();
                let bytes = io::stdin().lock().bytes().map_while(Result::ok);
                for key in bytes.filter_map(|byte| decoder.feed(byte)) {
                    if !on_key(key) {
                        break;
                    }
                }
            })?;
        Ok(screen)
    }

    /// Replaces the content of the screen without flicker.
    pub(crate) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (row, line) in (0_u16..).zip(lines) {
            queue!(
                out,
                MoveTo(0, row),
                Print(line),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves full-screen mode, if it is active.
pub(crate) fn restore() {
    if ACTIVE.swap(false, Ordering::SeqCst) {
        // There is no terminal to report an error to.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
