//! Processes: started in a group of their own, known again after a restart of the agent, signalled
//! as a group.

use std::{env, fs::File, io, process::Stdio, time::Duration};

use local_limits::is_local_limit;
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};
use tokio::process::{Child, Command};

use crate::{PoolSpec, cpu_share};

/// What the agent knows and an engine must not.
const SECRETS_OF_THE_AGENT: [&str; 1] = ["LLORCH_API_TOKEN"];

/// What the agent's service manager told the agent. An engine that believed it meant itself would
/// speak for the agent.
const WORDS_OF_THE_MANAGER: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How often an adopted process is looked at. It is not our child, so nobody tells us when it ends;
/// the probes and the refused connections of its requests tell of it no later.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A process and no other: a number may be used again, but not with the same start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub(crate) started: u64,
}

impl Identity {
    /// The process that has this number now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let started = stat(pid).ok()??.started;
        Some(Self { pid, started })
    }

    /// Whether it runs. One that has ended and that nobody has asked after does not. One that
    /// cannot be looked at just now does: that this process has no file descriptor left ends no
    /// engine.
    pub(crate) fn is_alive(self) -> bool {
        match stat(self.pid) {
            Ok(stat) => stat.is_some_and(|stat| stat.started == self.started && !stat.has_ended),
            Err(error) => is_local_limit(&error),
        }
    }

    /// Signals its process group. Without one that is no error.
    pub(crate) fn signal_group(self, signal: Signal) {
        // While anything is left of the group, its number is given to no new process. A process of
        // this number that started at another time therefore means that nothing is left.
        let is_another = matches!(stat(self.pid), Ok(Some(stat)) if stat.started != self.started);
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let (false, Some(group)) = (is_another, group)
            && let Err(error) = rustix::process::kill_process_group(group, signal)
            && error != Errno::SRCH
        {
            tracing::warn!(pid = self.pid, ?signal, %error, "cannot signal an engine; end it by hand");
        }
    }
}

/// This start of the machine, where it says so.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

struct Stat {
    has_ended: bool,
    started: u64,
}

/// `None` of what cannot be understood.
fn stat(pid: u32) -> io::Result<Option<Stat>> {
    Ok(parse_stat(&std::fs::read_to_string(format!(
        "/proc/{pid}/stat"
    ))?))
}

/// `pid (name) state … starttime …`, see proc_pid_stat(5). The name may contain anything, also `)
/// (`.
fn parse_stat(text: &str) -> Option<Stat> {
    /// Where the start time is, counted from the state.
    const START_TIME: usize = 19;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(START_TIME - 1)?.parse().ok()?;
    Some(Stat {
        has_ended: matches!(state, "Z" | "X" | "x"),
        started,
    })
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    /// With exit code 0.
    pub(crate) clean: bool,
    /// For the operator.
    pub(crate) how: String,
}

/// A process that runs. Dropping it does not end it.
#[derive(Debug)]
pub(crate) struct Process {
    identity: Identity,
    /// None when it was started by an earlier agent.
    child: Option<Child>,
}

impl Process {
    /// Starts the program of `spec`, in a process group of its own and without a standard input.
    /// `threads` is its share of the machine, when it has one.
    pub(crate) fn start(
        spec: &PoolSpec,
        port: u16,
        threads: Option<u32>,
        out: File,
        err: File,
    ) -> io::Result<Self> {
        let child = command(spec, port, threads)
            .stdout(out)
            .stderr(err)
            .spawn()?;
        // It was not waited for, so it has its number and its place in /proc, even if it has ended
        // already.
        let pid = child.id().unwrap_or_default();
        let identity = Identity::of(pid).unwrap_or(Identity { pid, started: 0 });
        Ok(Self {
            identity,
            child: Some(child),
        })
    }

    /// One that an earlier agent has started.
    pub(crate) fn adopt(identity: Identity) -> Self {
        Self {
            identity,
            child: None,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    /// Returns when it has ended. Safe to drop and call again.
    pub(crate) async fn ended(&mut self) -> Exit {
        let Some(child) = &mut self.child else {
            while self.identity.is_alive() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            return Exit {
                clean: false,
                how: "it ended; how is not known, because it was started by an earlier agent"
                    .to_owned(),
            };
        };
        match child.wait().await {
            Ok(status) => Exit {
                clean: status.success(),
                how: status.to_string(),
            },
            Err(error) => Exit {
                clean: false,
                how: format!("it ended; how is not known: {error}"),
            },
        }
    }
}

fn command(spec: &PoolSpec, port: u16, threads: Option<u32>) -> Command {
    let port = port.to_string();
    let mut command = Command::new(spec.program());
    command
        .args(spec.arguments(&port))
        .stdin(Stdio::null())
        .process_group(0);
    for name in SECRETS_OF_THE_AGENT.iter().chain(&WORDS_OF_THE_MANAGER) {
        command.env_remove(name);
    }
    // Whoever starts the agent may have said it for all engines.
    if let Some(threads) = threads.filter(|_| env::var_os(cpu_share::VARIABLE).is_none()) {
        command.env(cpu_share::VARIABLE, threads.to_string());
    }
    command.envs(spec.environment(&port));
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolFile;

    // spec: PROV-14
    #[test]
    fn an_engine_inherits_no_secret_of_the_agent() {
        let text =
            "[[pool]]\nid=\"p\"\nengine=\"x\"\ncommand=[\"x\", \"{port}\"]\nslots=1\nenv={A=\"1\"}";
        let spec = PoolFile::parse(text).unwrap().pools.remove(0);
        let command = command(&spec, 9, Some(3));
        let changes: Vec<_> = command.as_std().get_envs().collect();
        assert!(
            changes.contains(&("LLORCH_API_TOKEN".as_ref(), None)),
            "{changes:?}"
        );
        assert!(
            changes.contains(&("NOTIFY_SOCKET".as_ref(), None)),
            "{changes:?}"
        );
        assert!(
            changes.contains(&("A".as_ref(), Some("1".as_ref()))),
            "{changes:?}"
        );
        assert!(
            changes.contains(&("LLAMA_ARG_THREADS".as_ref(), Some("3".as_ref()))),
            "{changes:?}"
        );
    }

    #[test]
    fn reads_what_the_kernel_says() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 10 20";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.has_ended, stat.started), (false, 98765));
        assert!(parse_stat(&text.replace(") S", ") Z")).unwrap().has_ended);
        for broken in ["", "42 (a", "42 (a) S", "42 (a) S 1 2 3"] {
            assert!(parse_stat(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_process_is_itself_and_no_other() {
        let ourselves = Identity::of(std::process::id()).unwrap();
        assert!(ourselves.is_alive());
        let earlier = Identity {
            started: ourselves.started - 1,
            ..ourselves
        };
        assert!(!earlier.is_alive());
        // Signals nobody: the number is ours, the start is not. Otherwise this test would not live.
        earlier.signal_group(Signal::KILL);
        assert!(boot_id().is_some_and(|id| id.len() > 30));
    }
}
