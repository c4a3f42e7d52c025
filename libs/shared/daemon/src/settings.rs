//! The common settings, checked and turned into types that cannot be wrong.

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use bearer_auth::{ApiToken, AuthPolicy};
use http_server::{AllowedHosts, HostName};
use key_file::KeyFile;
use telemetry::LogFormat;
use tls_config::ClientTls;
use tracing::Span;

use crate::{
    common,
    directory::require_regular_file,
    program::Program,
    reader::SettingsReader,
    require_auth::RequireAuth,
    tls::{self, ListenTls},
};

const MIB: usize = 1024 * 1024;

/// The common settings, valid.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Listen address.
    pub addr: SocketAddr,
    /// Address that serves metrics, and nothing else, without a token.
    pub metrics_addr: Option<SocketAddr>,
    /// The CLOUD profile, not HOME.
    pub is_cloud: bool,
    /// The token that clients and daemons present to each other.
    pub token: Option<ApiToken>,
    /// The keys of clients, if they are in a file.
    pub keys_file: Option<KeyFile>,
    /// Which requests are let in.
    pub auth: AuthPolicy,
    /// Whether a start without any credential of peers was to be refused.
    pub requires_auth: bool,
    /// The hosts that requests may name while no token is set.
    pub allowed_hosts: AllowedHosts,
    /// The TLS of the listen address.
    pub tls: Option<ListenTls>,
    /// Which servers with TLS this daemon trusts.
    pub client_tls: ClientTls,
    /// The directory of handoff files.
    pub runtime_dir: PathBuf,
    /// The directory for what outlives a restart.
    pub state_dir: PathBuf,
    /// The directory of handoff files that survive a restart of the machine.
    pub engines_dir: PathBuf,
    /// How this machine is searched for engines; `None` when it is not.
    pub scan: Option<ScanSettings>,
    /// The longest time until an engine's first byte.
    pub first_byte_timeout: Duration,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// How long a stop waits for running requests.
    pub drain_timeout: Duration,
    /// Threads that serve connections.
    pub threads: NonZeroUsize,
    /// Format of the log.
    pub log_format: LogFormat,
    /// The file of the audit log.
    pub audit_file: Option<PathBuf>,
    /// The node id that every log line carries. The daemon sets it; the environment does not.
    pub node: Option<String>,
}

/// How this machine is searched for engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanSettings {
    /// How often.
    pub interval: Duration,
    /// At which ports; `None` for the usual ones.
    pub ports: Option<Vec<u16>>,
}

/// The directory of persistent handoffs in the state directory.
const ENGINES_IN_STATE: &str = "handoffs";

impl Settings {
    /// Reads the common settings of `program`. `reader` collects the problems.
    pub fn read(reader: &mut SettingsReader, program: &Program) -> Self {
        let addr = reader.read(program.address);
        let token = reader.read(&common::TOKEN);
        let keys_file = reader.read(&common::KEYS_FILE);
        let tls = tls::read(reader);
        let takes_certificates = tls.as_ref().is_some_and(|tls| tls.takes_certificates);
        let others = OtherCredentials {
            has_keys_file: keys_file.is_some(),
            takes_certificates,
        };
        let (auth, requires_auth) = auth(reader, token.clone(), addr, others);
        let keys_file = keys_file.and_then(|path| open_keys_file(reader, path, &auth));
        let runtime_dir = reader.read(&common::RUNTIME_DIR);
        let state_dir = reader.read(&common::STATE_DIR);
        Self {
            engines_dir: engines_dir(reader, &runtime_dir, &state_dir),
            scan: scan(reader),
            addr,
            metrics_addr: metrics_addr(reader, program, addr),
            is_cloud: reader.read(&common::CLOUD_PROFILE),
            keys_file,
            auth,
            requires_auth,
            token,
            allowed_hosts: allowed_hosts(reader),
            tls,
            client_tls: tls::read_client(reader),
            runtime_dir,
            state_dir,
            first_byte_timeout: reader.read(&common::FIRST_BYTE_TIMEOUT),
            max_body_bytes: reader.read(&common::MAX_BODY).saturating_mul(MIB),
            drain_timeout: reader.read(&common::DRAIN_TIMEOUT),
            threads: reader.read(&common::THREADS),
            log_format: reader.read(&common::LOG_FORMAT),
            audit_file: audit_file(reader),
            node: None,
        }
    }

    /// The span around everything that is logged. Its level is ERROR, so that every line that
    /// passes the filter carries it.
    pub(crate) fn span(&self) -> Span {
        let node = self.node.as_ref();
        node.map_or_else(
            Span::none,
            |node| tracing::error_span!("node", node_id = %node),
        )
    }
}

fn engines_dir(reader: &mut SettingsReader, runtime_dir: &Path, state_dir: &Path) -> PathBuf {
    let set = reader.read(&common::ENGINES_DIR);
    let dir = set.unwrap_or_else(|| state_dir.join(ENGINES_IN_STATE));
    if dir == runtime_dir {
        let other = reader.variable(&common::RUNTIME_DIR);
        reader.problem(
            &common::ENGINES_DIR,
            format!("must differ from {other}, whose handoffs are trusted at once"),
        );
    }
    dir
}

fn scan(reader: &mut SettingsReader) -> Option<ScanSettings> {
    let interval = reader.read(&common::SCAN_INTERVAL);
    let ports = reader.read(&common::SCAN_PORTS);
    (!interval.is_zero()).then(|| ScanSettings {
        interval,
        ports: ports.map(|ports| ports.into_iter().map(NonZeroU16::get).collect()),
    })
}

/// It is opened at the start; `check` creates no file.
fn audit_file(reader: &mut SettingsReader) -> Option<PathBuf> {
    let path = reader.read(&common::AUDIT_FILE)?;
    require_regular_file(reader, &common::AUDIT_FILE, &path).then_some(path)
}

/// Reads the keys now, so that mistakes of the file are reported with those of the settings.
fn open_keys_file(
    reader: &mut SettingsReader,
    path: PathBuf,
    auth: &AuthPolicy,
) -> Option<KeyFile> {
    if !require_regular_file(reader, &common::KEYS_FILE, &path) {
        return None;
    }
    KeyFile::open(path, auth)
        .map_err(|error| reader.problem(&common::KEYS_FILE, error.to_string()))
        .ok()
}

/// What peers may present in place of the API token.
#[derive(Clone, Copy)]
struct OtherCredentials {
    has_keys_file: bool,
    takes_certificates: bool,
}

fn auth(
    reader: &mut SettingsReader,
    token: Option<ApiToken>,
    addr: SocketAddr,
    others: OtherCredentials,
) -> (AuthPolicy, bool) {
    let required = reader.read(&common::REQUIRE_AUTH);
    let is_required = required.at(addr);
    if others.has_keys_file || (others.takes_certificates && is_required) {
        return (AuthPolicy::with_keys_only(token), is_required);
    }
    let policy = AuthPolicy::new(token, is_required).unwrap_or_else(|error| {
        let because = match required {
            RequireAuth::BeyondLoopback => format!(" (it listens on {addr}, beyond loopback)"),
            RequireAuth::Never | RequireAuth::Always => String::new(),
        };
        reader.problem(&common::REQUIRE_AUTH, format!("{error}{because}"));
        AuthPolicy::default()
    });
    (policy, is_required)
}

fn metrics_addr(
    reader: &mut SettingsReader,
    program: &Program,
    addr: SocketAddr,
) -> Option<SocketAddr> {
    let metrics_addr = reader.read(&common::METRICS_ADDR);
    if metrics_addr.is_some_and(|metrics| collide(addr, metrics)) {
        let main = reader.variable(program.address);
        reader.problem(
            &common::METRICS_ADDR,
            format!("must differ from {main}, {addr}, which serves /metrics with a token anyway"),
        );
    }
    metrics_addr
}

/// The hostname of this machine, and the names that are set.
fn allowed_hosts(reader: &mut SettingsReader) -> AllowedHosts {
    let listed = reader.read(&common::ALLOWED_HOSTS).unwrap_or_default();
    let system = rustix::system::uname();
    // A hostname that no URL can hold is never asked for.
    let hostname = system.nodename().to_str().ok();
    let hostname = hostname.and_then(|hostname| hostname.parse::<HostName>().ok());
    let name = reader.variable(&common::ALLOWED_HOSTS);
    AllowedHosts::new(listed.into_iter().chain(hostname), &name)
}

/// Whether two listeners cannot have both addresses. Port 0 is a different port each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use service_runtime::env::Environment;

    use super::*;
    use crate::fixtures::DEMO as PROGRAM;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        let mut reader = SettingsReader::new(&PROGRAM, environment);
        let settings = Settings::read(&mut reader, &PROGRAM);
        reader
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
        assert_eq!(
            settings.engines_dir,
            PathBuf::from(".runtime/state/handoffs")
        );
        assert_eq!(settings.scan, None);
        assert_eq!(settings.first_byte_timeout, Duration::from_secs(120));
        assert_eq!(settings.drain_timeout, Duration::from_secs(120));
        assert_eq!(settings.max_body_bytes, 32 * MIB);
    }

    // spec: FIND-8, FIND-15
    #[test]
    fn persistent_handoffs_and_scans_are_settings() {
        let settings = read(&[
            ("DEMO_STATE_DIR", "/var/lib/demo"),
            ("DEMO_SCAN_INTERVAL_SECS", "30"),
            ("DEMO_SCAN_PORTS", "8000, 9000"),
        ])
        .unwrap();
        assert_eq!(
            settings.engines_dir,
            PathBuf::from("/var/lib/demo/handoffs")
        );
        let scan = settings.scan.unwrap();
        assert_eq!(scan.interval, Duration::from_secs(30));
        assert_eq!(scan.ports, Some(vec![8000, 9000]));
        for (name, value, words) in [
            ("DEMO_SCAN_PORTS", "8000,0", "DEMO_SCAN_PORTS"),
            ("DEMO_SCAN_INTERVAL_SECS", "-1", "DEMO_SCAN_INTERVAL_SECS"),
            (
                "DEMO_ENGINES_DIR",
                ".runtime/engines",
                "must differ from DEMO_RUNTIME_DIR",
            ),
        ] {
            let problem = read(&[(name, value)]).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }

    // spec: CONF-40
    #[test]
    fn the_largest_body_is_a_setting() {
        let settings = read(&[("DEMO_MAX_BODY_MIB", "100")]).unwrap();
        assert_eq!(settings.max_body_bytes, 100 * MIB);
        for wrong in ["0", "4097", "100M"] {
            let problems = read(&[("DEMO_MAX_BODY_MIB", wrong)]).unwrap_err();
            assert!(
                problems.starts_with("DEMO_MAX_BODY_MIB: must"),
                "{problems}"
            );
        }
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

    // spec: AUTH-40, AUTH-41
    #[test]
    fn a_file_of_keys_is_read_with_the_settings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.toml");
        let file = path.to_str().unwrap();
        std::fs::write(&path, "").unwrap();
        // It is the wish for credentials, so that it also stands for the token that is required.
        let settings = read(&[("DEMO_KEYS_FILE", file), ("DEMO_REQUIRE_AUTH", "true")]).unwrap();
        assert!(settings.keys_file.is_some());
        assert!(settings.auth.describe().contains("the token of a key"));
        std::fs::write(&path, "[[key]]\nname = 7\n").unwrap();
        let problems = read(&[("DEMO_KEYS_FILE", file)]).unwrap_err();
        assert!(
            problems.contains("DEMO_KEYS_FILE: the key file"),
            "{problems}"
        );
        assert!(
            problems.contains("line 2: name: must be a text"),
            "{problems}"
        );
        assert!(read(&[("DEMO_KEYS_FILE", "/no/such/file")]).is_err());
    }

    // spec: TLS-20
    #[test]
    fn a_certificate_needs_its_key_and_the_file_that_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let ca = test_certificates::Authority::new().unwrap();
        let good = ca.issue(&["h"]).unwrap().write(directory.path()).unwrap();
        let (cert, key) = (
            good.certificate.to_str().unwrap(),
            good.key.to_str().unwrap(),
        );
        assert!(read(&[]).unwrap().tls.is_none());
        let both = [("DEMO_TLS_CERT_FILE", cert), ("DEMO_TLS_KEY_FILE", key)];
        assert!(read(&both).unwrap().tls.is_some());
        for (set, expected) in [
            (
                vec![both[0]],
                "DEMO_TLS_KEY_FILE: must be set when DEMO_TLS_CERT_FILE is",
            ),
            (
                vec![both[1]],
                "DEMO_TLS_CERT_FILE: must be set when DEMO_TLS_KEY_FILE is",
            ),
            (
                vec![("DEMO_TLS_CLIENT_CA_FILE", cert)],
                "DEMO_TLS_CERT_FILE: must be set when DEMO_TLS_CLIENT_CA_FILE is",
            ),
            (
                vec![both[0], ("DEMO_TLS_KEY_FILE", cert)],
                &format!("DEMO_TLS_KEY_FILE: {cert}: holds no private key"),
            ),
            (
                vec![("DEMO_TLS_CERT_FILE", "/none"), both[1]],
                "DEMO_TLS_CERT_FILE: /none: cannot be read",
            ),
            (
                vec![both[0], both[1], ("DEMO_TLS_CLIENT_CA_FILE", key)],
                &format!("DEMO_TLS_CLIENT_CA_FILE: {key}: holds no certificate"),
            ),
        ] {
            let problems = read(&set).unwrap_err();
            assert!(problems.starts_with(expected), "{problems}\n{expected}");
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
