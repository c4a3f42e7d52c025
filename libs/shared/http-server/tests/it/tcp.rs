//! What needs a kernel: resets, descriptors, real addresses.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    process::Stdio,
    time::Duration,
};

use axum::{Extension, Router, routing::get};
use http_server::{ApiJson, BoundServer, Limits, PeerAddr, ServerHandle, adopt, bind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_runtime::{ConnectionThreads, Shutdown, Tasks};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::support::Client;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Far longer than any step here takes; a test that reaches it has failed.
const TEST_DEADLINE: Duration = Duration::from_secs(60);

fn routes() -> Router {
    Router::new()
        .route(
            "/",
            get(async |Extension(peer): Extension<PeerAddr>| peer.0.to_string()),
        )
        .route("/json", axum::routing::post(async |_: ApiJson<u32>| "read"))
}

fn serve(server: BoundServer) -> ServerHandle {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    server.serve(routes(), &tasks, shutdown).unwrap()
}

async fn connect(addr: SocketAddr) -> Client<TcpStream> {
    Client::new(TcpStream::connect(addr).await.unwrap())
}

#[tokio::test]
async fn connections_wait_until_the_server_serves() {
    let server = bind(ANY_PORT, Limits::default()).unwrap();
    let addr = server.local_addr();
    let stream = TcpStream::connect(addr).await.unwrap();
    let local = stream.local_addr().unwrap();
    let handle = serve(server);
    assert_eq!(Client::new(stream).get("/").await.text(), local.to_string());

    assert_eq!(handle.close(TEST_DEADLINE).await, 0);
    assert!(TcpStream::connect(addr).await.is_err());
    // The port is free again at once.
    bind(addr, Limits::default()).unwrap();
}

// spec: DOOR-16
#[tokio::test]
async fn each_connection_stays_on_its_thread() {
    let threads = ConnectionThreads::start(NonZeroUsize::new(2).unwrap()).unwrap();
    let server = bind(ANY_PORT, Limits::default())
        .unwrap()
        .on(threads.handle());
    let addr = server.local_addr();
    let routes = Router::new().route(
        "/",
        get(async || std::thread::current().name().unwrap_or_default().to_owned()),
    );
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let handle = server.serve(routes, &tasks, shutdown).unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = connect(addr).await;
        let thread = client.get("/").await.text().to_owned();
        clients.push((client, thread));
    }
    let dealt: Vec<&str> = clients.iter().map(|(_, thread)| thread.as_str()).collect();
    assert_eq!(dealt, ["core-0", "core-1", "core-0", "core-1"]);
    for (client, thread) in &mut clients {
        assert_eq!(client.get("/").await.text(), thread);
    }
    // A freed thread is assigned next, and a stop ends idle connections.
    clients.remove(1);
    while handle.connections() > 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connect(addr).await.get("/").await.text(), "core-1");
    assert_eq!(handle.close(TEST_DEADLINE).await, 0);
    assert!(threads.stop(TEST_DEADLINE));
}

// spec: STOP-4
#[tokio::test]
async fn a_hanging_handler_blocks_its_thread_but_not_the_stop() {
    let threads = ConnectionThreads::start(NonZeroUsize::MIN).unwrap();
    let server = bind(ANY_PORT, Limits::default())
        .unwrap()
        .on(threads.handle());
    let addr = server.local_addr();
    let (go_on, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Arc::new(parking_lot::Mutex::new(hold));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let hang = async move || {
        begun.send(()).unwrap();
        let _ = hold.lock().recv();
    };
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let routes = Router::new().route("/", get(hang));
    let handle = server.serve(routes, &tasks, shutdown).unwrap();
    let mut client = connect(addr).await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    begins.recv().await.unwrap();
    assert_eq!(
        timeout(TEST_DEADLINE, handle.close(Duration::ZERO)).await,
        Ok(1)
    );
    drop(go_on);
    assert!(threads.stop(TEST_DEADLINE));
}

// spec: STOP-10
#[tokio::test]
async fn an_adopted_socket_outlives_the_server() {
    let socket = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let addr = socket.local_addr().unwrap();
    let server = || adopt(socket.try_clone().unwrap(), Limits::default()).unwrap();
    let first = serve(server());
    connect(addr).await.get("/").await;
    assert_eq!(first.close(TEST_DEADLINE).await, 0);
    // The listener stays open without a server, as during a restart.
    let waiting = TcpStream::connect(addr).await.unwrap();
    let _second = serve(server());
    let local = waiting.local_addr().unwrap();
    assert_eq!(
        Client::new(waiting).get("/").await.text(),
        local.to_string()
    );
}

#[tokio::test]
async fn ipv6_and_mapped_peers() {
    let Ok(server) = bind("[::]:0".parse().unwrap(), Limits::default()) else {
        // A machine without IPv6 refuses to bind; then there is no mapped peer either.
        assert!(std::net::UdpSocket::bind("[::]:0").is_err());
        return;
    };
    let port = server.local_addr().port();
    let _handle = serve(server);
    let reply = connect((Ipv4Addr::LOCALHOST, port).into())
        .await
        .get("/")
        .await;
    assert!(reply.text().starts_with("127.0.0.1:"), "{}", reply.text());
}

#[tokio::test]
async fn a_refusal_arrives_although_the_client_is_still_sending() {
    let server = bind(ANY_PORT, Limits::default()).unwrap();
    let addr = server.local_addr();
    let _handle = serve(server);
    // Without the lingering close, a reset would destroy the response in most of the rounds.
    for _ in 0..20 {
        let mut client = connect(addr).await;
        let body = vec![b'x'; 4 * 1024 * 1024];
        client
            .send(format!(
                "POST /json HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ))
            .await;
        client.try_send(&body).await.unwrap();
        assert_eq!(client.reply().await.error().1, "PAYLOAD_TOO_LARGE");
    }
}

// spec: DOOR-7
#[tokio::test]
async fn a_connection_too_many_gets_its_answer() {
    let limits = Limits {
        max_connections: 0,
        ..Limits::default()
    };
    let server = bind(ANY_PORT, limits).unwrap();
    let addr = server.local_addr();
    let _handle = serve(server);
    for _ in 0..20 {
        assert_eq!(
            connect(addr).await.get("/").await.error().1,
            "TOO_MANY_CONNECTIONS"
        );
    }
}

/// Tells the child process of the next test its role.
const ROLE: &str = "HTTP_SERVER_TEST_ROLE";

/// A client without a response by then counts as unanswered; a later response does no harm.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// Descriptors for the child: those of the runtime, and a few for connections.
const FEW_DESCRIPTORS: u64 = 32;

// spec: DOOR-8
#[tokio::test]
async fn survives_running_out_of_descriptors() {
    if std::env::var_os(ROLE).is_some() {
        return serve_with_few_descriptors().await;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tcp::survives_running_out_of_descriptors",
            "--nocapture",
        ])
        .env(ROLE, "server")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let addr = announced_address(&mut child).await;

    let mut answered = 0;
    let mut clients = Vec::new();
    for _ in 0..FEW_DESCRIPTORS * 2 {
        clients.push(connect(addr).await);
    }
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    }
    // The kernel completes connections in order, so the accepted ones come first.
    let mut open = clients.into_iter();
    let mut served = Vec::new();
    for mut client in open.by_ref() {
        // At least one is served, however long that takes. That the others get no response can only
        // be waited for.
        let deadline = if answered == 0 {
            TEST_DEADLINE
        } else {
            NO_ANSWER
        };
        match timeout(deadline, client.reply()).await {
            Ok(reply) => assert_eq!(reply.status, 200),
            Err(_) => break,
        }
        answered += 1;
        served.push(client);
    }
    assert!(
        (1..FEW_DESCRIPTORS).contains(&answered),
        "{answered} answered"
    );
    // An open connection continues while others cannot connect.
    assert_eq!(served[0].get("/").await.status, 200);

    drop(served);
    for mut client in open {
        assert_eq!(
            timeout(TEST_DEADLINE, client.reply()).await.unwrap().status,
            200
        );
    }
    assert_eq!(connect(addr).await.get("/").await.status, 200);
}

#[expect(clippy::print_stdout, reason = "how the child tells its address")]
async fn serve_with_few_descriptors() {
    let server = bind(ANY_PORT, Limits::default()).unwrap();
    let addr = server.local_addr();
    let handle = serve(server);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Rlimit {
        current: Some(FEW_DESCRIPTORS),
        maximum,
    };
    setrlimit(Resource::Nofile, few).unwrap();
    println!("\nlistening on {addr}");
    handle.finished().await;
}

async fn announced_address(child: &mut tokio::process::Child) -> SocketAddr {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the child ended");
        if let Some(addr) = line.strip_prefix("listening on ") {
            return addr.parse().unwrap();
        }
    }
}
