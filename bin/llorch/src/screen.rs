//! The terminal as a screen of its own: taken, drawn on, and given back as it was, however the
//! program ends.

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

/// The byte that Ctrl-C is while the terminal is raw.
pub(crate) const CTRL_C: u8 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen, while it is ours.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// Takes the terminal. Keys go to `on_key` until it says false.
    pub(crate) fn take(on_key: impl Fn(u8) -> bool + Send + 'static) -> io::Result<Self> {
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        // From here on an early return gives it back.
        let screen = Self(());
        execute!(
            io::stdout(),
            EnterAlternateScreen,
            Hide,
            Clear(ClearType::All)
        )?;
        // It waits for a key for ever; the end of the process is its end.
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                for key in io::stdin().lock().bytes().map_while(Result::ok) {
                    if !on_key(key) {
                        break;
                    }
                }
            })?;
        Ok(screen)
    }

    /// Shows these lines and nothing else, without a moment in which the screen is empty.
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

/// Gives the terminal back, when it is ours.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // There is nobody left to tell if this fails.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
