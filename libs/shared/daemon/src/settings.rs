//! The settings that every daemon has, under its own prefix.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    str::FromStr,
    thread,
    time::Duration,
};

use bearer_auth::{ApiToken, AuthPolicy};
use http_server::{AllowedHosts, HostName};
use serde::Deserialize;
use service_runtime::env::{Environment, Problems};
use stream_proxy::Timeouts;
use telemetry::LogFormat;
use tracing::Span;

use crate::Program;

/// How long a stop waits for running requests: a long answer takes a minute or two.
const DEFAULT_DRAIN: Duration = Duration::from_secs(120);

/// What `METRICS_ADDR` could be: where programs that Prometheus reads often listen.
const METRICS_EXAMPLE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9090);

/// How many threads connections have at most where nothing is set: what passes through eight is
/// more than engines say.
const DEFAULT_MAX_THREADS: usize = 8;

/// More threads than any machine has cores.
const MAX_THREADS: u64 = 1024;

/// Under the daemon's prefix.
#[derive(Default, Deserialize)]
struct Raw {
    addr: Option<String>,
    metrics_addr: Option<String>,
    cloud_profile: Option<String>,
    require_auth: Option<String>,
    allowed_hosts: Option<String>,
    runtime_dir: Option<String>,
    state_dir: Option<String>,
    first_byte_timeout_ms: Option<String>,
    drain_timeout_secs: Option<String>,
    threads: Option<String>,
    log_format: Option<String>,
}

/// The same for all daemons of an installation.
#[derive(Default, Deserialize)]
struct Shared {
    llorch_api_token: Option<String>,
}

/// When a token must be set, or nothing is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequireAuth {
    Never,
    /// When another machine could ask.
    BeyondLoopback,
    Always,
}

impl RequireAuth {
    fn at(self, addr: SocketAddr) -> bool {
        match self {
            Self::Never => false,
            Self::BeyondLoopback => !addr.ip().is_loopback(),
            Self::Always => true,
        }
    }
}

impl FromStr for RequireAuth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "false" | "0" => Ok(Self::Never),
            "beyond-loopback" => Ok(Self::BeyondLoopback),
            "true" | "1" => Ok(Self::Always),
            other => Err(format!(
                "must be true, false or beyond-loopback, not {other:?}"
            )),
        }
    }
}

/// Settings that are right.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where it serves its metrics, and nothing else, without a token.
    pub metrics_addr: Option<SocketAddr>,
    /// CLOUD, not HOME.
    pub is_cloud: bool,
    /// What it presents to others, and they to it.
    pub token: Option<ApiToken>,
    /// Who may come in.
    pub auth: AuthPolicy,
    /// Under which names it is asked while no token is set.
    pub allowed_hosts: AllowedHosts,
    /// Where engines announce themselves.
    pub runtime_dir: PathBuf,
    /// What is remembered across restarts.
    pub state_dir: PathBuf,
    /// The longest an engine may think.
    pub first_byte_timeout: Duration,
    /// How long a stop waits for running requests.
    pub drain_timeout: Duration,
    /// How many threads share the connections out among them.
    pub threads: NonZeroUsize,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which node it is, where there are several: each line of its log says so. None is read from
    /// the environment.
    pub node: Option<String>,
}

impl Settings {
    /// The variable of the token, the same for every daemon.
    pub(crate) const TOKEN: &str = "LLORCH_API_TOKEN";

    /// Reads them; what is wrong is noted in `problems` and has its default here. Without a setting
    /// it listens on `port` of loopback.
    pub fn read(
        environment: &Environment,
        program: &Program,
        port: u16,
        problems: &mut Problems,
    ) -> Self {
        let raw: Raw = environment.raw_after(program.prefix, problems);
        let shared: Shared = environment.raw_after("", problems);
        let named = |name| Self::variable(program, name);
        let p = problems;
        let token = p.secret(Self::TOKEN, shared.llorch_api_token, ApiToken::new);
        let addr = p.socket_addr(
            &named("ADDR"),
            raw.addr,
            SocketAddr::from(([127, 0, 0, 1], port)),
        );
        let required = p.parse(&named("REQUIRE_AUTH"), raw.require_auth, RequireAuth::Never);
        let auth = AuthPolicy::new(token.clone(), required.at(addr)).inspect_err(|error| {
            let because = match required {
                RequireAuth::BeyondLoopback => format!(" (it listens on {addr}, beyond loopback)"),
                RequireAuth::Never | RequireAuth::Always => String::new(),
            };
            p.add(named("REQUIRE_AUTH"), format!("{error}{because}"));
        });
        let metrics_addr =
            p.optional_socket_addr(&named("METRICS_ADDR"), raw.metrics_addr, METRICS_EXAMPLE);
        if metrics_addr.is_some_and(|metrics| collide(addr, metrics)) {
            let main = named("ADDR");
            p.add(
                named("METRICS_ADDR"),
                format!(
                    "must differ from {main}, {addr}, where /metrics is served anyway, to who has \
                     the token"
                ),
            );
        }
        Self {
            addr,
            metrics_addr,
            is_cloud: p.flag(&named("CLOUD_PROFILE"), raw.cloud_profile, false),
            token,
            auth: auth.unwrap_or_default(),
            allowed_hosts: allowed_hosts(p, &named("ALLOWED_HOSTS"), raw.allowed_hosts),
            runtime_dir: raw
                .runtime_dir
                .map_or_else(|| ".runtime/engines".into(), PathBuf::from),
            state_dir: raw
                .state_dir
                .map_or_else(|| ".runtime/state".into(), PathBuf::from),
            first_byte_timeout: p.millis(
                &named("FIRST_BYTE_TIMEOUT_MS"),
                raw.first_byte_timeout_ms,
                Timeouts::default().first_byte,
                1..=86_400_000,
            ),
            drain_timeout: p.seconds(
                &named("DRAIN_TIMEOUT_SECS"),
                raw.drain_timeout_secs,
                DEFAULT_DRAIN,
                0..=86_400,
            ),
            threads: threads(p.integer(
                &named("THREADS"),
                raw.threads,
                default_threads(),
                1..=MAX_THREADS,
            )),
            log_format: p.parse(&named("LOG_FORMAT"), raw.log_format, LogFormat::Text),
            node: None,
        }
    }

    /// What is around everything that is logged. At ERROR, so that a line that is let through is
    /// never without it.
    pub(crate) fn span(&self) -> Span {
        let node = self.node.as_ref();
        node.map_or_else(
            Span::none,
            |node| tracing::error_span!("node", node_id = %node),
        )
    }

    /// The full name of the common setting `name`.
    pub(crate) fn variable(program: &Program, name: &str) -> String {
        format!("{}{name}", program.prefix)
    }
}

/// The hostname of this machine, and the names that are set.
fn allowed_hosts(problems: &mut Problems, name: &str, raw: Option<String>) -> AllowedHosts {
    let listed = problems.list(name, raw).unwrap_or_default();
    let system = rustix::system::uname();
    // One that no URL can hold is nobody's name for us.
    let hostname = system.nodename().to_str().ok();
    let hostname = hostname.and_then(|hostname| hostname.parse::<HostName>().ok());
    AllowedHosts::new(listed.into_iter().chain(hostname), name)
}

/// One thread for each core that we may use, up to a limit.
fn default_threads() -> u64 {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores.min(DEFAULT_MAX_THREADS) as u64
}

/// A number that was read as one of at least one.
fn threads(number: u64) -> NonZeroUsize {
    usize::try_from(number)
        .ok()
        .and_then(NonZeroUsize::new)
        .unwrap_or(NonZeroUsize::MIN)
}

/// Whether two sockets cannot listen on both. Port 0 is another one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "demo",
        version: "0.0.0",
        title: "",
        about: "",
        settings: &[],
        ending: "",
        prefix: "DEMO_",
        openapi: || "{}".to_owned(),
        limits: &[],
    };

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        let mut problems = Problems::default();
        let settings = Settings::read(&environment, &PROGRAM, 7000, &mut problems);
        problems
            .finish()
            .map_or_else(|problems| Err(problems.to_string()), |()| Ok(settings))
    }

    // spec: CONF-2, CLOUD-12002
    #[test]
    fn nothing_needs_to_be_set() {
        let settings = read(&[("OTHER_ADDR", "nonsense")]).unwrap();
        assert_eq!(settings.addr.to_string(), "127.0.0.1:7000");
        assert!(!settings.is_cloud && !settings.auth.has_token() && settings.token.is_none());
        assert_eq!(settings.runtime_dir, PathBuf::from(".runtime/engines"));
        assert_eq!(settings.state_dir, PathBuf::from(".runtime/state"));
        assert_eq!(settings.first_byte_timeout, Duration::from_secs(120));
        assert_eq!(settings.drain_timeout, Duration::from_secs(120));
    }

    // spec: AUTH-4
    #[test]
    fn the_token_is_one_for_all_and_is_never_repeated() {
        let settings = read(&[
            ("LLORCH_API_TOKEN", "canary-4711-long"),
            ("DEMO_REQUIRE_AUTH", "1"),
        ])
        .unwrap();
        assert!(settings.auth.has_token() && settings.token.is_some());
        assert!(!format!("{settings:?}").contains("canary"));
        let problems = read(&[("LLORCH_API_TOKEN", "bad canary-4711\n")]).unwrap_err();
        assert!(
            problems.contains("LLORCH_API_TOKEN") && !problems.contains("canary"),
            "{problems}"
        );
    }

    // spec: AUTH-7
    #[test]
    fn a_token_can_be_required_beyond_loopback_only() {
        let at = |addr| {
            read(&[
                ("DEMO_REQUIRE_AUTH", "beyond-loopback"),
                ("DEMO_ADDR", addr),
            ])
        };
        assert!(!at("127.0.0.1:7000").unwrap().auth.has_token());
        assert!(at("[::1]:7000").is_ok());
        for addr in ["0.0.0.0:7000", "[::]:7000", "192.168.1.10:7000"] {
            let problems = at(addr).unwrap_err();
            assert!(
                problems.contains("DEMO_REQUIRE_AUTH") && problems.contains(addr),
                "{problems}"
            );
        }
    }

    // spec: CONF-8
    #[test]
    fn names_by_which_it_is_asked_are_listed_by_commas() {
        let settings = read(&[(
            "DEMO_ALLOWED_HOSTS",
            "LLORCH.example, 192.0.2.7,[2001:db8::7]",
        )])
        .unwrap();
        let shown = format!("{:?}", settings.allowed_hosts);
        for name in ["llorch.example", "192.0.2.7", "2001:db8::7"] {
            assert!(shown.contains(name), "{shown}");
        }
        for wrong in ["llorch.example:8080", "a,,b", "http://llorch.example"] {
            let problems = read(&[("DEMO_ALLOWED_HOSTS", wrong)]).unwrap_err();
            assert!(
                problems.starts_with("DEMO_ALLOWED_HOSTS: must be "),
                "{problems}"
            );
        }
    }

    // spec: SEE-16
    #[test]
    fn metrics_have_no_address_of_their_own_or_another() {
        assert_eq!(read(&[]).unwrap().metrics_addr, None);
        let at = |addr, metrics| read(&[("DEMO_ADDR", addr), ("DEMO_METRICS_ADDR", metrics)]);
        for (addr, metrics) in [
            ("127.0.0.1:7000", "127.0.0.1:7001"),
            ("127.0.0.1:7000", "10.0.0.7:7000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            let settings = at(addr, metrics).unwrap();
            assert_eq!(settings.metrics_addr, Some(metrics.parse().unwrap()));
        }
        for (addr, metrics) in [
            ("127.0.0.1:7000", "127.0.0.1:7000"),
            ("0.0.0.0:7000", "127.0.0.1:7000"),
            ("127.0.0.1:7000", "[::]:7000"),
        ] {
            let problems = at(addr, metrics).unwrap_err();
            let expected = format!("DEMO_METRICS_ADDR: must differ from DEMO_ADDR, {addr}");
            assert!(problems.contains(&expected), "{problems}");
        }
    }

    // spec: CONF-1
    #[test]
    fn every_bad_one_is_named_in_full() {
        let bad = [
            ("DEMO_ADDR", "7000"),
            ("DEMO_METRICS_ADDR", "9090"),
            ("DEMO_CLOUD_PROFILE", "yes"),
            ("DEMO_REQUIRE_AUTH", "true"),
            ("DEMO_ALLOWED_HOSTS", "llorch.example,http://other.example"),
            ("DEMO_FIRST_BYTE_TIMEOUT_MS", "0"),
            ("DEMO_DRAIN_TIMEOUT_SECS", "x"),
            ("DEMO_LOG_FORMAT", "xml"),
        ];
        let problems = read(&bad).unwrap_err();
        for (name, _) in bad {
            assert!(
                problems.contains(&format!("{name}: ")),
                "{name} is missing in:\n{problems}"
            );
        }
        assert_eq!(problems.lines().count(), bad.len());
    }
}
