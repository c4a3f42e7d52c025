//! Who is measured, and how each is started on the same engines.

mod access;
mod configuration;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{engines::Engines, measurement::can_answer, peers, processes::families};
use child_process::{Group, Process};
use test_certificates::Files;
use test_clock::wait_for;
use test_cluster::{Daemon, free_port, write_handoff};
use workspace_build::Binaries;

pub(super) use access::Access;

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
    /// The same over TLS.
    NginxTls,
    Haproxy,
    SglangRouter,
    VllmRouter,
    /// `orchestratord` next to the engines: one hop.
    Home,
    /// The same over TLS.
    HomeTls,
    /// The same for a key with limits, whose usage is counted.
    HomeKey,
    /// `orchestratord` and `pool-managerd`: two hops.
    Cloud,
    /// The same over TLS, both hops.
    CloudTls,
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
    pub(super) load_gen: PathBuf,
    pub(super) theirs: Vec<(Contender, PathBuf)>,
}

impl Contender {
    /// All, in the order of the table.
    pub(super) const ALL: [Self; 13] = [
        Self::Direct,
        Self::Nginx,
        Self::NginxTls,
        Self::Haproxy,
        Self::SglangRouter,
        Self::VllmRouter,
        Self::Home,
        Self::HomeTls,
        Self::HomeKey,
        Self::Cloud,
        Self::CloudTls,
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
            Self::NginxTls => "nginx-TLS",
            Self::Haproxy => "haproxy",
            Self::SglangRouter => "sglang-router",
            Self::VllmRouter => "vllm-router",
            Self::Home => "HOME",
            Self::HomeTls => "HOME-TLS",
            Self::HomeKey => "HOME-key",
            Self::Cloud => "CLOUD",
            Self::CloudTls => "CLOUD-TLS",
            Self::HomeBefore => "HOME-before",
            Self::CloudBefore => "CLOUD-before",
        }
    }

    /// Whether it is this project.
    pub(super) fn is_ours(self) -> bool {
        match self {
            Self::Home
            | Self::HomeTls
            | Self::HomeKey
            | Self::Cloud
            | Self::CloudTls
            | Self::HomeBefore
            | Self::CloudBefore => true,
            Self::Direct
            | Self::Nginx
            | Self::NginxTls
            | Self::Haproxy
            | Self::SglangRouter
            | Self::VllmRouter => false,
        }
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
            Self::Nginx | Self::NginxTls => {
                peers::debian("nginx-light", "nginx", may_install).map(Some)
            }
            Self::Haproxy => peers::debian("haproxy", "haproxy", may_install).map(Some),
            Self::SglangRouter | Self::VllmRouter => {
                peers::router(self.name(), may_install).map(Some)
            }
            _ => Ok(None),
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
        wait_for(&format!("an answer of {}", self.name()), START, || {
            can_answer(&programs.load_gen, &running.addresses, &running.access)
        })?;
        Ok(running)
    }
}

/// A contender that answers.
#[derive(Debug)]
pub(super) struct Running {
    /// Where to ask.
    pub(super) addresses: Vec<SocketAddr>,
    /// What a client needs beside that.
    pub(super) access: Access,
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
                access: Access::default(),
                processes: Vec::new(),
            }),
            Contender::Nginx | Contender::NginxTls => {
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
            Contender::Home | Contender::HomeTls | Contender::HomeKey | Contender::HomeBefore => {
                self.home(self.daemons()?)
            }
            Contender::Cloud | Contender::CloudTls | Contender::CloudBefore => {
                self.cloud(self.daemons()?)
            }
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

    /// Makes what its clients need, and the certificate of its servers if they speak TLS.
    fn access(&self) -> Result<(Access, Option<Files>)> {
        match self.contender {
            Contender::NginxTls | Contender::HomeTls | Contender::CloudTls => {
                let (access, files) = Access::over_tls(self.directory)?;
                Ok((access, Some(files)))
            }
            Contender::HomeKey => Ok((Access::with_key(self.directory)?, None)),
            _ => Ok((Access::default(), None)),
        }
    }

    fn spawn(&self, command: &mut Command, port: u16, access: Access) -> Result<Running> {
        let log = self.directory.join("log");
        let process = Process::spawn(self.contender.name(), command, &log, Group::Ours)?;
        Ok(Running {
            addresses: vec![(Ipv4Addr::LOCALHOST, port).into()],
            access,
            processes: vec![process],
        })
    }

    fn configured(
        &self,
        file: &str,
        text: fn(u16, &[SocketAddr], &Path, Option<&Files>) -> String,
        arguments: fn(&mut Command, &Path),
    ) -> Result<Running> {
        let (port, (access, tls)) = (free_port()?, self.access()?);
        let path = self.directory.join(file);
        let engines = self.engines.addresses();
        std::fs::write(&path, text(port, &engines, self.directory, tls.as_ref()))?;
        let mut command = Command::new(self.program()?);
        arguments(&mut command, &path);
        self.spawn(&mut command, port, access)
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
        self.spawn(&mut command, port, Access::default())
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
        let (access, tls) = self.access()?;
        let settings = [("ORCHESTRATORD_ADDR", "127.0.0.1:0")];
        let mut daemon = self.daemon("orchestratord", &daemons.orchestratord, &settings)?;
        access.apply(&mut daemon, "ORCHESTRATORD_", tls.as_ref());
        self.write_handoffs(&daemon)?;
        let address = daemon.start()?;
        Ok(Running {
            addresses: vec![address],
            access,
            processes: vec![daemon.into_process()?],
        })
    }

    fn cloud(&self, daemons: &Binaries) -> Result<Running> {
        let (access, tls) = self.access()?;
        let settings = [
            ("ORCHESTRATORD_ADDR", "127.0.0.1:0"),
            ("ORCHESTRATORD_CLOUD_PROFILE", "true"),
        ];
        let mut control = self.daemon("orchestratord", &daemons.orchestratord, &settings)?;
        access.apply(&mut control, "ORCHESTRATORD_", tls.as_ref());
        let address = control.start()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let own = free_port()?;
        let settings = [
            ("POOL_MANAGERD_ADDR", format!("127.0.0.1:{own}")),
            (
                "POOL_MANAGERD_ADDRESS",
                format!("{scheme}://127.0.0.1:{own}"),
            ),
            ("POOL_MANAGERD_CLOUD_PROFILE", "true".to_owned()),
            ("POOL_MANAGERD_NODE_ID", "node-a".to_owned()),
            ("ORCHESTRATORD_URL", format!("{scheme}://{address}")),
        ];
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(variable, value)| (*variable, value.as_str()))
            .collect();
        let mut node = self.daemon("pool-managerd", &daemons.pool_managerd, &settings)?;
        access.apply(&mut node, "POOL_MANAGERD_", tls.as_ref());
        self.write_handoffs(&node)?;
        node.start()?;
        Ok(Running {
            addresses: vec![address],
            access,
            // The node first, so that it can say goodbye.
            processes: vec![node.into_process()?, control.into_process()?],
        })
    }
}
