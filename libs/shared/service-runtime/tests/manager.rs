//! A service manager and its service: the test is the manager, a child process is the service.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use service_runtime::{ServiceManager, Shutdown, Tasks, inherited_listener};

/// Tells a child process its role.
const ROLE: &str = "SERVICE_RUNTIME_TEST_ROLE";

/// Longer than any machine takes. Only a failing test waits this long.
const TEST_DEADLINE: Duration = Duration::from_secs(60);

/// The manager's end of the notification socket.
struct Manager {
    messages: UnixDatagram,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn start(
        test: &str,
        watchdog: Option<Duration>,
        socket: Option<&TcpListener>,
    ) -> (Self, Child) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let messages = UnixDatagram::bind(&path).unwrap();
        messages.set_read_timeout(Some(TEST_DEADLINE)).unwrap();
        let child = service(test, &path, watchdog, socket);
        let manager = Self {
            messages,
            _directory: directory,
        };
        (manager, child)
    }

    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.messages.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

/// The service, started like systemd starts one: the socket is descriptor 3, the rest is in the
/// environment.
fn service(
    test: &str,
    notify: &Path,
    watchdog: Option<Duration>,
    socket: Option<&TcpListener>,
) -> Child {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(if socket.is_some() {
            "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\""
        } else {
            "exec \"$0\" \"$@\""
        })
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, "service")
        .env("NOTIFY_SOCKET", notify);
    if let Some(timeout) = watchdog {
        command.env("WATCHDOG_USEC", timeout.as_micros().to_string());
    }
    if let Some(socket) = socket {
        command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    }
    command.spawn().unwrap()
}

fn is_service() -> bool {
    std::env::var_os(ROLE).is_some()
}

// spec: STOP-9
#[test]
fn the_manager_is_notified_of_start_and_stop() {
    if is_service() {
        let manager = ServiceManager;
        assert_eq!(manager.watchdog_timeout(), None);
        manager.ready();
        manager.status("2 models\nfrom 3 endpoints");
        manager.reloading();
        manager.stopping(Duration::from_millis(130_500));
        return;
    }
    let name = "the_manager_is_notified_of_start_and_stop";
    let (manager, mut service) = Manager::start(name, None, None);
    assert_eq!(manager.message(), "READY=1\n");
    assert_eq!(manager.message(), "STATUS=2 models from 3 endpoints\n");
    let reloading = manager.message();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(
        manager.message(),
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=130500000\n"
    );
    assert!(service.wait().unwrap().success());
}

// spec: STOP-8
#[test]
fn a_watched_service_beats_while_it_makes_progress() {
    if is_service() {
        return watched();
    }
    let timeout = Some(Duration::from_millis(30));
    let (manager, mut service) = Manager::start(
        "a_watched_service_beats_while_it_makes_progress",
        timeout,
        None,
    );
    for _ in 0..5 {
        assert_eq!(manager.message(), "WATCHDOG=1\n");
    }
    service.kill().unwrap();
    service.wait().unwrap();
}

fn watched() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new(Shutdown::new());
        ServiceManager.beat(&tasks, Shutdown::new(), || async {});
        std::future::pending::<()>().await;
    });
}

// spec: STOP-10
#[test]
fn a_socket_that_is_handed_over_is_served() {
    if is_service() {
        let listener = inherited_listener().unwrap().unwrap();
        assert!(std::env::var_os("LISTEN_FDS").is_none());
        let (mut connection, _) = listener.accept().unwrap();
        connection.write_all(b"served").unwrap();
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // It connects before the service runs, and waits.
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_manager, mut service) = Manager::start(
        "a_socket_that_is_handed_over_is_served",
        None,
        Some(&listener),
    );
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
    assert!(service.wait().unwrap().success());
}

#[test]
fn without_a_manager_nothing_happens() {
    ServiceManager.ready();
    ServiceManager.stopping(Duration::ZERO);
    assert!(inherited_listener().unwrap().is_none());
}
