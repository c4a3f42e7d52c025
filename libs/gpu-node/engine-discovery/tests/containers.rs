//! Discovery in a network namespace of its own, with a bridge to a container.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use engine_discovery::{DEFAULT_PORTS, Search, Verdict, discover, discover_blocking};
use pool_registry_types::KnownEngine;

/// A bridge with a container behind it, an interface to other machines, and link-local addresses.
const NETWORKS: &str = "
    set -e
    mount -t sysfs sysfs /sys
    ip link set lo up
    ip link add br-containers type bridge
    ip address add 10.88.0.1/16 dev br-containers
    ip address add 169.254.7.1/16 dev br-containers
    ip link set br-containers up
    ip link add veth0 type veth peer name eth0
    ip link set veth0 master br-containers
    ip link set veth0 up
    ip link add plain0 type veth peer name plain1
    ip address add 10.77.0.1/16 dev plain0
    ip link set plain0 up
    unshare --net sleep 60 & container=$!
    own=$(readlink /proc/$$/ns/net)
    while [ \"$(readlink /proc/$container/ns/net)\" = \"$own\" ]; do :; done
    ip link set eth0 netns $container
    status=0
    INSIDE=1 \"$0\" --exact published_ports_are_found_and_no_other_address_is_asked --nocapture \
        || status=$?
    kill $container
    exit $status
";

const OLLAMA: &str = r#"{"data":[{"id":"m:latest","owned_by":"library"}],"version":"0.12.3"}"#;
const PAGE: &str = "<html>a notebook</html>";

/// Serves `body` at every path of `address`, and returns the address.
fn serve(address: &str, body: &'static str) -> String {
    let listener = TcpListener::bind(address).unwrap();
    let bound = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), body);
        }
    });
    bound
}

fn answer(mut stream: TcpStream, body: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    // The peer may have closed the connection already.
    let _: std::io::Result<()> = stream.write_all(format!("{head}{body}").as_bytes());
}

/// A socket that must never get a connection.
fn forbidden(address: &str) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn search() -> Search {
    Search {
        ports: DEFAULT_PORTS.to_vec(),
        own: vec!["127.0.0.1:8080".parse().unwrap()],
    }
}

// spec: FIND-5
#[test]
fn published_ports_are_found_and_no_other_address_is_asked() {
    if std::env::var_os("INSIDE").is_some() {
        return inside();
    }
    let may_unshare = Command::new("unshare")
        .args([
            "--net", "--mount", "ip", "link", "add", "x", "type", "bridge",
        ])
        .status();
    if !may_unshare.is_ok_and(|status| status.success()) {
        eprintln!("not tested: this user may not create network namespaces");
        return;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", NETWORKS])
        .arg(std::env::current_exe().unwrap())
        .status();
    assert!(status.unwrap().success());
}

fn inside() {
    // A usual port on loopback, and ports that containers publish.
    serve("127.0.0.1:11434", OLLAMA);
    serve("0.0.0.0:9123", OLLAMA);
    serve("10.88.0.1:9124", OLLAMA);
    serve("[::]:9125", OLLAMA);
    serve("127.0.0.1:8000", PAGE);
    let untouched = [
        "127.0.0.1:9999",
        "10.77.0.1:8000",
        "10.77.0.1:9126",
        "169.254.7.1:8000",
        "127.0.0.1:8080",
        "0.0.0.0:22",
    ]
    .map(forbidden);
    let found = discover_blocking(&search()).unwrap();
    let found: Vec<(String, Option<KnownEngine>)> = found
        .iter()
        .map(|found| (found.url.to_string(), found.verdict.kind()))
        .collect();
    let ollama = Some(KnownEngine::Ollama);
    let expected = [
        ("http://127.0.0.1:8000", None),
        ("http://127.0.0.1:11434", ollama),
        ("http://127.0.0.1:9123", ollama),
        ("http://10.88.0.1:9124", ollama),
        ("http://127.0.0.1:9125", ollama),
    ];
    assert_eq!(
        found,
        expected.map(|(url, kind)| (url.to_owned(), kind)).to_vec()
    );
    for listener in untouched {
        let asked = listener.accept();
        assert!(asked.is_err(), "{:?} was asked", listener.local_addr());
    }
}

// spec: FIND-1, FIND-2
#[tokio::test]
async fn an_engine_tells_its_models_and_slots() {
    let engine = fake_engine::FakeEngine::start(fake_engine::Script {
        slots: 3,
        ..Default::default()
    })
    .unwrap();
    let port = engine.url().rsplit(':').next().unwrap().parse().unwrap();
    let search = Search {
        ports: vec![port],
        own: Vec::new(),
    };
    let found = discover(&search).await;
    let here = found.iter().find(|found| found.candidate.port == port);
    let Verdict::Engine(engine) = &here.unwrap().verdict else {
        panic!("{found:?}");
    };
    assert_eq!(
        (engine.kind, engine.slots),
        (KnownEngine::LlamaCpp, Some(3))
    );
    assert_eq!(engine.models.len(), 1, "{engine:?}");
    // The same search without it as this process's own.
    let own = Search {
        own: vec![format!("127.0.0.1:{port}").parse().unwrap()],
        ..search
    };
    assert!(
        discover(&own)
            .await
            .iter()
            .all(|found| found.candidate.port != port)
    );
}

// spec: FIND-6
#[test]
fn two_servers_at_one_port_are_reported_and_not_asked() {
    let first = reusing("127.0.0.1:0");
    let address = first.local_addr().unwrap();
    let _second = reusing(&address.to_string());
    let url = pool_registry_types::HttpUrl::new(&format!("http://{address}")).unwrap();
    let verdict = engine_discovery::examine_blocking(&url, None).unwrap();
    assert_eq!(verdict, Verdict::Shared(2));
    let search = Search {
        ports: vec![address.port()],
        own: Vec::new(),
    };
    let found = discover_blocking(&search).unwrap();
    let here = found.iter().find(|found| found.url == url).unwrap();
    assert_eq!(here.verdict, Verdict::Shared(2));
}

/// A listener that lets others listen at its port, as vLLM does.
fn reusing(address: &str) -> TcpListener {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let address: std::net::SocketAddr = address.parse().unwrap();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&socket, true).unwrap();
    bind(&socket, &address).unwrap();
    listen(&socket, 8).unwrap();
    socket.into()
}
