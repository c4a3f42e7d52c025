//! The daemon as a process: stops, and output that no process reads.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

/// Long for any machine; only a test that fails waits for so long.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_until(settings, |_| ()).0
    }

    /// With an address of its own for metrics.
    fn start_with_metrics(settings: &[(&str, &str)]) -> (Self, SocketAddr) {
        let metrics = [("ORCHESTRATORD_METRICS_ADDR", "127.0.0.1:0")];
        Self::start_until(&[&metrics, settings].concat(), |log| {
            let line = line_with(log, "metrics are served on ");
            let addr = line.split("served on ").nth(1).unwrap();
            addr.split(',').next().unwrap().parse().unwrap()
        })
    }

    /// `read` reads what the log says before the address of the main listener.
    fn start_until<T>(
        settings: &[(&str, &str)],
        read: impl FnOnce(&mut BufReader<ChildStderr>) -> T,
    ) -> (Self, T) {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(DAEMON)
            .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
            // Where its default directories are.
            .current_dir(directory.path())
            .envs(settings.iter().copied())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let found = read(&mut log);
        let line = line_with(&mut log, "listening on ");
        let addr = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
        let daemon = Self {
            child,
            log,
            addr,
            _directory: directory,
        };
        (daemon, found)
    }

    fn ready(&self) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.lines().next().unwrap().to_owned()
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_with(log: &mut BufReader<ChildStderr>, part: &str) -> String {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "ended before {part:?}"
        );
    }
    line
}

// spec: STOP-7
#[test]
fn a_stop_serves_on_as_not_ready_for_the_grace() {
    // Longer than any test: the second signal ends it.
    let mut daemon = Daemon::start(&[("ORCHESTRATORD_SHUTDOWN_GRACE_MS", "600000")]);
    // Not before it has looked for engines.
    while daemon.ready() != "HTTP/1.1 200 OK" {}
    daemon.terminate();
    line_with(&mut daemon.log, "stopping");
    // The signal's own task says so before the others hear of it.
    while daemon.ready() == "HTTP/1.1 200 OK" {}
    assert_eq!(daemon.ready(), "HTTP/1.1 503 Service Unavailable");
    daemon.terminate();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(130));
}

// spec: STOP-1
#[test]
fn a_stop_without_a_grace_ends_at_once() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    let cloud = [
        ("ORCHESTRATORD_CLOUD_PROFILE", "true"),
        ("ORCHESTRATORD_STATE_DIR", state),
    ];
    for settings in [&[][..], &cloud] {
        let mut daemon = Daemon::start(settings);
        daemon.terminate();
        let mut rest = String::new();
        daemon.log.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("in time"), "{rest}");
        assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    }
}

/// The status line and the body of a GET without a token.
fn get(addr: SocketAddr, path: &str) -> (String, String) {
    get_from("localhost", addr, path)
}

/// The same of a server that is called `host`.
fn get_from(host: &str, addr: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

// spec: AUTH-8, AUTH-9, CONF-8
#[test]
fn without_a_token_no_listener_serves_a_host_that_it_was_not_told_of() {
    let (ok, forbidden) = ("HTTP/1.1 200 OK", "HTTP/1.1 403 Forbidden");
    let allowed = [("ORCHESTRATORD_ALLOWED_HOSTS", "llorch.example")];
    let (daemon, metrics) = Daemon::start_with_metrics(&allowed);
    for (addr, path) in [(daemon.addr, "/v2/status"), (metrics, "/metrics")] {
        for host in ["localhost", "127.0.0.1:8080", "llorch.example:8080"] {
            assert_eq!(get_from(host, addr, path).0, ok, "{host} {path}");
        }
        let (status, body) = get_from("evil.example", addr, path);
        assert_eq!(status, forbidden, "{path}");
        assert!(body.contains("ORCHESTRATORD_ALLOWED_HOSTS"), "{body}");
        assert_eq!(get_from("evil.example", addr, "/health").0, ok);
    }
    let (daemon, metrics) =
        Daemon::start_with_metrics(&[("LLORCH_API_TOKEN", "a-long-enough-token")]);
    assert_eq!(get_from("gateway.example", metrics, "/metrics").0, ok);
    let (status, _) = get_from("gateway.example", daemon.addr, "/v2/status");
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
}

// spec: SEE-16, AUTH-1
#[test]
fn metrics_have_a_door_of_their_own_that_wants_no_token() {
    let (mut daemon, door) = Daemon::start_with_metrics(&[
        ("LLORCH_API_TOKEN", "a-long-enough-token"),
        ("ORCHESTRATORD_SHUTDOWN_GRACE_MS", "600000"),
    ]);

    let (status, page) = get(door, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(page.contains("build_info{name=\"orchestratord\""), "{page}");
    assert_eq!(get(door, "/health").0, "HTTP/1.1 200 OK");
    for path in [
        "/ready",
        "/",
        "/v1/models",
        "/v2/status",
        "/v2/sd/prometheus",
        "/openapi.json",
    ] {
        assert_eq!(get(door, path).0, "HTTP/1.1 404 Not Found", "{path}");
    }
    assert_eq!(get(daemon.addr, "/metrics").0, "HTTP/1.1 401 Unauthorized");

    // A stop is watched as well: the grace lasts until the second signal.
    daemon.terminate();
    line_with(&mut daemon.log, "stopping");
    assert_eq!(get(door, "/metrics").0, "HTTP/1.1 200 OK");
    daemon.terminate();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(130));
}

// spec: SEE-16, CONF-1
#[test]
fn a_door_for_metrics_that_cannot_be_is_named() {
    let refused = |addr: &str, metrics: &str| {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new(DAEMON)
            .env("ORCHESTRATORD_ADDR", addr)
            .env("ORCHESTRATORD_METRICS_ADDR", metrics)
            .current_dir(directory.path())
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("ORCHESTRATORD_METRICS_ADDR"), "{said}");
        (output.status.code(), said)
    };
    let (code, said) = refused("127.0.0.1:0", "9090");
    assert_eq!(code, Some(64));
    assert!(said.contains("must be an IP address and a port"), "{said}");
    let (code, said) = refused("127.0.0.1:65000", "0.0.0.0:65000");
    assert_eq!(code, Some(64));
    assert!(
        said.contains("must differ from ORCHESTRATORD_ADDR"),
        "{said}"
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, said) = refused("127.0.0.1:0", &addr);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("listen on {addr}")), "{said}");
}

// spec: STOP-6
#[test]
fn it_survives_a_closed_standard_error() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let refused = Command::new(DAEMON)
        .arg("--nonsense")
        .stderr(full())
        .status();
    assert_eq!(refused.unwrap().code(), Some(64));
    let help = Command::new(DAEMON).arg("--help").stdout(full()).status();
    assert_eq!(help.unwrap().code(), Some(1));
}

// spec: STOP-9, STOP-10
#[test]
fn a_restart_under_a_service_manager_refuses_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let messages = UnixDatagram::bind(&notify).unwrap();
    messages.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let message_with = |expected: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length = messages.recv(&mut buffer).unwrap();
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.contains(expected) {
                return message;
            }
        }
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let start = || {
        Command::new("sh")
            .args([
                "-c",
                "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"",
            ])
            .arg(DAEMON)
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", "300000")
            .env("ORCHESTRATORD_CLOUD_PROFILE", "true")
            .env("ORCHESTRATORD_STATE_DIR", directory.path())
            .env("ORCHESTRATORD_DRAIN_TIMEOUT_SECS", "100")
            .stdin(OwnedFd::from(socket.try_clone().unwrap()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let health = |mut stream: TcpStream| {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.lines().next().unwrap().to_owned()
    };

    let early = TcpStream::connect(addr).unwrap();
    let mut first = start();
    message_with("READY=1");
    assert_eq!(health(early), "HTTP/1.1 200 OK");
    message_with("STATUS=models: 0, endpoints: 0");
    // Its sign of life comes through the registry.
    message_with("WATCHDOG=1");
    kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    // The drain, and the time that everything gets to end.
    assert!(message_with("STOPPING=1").contains("EXTEND_TIMEOUT_USEC=110000000"));
    assert_eq!(first.wait().unwrap().code(), Some(0));

    let between = TcpStream::connect(addr).unwrap();
    let mut second = start();
    assert_eq!(health(between), "HTTP/1.1 200 OK");
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0));
}

// spec: STOP-10
#[test]
fn an_address_that_is_not_the_sockets_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new("sh")
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 exec \"$0\""])
        .arg(DAEMON)
        .env("ORCHESTRATORD_ADDR", "127.0.0.1:1")
        .stdin(OwnedFd::from(socket.try_clone().unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    for part in [
        "ORCHESTRATORD_ADDR",
        "127.0.0.1:1",
        &socket.local_addr().unwrap().to_string(),
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

// spec: CHECK-1, CHECK-2
#[test]
fn a_check_tells_what_is_wrong_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let check = |settings: &[(&str, &str)]| {
        let output = Command::new(DAEMON)
            .args(["check", "--json"])
            .current_dir(directory.path())
            .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, said) = check(&[("ORCHESTRATORD_CLOUD_PROFILE", "true")]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(".runtime/state does not exist yet"), "{said}");
    let (code, said) = check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")]);
    assert_eq!(code, Some(0), "{said}");
    let has_no_use = said.contains("this build exports no spans");
    assert_eq!(has_no_use, !cfg!(feature = "otlp"), "{said}");
    let aliases = directory.path().join("aliases.toml");
    std::fs::write(&aliases, "[aliases]\na = \"a\"\n").unwrap();
    let (code, said) = check(&[("ORCHESTRATORD_ALIASES_FILE", aliases.to_str().unwrap())]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("line 2: `a` stands for itself"), "{said}");
    std::fs::remove_file(aliases).unwrap();
    assert_eq!(
        directory.path().read_dir().unwrap().count(),
        0,
        "something was made"
    );
}
