//! The program on a terminal: a pseudo-terminal that types, and keeps what is shown.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What Ctrl-D sends: the end of the input.
pub(crate) const CTRL_D: &str = "\x04";

/// How long what has to be shown may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program whose input, output and errors are one terminal, as they are for a person.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// What of `shown` has been waited for already.
    read: usize,
}

impl Terminal {
    pub(crate) fn start(command: &mut Command) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let path = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let theirs = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let child = command
            .stdin(Stdio::from(theirs.try_clone().unwrap()))
            .stdout(Stdio::from(theirs.try_clone().unwrap()))
            .stderr(Stdio::from(theirs))
            .spawn()
            .unwrap();
        // The command has copies of the terminal, and as long as there are any there is no end of
        // what it shows.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let keys = File::from(keys);
        let mut reader = keys.try_clone().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that unreachable holds any more ends in an error.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                let _ = sender.send(bytes[..length].to_vec());
            }
        });
        Self {
            child,
            keys,
            screen,
            shown: String::new(),
            read: 0,
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What is shown up to the end of `part`, after what was waited for before.
    pub(crate) fn wait(&mut self, part: &str) -> String {
        loop {
            if let Some(at) = self.shown[self.read..].find(part) {
                let end = self.read + at + part.len();
                let shown = self.shown[self.read..end].to_owned();
                self.read = end;
                return shown;
            }
            match self.screen.recv_timeout(DEADLINE) {
                Ok(bytes) => self.shown.push_str(std::str::from_utf8(&bytes).unwrap()),
                Err(error) => panic!("no {part:?} ({error}) in {:?}", self.shown),
            }
        }
    }

    /// How it ended, and the rest of what it showed.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        loop {
            match self.screen.recv_timeout(DEADLINE) {
                Ok(bytes) => self.shown.push_str(std::str::from_utf8(&bytes).unwrap()),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("no end after {:?}", self.shown),
            }
        }
        (self.child.wait().unwrap(), self.shown.split_off(self.read))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Has it ended, there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
