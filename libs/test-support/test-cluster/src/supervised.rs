//! Engines that a node has started, seen from outside: as processes, and as ports in handoff files.

use std::{fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// An engine that serves a model of the cluster, started by a node or by the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineProcess {
    /// Its process id.
    pub pid: u32,
    /// Its port, by its command line.
    pub port: u16,
}

impl EngineProcess {
    /// SIGKILL. It is no child of this process, so there is no exit status to wait for.
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGSTOP, and SIGCONT when the guard is dropped. Meanwhile the engine keeps its
    /// connections and does nothing, so that a request lasts as long as a test needs.
    #[must_use]
    pub fn suspend(self) -> Suspended {
        self.signal(Signal::STOP);
        Suspended(self)
    }

    fn signal(self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // An error means that it has ended already.
            let _ = kill_process(pid, signal);
        }
    }
}

/// A suspended engine; dropping this resumes it.
#[derive(Debug)]
pub struct Suspended(EngineProcess);

impl Drop for Suspended {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

/// Every process that serves a model file below `directory`. A process that has ended and was not
/// waited for has no command line any more, and is not among them.
pub(super) fn engine_processes(directory: &Path) -> Vec<EngineProcess> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes: Vec<EngineProcess> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let port = port_of(&fs::read(entry.path().join("cmdline")).ok()?, directory)?;
            Some(EngineProcess { pid, port })
        })
        .collect();
    processes.sort_unstable();
    processes
}

/// The port in a command line, arguments that end with a zero byte each, when it serves a model
/// below `directory`.
fn port_of(command_line: &[u8], directory: &Path) -> Option<u16> {
    let arguments: Vec<&str> = command_line
        .split(|byte| *byte == 0)
        .filter_map(|argument| std::str::from_utf8(argument).ok())
        .collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| *argument == name)?;
        arguments.get(place + 1).copied()
    };
    if !Path::new(value("--model")?).starts_with(directory) {
        return None;
    }
    value("--port")?.parse().ok()
}

/// The port in a handoff file.
pub(super) fn announced_port(path: &Path) -> Option<u16> {
    let handoff: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    handoff["url"].as_str()?.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_engines_of_this_directory_count() {
        let port = |text: &str| port_of(text.replace(' ', "\0").as_bytes(), Path::new("/a/b"));
        assert_eq!(
            port("llama-server --port 81 --model /a/b/tiny.gguf "),
            Some(81)
        );
        assert_eq!(
            port("llama-server --model /a/b2/tiny.gguf --port 81 "),
            None
        );
        assert_eq!(port("llama-server --port 81 --model "), None);
        assert_eq!(port("sh -c exit "), None);
        assert_eq!(port(""), None);
    }

    #[test]
    fn reads_the_port_of_a_handoff() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p_r0.json");
        assert_eq!(announced_port(&path), None);
        fs::write(&path, r#"{"url":"http://127.0.0.1:4711"}"#).unwrap();
        assert_eq!(announced_port(&path), Some(4711));
    }
}
