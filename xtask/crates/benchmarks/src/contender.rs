//! Who is measured, and how each is started on the same engines.

mod configuration;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{engines::Engines, peers, processes::families};
use child_process::{Group, Process};
use test_client::Client;
use test_clock::wait_for;
use test_cluster::{Daemon, free_port, write_handoff};
use workspace_build::Binaries;

/// How long a contender may take until it answers; the routers start a Python interpreter and probe
/// engines.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    /// The engines themselves, asked in turn.
    Direct,
    Nginx,
    Haproxy,
    SglangRouter,
    VllmRouter,
    /// `orchestratord` next to the engines: one hop.
    Home,
    /// `orchestratord` and `pool-managerd`: two hops.
    Cloud,
    /// The same as [`Contender::Home`], by the daemons of an earlier build.
    HomeBefore,
    /// The same as [`Contender::Cloud`], by the daemons of an earlier build.
    CloudBefore,
}

/// The programs that are there.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) ours: Binaries,
    /// The daemons of an earlier build, to compare with.
    pub(super) baseline: Option<Binaries>,
    pub(super) theirs: Vec<(Contender, PathBuf)>,
}

impl Contender {
    /// All, in the order of the table.
    pub(super) const ALL: [Self; 9] = [
        Self::Direct,
        Self::Nginx,
        Self::Haproxy,
        Self::SglangRouter,
        Self::VllmRouter,
        Self::Home,
        Self::Cloud,
        Self::HomeBefore,
        Self::CloudBefore,
    ];

    /// Each set-up of this project, with the same set-up of an earlier build.
    pub(super) const WITH_BASELINE: [(Self, Self); 2] = [
        (Self::Home, Self::HomeBefore),
        (Self::Cloud, Self::CloudBefore),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::SglangRouter => "sglang-router",
            Self::VllmRouter => "vllm-router",
            Self::Home => "HOME",
            Self::Cloud => "CLOUD",
            Self::HomeBefore => "HOME-before",
            Self::CloudBefore => "CLOUD-before",
        }
    }

    /// Whether it is this project.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Home | Self::Cloud) || self.is_baseline()
    }

    /// Whether it is an earlier build of this project.
    pub(super) fn is_baseline(self) -> bool {
        matches!(self, Self::HomeBefore | Self::CloudBefore)
    }

    /// Its program, unless it is ours.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn find(self, may_install: bool) -> Result<Option<PathBuf>> {
        match self {
            Self::Direct | Self::Home | Self::Cloud | Self::HomeBefore | Self::CloudBefore => {
                Ok(None)
            }
            Self::Nginx => peers::debian("nginx-light", "nginx", may_install).map(Some),
            Self::Haproxy => peers::debian("haproxy", "haproxy", may_install).map(Some),
            Self::SglangRouter | Self::VllmRouter => {
                peers::router(self.name(), may_install).map(Some)
            }
        }
    }

    /// Its version, for the report.
    pub(super) fn version(self, program: &Path) -> String {
        match self {
            Self::SglangRouter | Self::VllmRouter => {
                format!("{} {}", self.name(), peers::router_version(self.name()))
            }
            _ => peers::version_of(program, "-v"),
        }
    }

    /// Starts it and waits until it answers a question.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn start(
        self,
        programs: &Programs,
        engines: &Engines,
        directory: &Path,
    ) -> Result<Running> {
        std::fs::create_dir_all(directory)?;
        let start = Start {
            contender: self,
            programs,
            engines,
            directory,
        };
        let running = start.run()?;
        let [first, ..] = running.addresses.as_slice() else {
            return Ok(running);
        };
        let client = Client::new(&format!("http://{first}"));
        wait_for(&format!("an answer of {}", self.name()), START, || {
            client.chat(1).is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(running)
    }
}

/// A contender that answers.
#[derive(Debug)]
pub(super) struct Running {
    /// Where to ask.
    pub(super) addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
}

impl Running {
    /// All its processes, workers included.
    pub(super) fn pids(&self) -> Vec<u32> {
        let roots: Vec<u32> = self.processes.iter().map(Process::pid).collect();
        families(&roots)
    }
}

impl Drop for Running {
    /// Asks before it kills: a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.end(GRACE);
        }
    }
}

/// What a start needs.
struct Start<'a> {
    contender: Contender,
    programs: &'a Programs,
    engines: &'a Engines,
    directory: &'a Path,
}

impl Start<'_> {
    fn run(&self) -> Result<Running> {
        match self.contender {
            Contender::Direct => Ok(Running {
                addresses: self.engines.addresses(),
                processes: Vec::new(),
            }),
            Contender::Nginx => {
                self.configured("nginx.conf", configuration::nginx, |command, path| {
                    command.arg("-c").arg(path);
                })
            }
            Contender::Haproxy => {
                self.configured("haproxy.cfg", configuration::haproxy, |command, path| {
                    // In the foreground, by the file.
                    command.arg("-db").arg("-f").arg(path);
                })
            }
            Contender::SglangRouter => self.router(&["launch", "--log-level", "error"]),
            Contender::VllmRouter => self.router(&["--log-level", "error"]),
            Contender::Home | Contender::HomeBefore => self.home(self.daemons()?),
            Contender::Cloud | Contender::CloudBefore => self.cloud(self.daemons()?),
        }
    }

    /// The daemons of the build that is measured.
    fn daemons(&self) -> Result<&Binaries> {
        if self.contender.is_baseline() {
            let baseline = self.programs.baseline.as_ref();
            return baseline
                .with_context(|| format!("{} needs --baseline DIR", self.contender.name()));
        }
        Ok(&self.programs.ours)
    }

    fn program(&self) -> Result<&Path> {
        let mut known = self.programs.theirs.iter();
        known
            .find(|(contender, _)| *contender == self.contender)
            .map(|(_, path)| path.as_path())
            .with_context(|| format!("{} is not there", self.contender.name()))
    }

    fn spawn(&self, command: &mut Command, port: u16) -> Result<Running> {
        let log = self.directory.join("log");
        let process = Process::spawn(self.contender.name(), command, &log, Group::Ours)?;
        Ok(Running {
            addresses: vec![(Ipv4Addr::LOCALHOST, port).into()],
            processes: vec![process],
        })
    }

    fn configured(
        &self,
        file: &str,
        text: fn(u16, &[SocketAddr], &Path) -> String,
        arguments: fn(&mut Command, &Path),
    ) -> Result<Running> {
        let port = free_port()?;
        let path = self.directory.join(file);
        std::fs::write(&path, text(port, &self.engines.addresses(), self.directory))?;
        let mut command = Command::new(self.program()?);
        arguments(&mut command, &path);
        self.spawn(&mut command, port)
    }

    fn router(&self, options: &[&str]) -> Result<Running> {
        let (port, metrics) = (free_port()?, free_port()?);
        let mut command = Command::new(self.program()?);
        command.args(options);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--prometheus-port", &metrics.to_string()]);
        // As cheap as it can do it; its default looks at the prompt.
        command.args(["--policy", "round_robin", "--worker-urls"]);
        let urls = self.engines.addresses().into_iter();
        command.args(urls.map(|address| format!("http://{address}")));
        self.spawn(&mut command, port)
    }

    fn daemon(&self, name: &str, program: &Path, settings: &[(&str, &str)]) -> Result<Daemon> {
        let directory = self.directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let mut daemon = Daemon::new(name, program, &directory, self.directory, Group::Ours);
        // The others keep no access log here either.
        daemon.set("RUST_LOG", "info,access=off");
        for (variable, value) in settings {
            daemon.set(variable, value);
        }
        Ok(daemon)
    }

    fn write_handoffs(&self, daemon: &Daemon) -> Result<()> {
        for handoff in self.engines.handoffs() {
            write_handoff(daemon.directory(), &handoff)?;
        }
        Ok(())
    }

    fn home(&self, daemons: &Binaries) -> Result<Running> {
        let settings = [("ORCHESTRATORD_ADDR", "127.0.0.1:0")];
        let mut daemon = self.daemon("orchestratord", &daemons.orchestratord, &settings)?;
        self.write_handoffs(&daemon)?;
        let address = daemon.start()?;
        Ok(Running {
            addresses: vec![address],
            processes: vec![daemon.into_process()?],
        })
    }

    fn cloud(&self, daemons: &Binaries) -> Result<Running> {
        let settings = [
            ("ORCHESTRATORD_ADDR", "127.0.0.1:0"),
            ("ORCHESTRATORD_CLOUD_PROFILE", "true"),
        ];
        let mut control = self.daemon("orchestratord", &daemons.orchestratord, &settings)?;
        let address = control.start()?;
        let (own, node_url) = (free_port()?, format!("http://{address}"));
        let settings = [
            ("POOL_MANAGERD_ADDR", format!("127.0.0.1:{own}")),
            ("POOL_MANAGERD_ADDRESS", format!("http://127.0.0.1:{own}")),
            ("POOL_MANAGERD_CLOUD_PROFILE", "true".to_owned()),
            ("POOL_MANAGERD_NODE_ID", "node-a".to_owned()),
            ("ORCHESTRATORD_URL", node_url),
        ];
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(variable, value)| (*variable, value.as_str()))
            .collect();
        let mut node = self.daemon("pool-managerd", &daemons.pool_managerd, &settings)?;
        self.write_handoffs(&node)?;
        node.start()?;
        Ok(Running {
            addresses: vec![address],
            // The node first, so that it can say goodbye.
            processes: vec![node.into_process()?, control.into_process()?],
        })
    }
}
