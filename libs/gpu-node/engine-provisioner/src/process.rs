//! Engine processes: started in their own process group, identified across restarts of the agent,
//! and signalled as a group.

use std::{env, fs::File, io, process::Stdio, time::Duration};

use local_limits::is_local_limit;
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};
use tokio::process::{Child, Command};

use crate::{cpu_share, spec::PoolSpec};

/// Variables of the agent's service manager. An engine that used them would report to the manager
/// in place of the agent.
const SERVICE_MANAGER_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How often an adopted process is checked. It is not a child of this process, so its exit is not
/// signalled. Probes and failed requests notice it earlier.
const ADOPTED_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Identifies a process. A process id can be reused, but not with the same start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub(crate) started: u64,
}

impl ProcessIdentity {
    /// The process that has this id now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let started = stat(pid).ok()??.started;
        Some(Self { pid, started })
    }

    /// Whether it runs. A zombie does not. A process that cannot be checked for lack of file
    /// descriptors does.
    pub(crate) fn is_alive(self) -> bool {
        match stat(self.pid) {
            Ok(stat) => stat.is_some_and(|stat| stat.started == self.started && !stat.has_ended),
            Err(error) => is_local_limit(&error),
        }
    }

    /// Signals its process group. A missing group is no error.
    pub(crate) fn signal_group(self, signal: Signal) {
        // While the group exists, its id is not reused. A process with this id and another start
        // time means that the group is gone.
        let is_another = matches!(stat(self.pid), Ok(Some(stat)) if stat.started != self.started);
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let (false, Some(group)) = (is_another, group)
            && let Err(error) = rustix::process::kill_process_group(group, signal)
            && error != Errno::SRCH
        {
            tracing::warn!(
                pid = self.pid, ?signal, %error, "cannot signal an engine; stop the process"
            );
        }
    }
}

/// Identifies the current boot of the machine, if the system supports it.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

struct Stat {
    has_ended: bool,
    started: u64,
}

/// `None` when the format is not understood.
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
pub(crate) struct ProcessExit {
    /// With exit code 0.
    pub(crate) clean: bool,
    /// How, for the operator.
    pub(crate) how: String,
}

/// A running process. Dropping it does not end it.
#[derive(Debug)]
pub(crate) struct Process {
    identity: ProcessIdentity,
    /// None when it was started by an earlier agent.
    child: Option<Child>,
}

impl Process {
    /// Starts the program of `spec` in its own process group, without standard input. `threads` is
    /// its CPU share, if it has one; it does not inherit the variables in `withheld`.
    pub(crate) fn start(
        spec: &PoolSpec,
        port: u16,
        threads: Option<u32>,
        withheld: &[String],
        (out, err): (File, File),
    ) -> io::Result<Self> {
        let child = command(spec, port, threads, withheld)
            .stdout(out)
            .stderr(err)
            .spawn()?;
        // It is not reaped yet, so it is in /proc even if it has ended already.
        let pid = child.id().unwrap_or_default();
        let identity = ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, started: 0 });
        Ok(Self {
            identity,
            child: Some(child),
        })
    }

    /// A process that an earlier agent has started.
    pub(crate) fn adopt(identity: ProcessIdentity) -> Self {
        Self {
            identity,
            child: None,
        }
    }

    pub(crate) fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    /// Returns when it has ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> ProcessExit {
        let Some(child) = &mut self.child else {
            while self.identity.is_alive() {
                tokio::time::sleep(ADOPTED_POLL_INTERVAL).await;
            }
            return ProcessExit {
                clean: false,
                how: "it ended; its exit status is unknown, because an earlier agent started it"
                    .to_owned(),
            };
        };
        match child.wait().await {
            Ok(status) => ProcessExit {
                clean: status.success(),
                how: status.to_string(),
            },
            Err(error) => ProcessExit {
                clean: false,
                how: format!("it ended; its exit status is unknown: {error}"),
            },
        }
    }
}

fn command(spec: &PoolSpec, port: u16, threads: Option<u32>, withheld: &[String]) -> Command {
    let port = port.to_string();
    let mut command = Command::new(spec.program());
    command
        .args(spec.arguments(&port))
        .stdin(Stdio::null())
        .process_group(0);
    let withheld = withheld.iter().map(String::as_str);
    for name in withheld.chain(SERVICE_MANAGER_VARIABLES) {
        command.env_remove(name);
    }
    // The environment of the agent may set it for all engines.
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
        let command = command(&spec, 9, Some(3), &["AGENT_TOKEN".to_owned()]);
        let changes: Vec<_> = command.as_std().get_envs().collect();
        assert!(
            changes.contains(&("AGENT_TOKEN".as_ref(), None)),
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
    fn process_status_is_parsed() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 10 20";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.has_ended, stat.started), (false, 98765));
        assert!(parse_stat(&text.replace(") S", ") Z")).unwrap().has_ended);
        for broken in ["", "42 (a", "42 (a) S", "42 (a) S 1 2 3"] {
            assert!(parse_stat(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_process_is_identified_by_its_start_time() {
        let ourselves = ProcessIdentity::of(std::process::id()).unwrap();
        assert!(ourselves.is_alive());
        let earlier = ProcessIdentity {
            started: ourselves.started - 1,
            ..ourselves
        };
        assert!(!earlier.is_alive());
        // Signals nothing, because the start time differs. Otherwise this test would be killed.
        earlier.signal_group(Signal::KILL);
        assert!(boot_id().is_some_and(|id| id.len() > 30));
    }
}
