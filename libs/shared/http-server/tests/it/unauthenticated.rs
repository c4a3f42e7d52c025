//! Connections without a token have few permits and a short life, and keep no client with a token
//! out.

use std::time::Duration;

use bearer_auth::AuthPolicy;
use http_server::{
    AllowedHosts, Authenticated, HttpService, Limits, ServerHandle, UnauthenticatedLimits, bind,
};
use service_runtime::{Shutdown, Tasks};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{Client, Reply, Server, assert_elapsed, hello};

const TOKEN: &str = "a-long-enough-token";

const SHARE: UnauthenticatedLimits = UnauthenticatedLimits {
    max_connections: 4,
    grace: Duration::ZERO,
    idle: Duration::from_secs(10),
    life: Duration::from_secs(60),
};

fn limits() -> Limits {
    Limits {
        max_connections: 3,
        unauthenticated: Some(SHARE),
        ..Limits::default()
    }
}

fn guarded(token: Option<&str>) -> impl HttpService {
    let policy = AuthPolicy::new(token.map(|token| token.parse().unwrap()), false).unwrap();
    Authenticated::new(policy, AllowedHosts::new([], "ALLOWED_HOSTS"), hello())
}

fn serve(
    token: Option<&str>,
    max_connections: usize,
) -> (ServerHandle, impl AsyncFn() -> Client<TcpStream>) {
    serve_within(
        token,
        Limits {
            max_connections,
            ..limits()
        },
    )
}

fn serve_within(
    token: Option<&str>,
    limits: Limits,
) -> (ServerHandle, impl AsyncFn() -> Client<TcpStream>) {
    let bound = bind(([127, 0, 0, 1], 0).into(), limits).unwrap();
    let addr = bound.local_addr();
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let handle = bound.serve(guarded(token), &tasks, shutdown).unwrap();
    (handle, async move || {
        Client::new(TcpStream::connect(addr).await.unwrap())
    })
}

/// Sends a request with the token.
async fn ask<Io: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<Io>,
    method: &str,
    path: &str,
) -> Reply {
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        ))
        .await;
    client.reply().await
}

// spec: DOOR-18
#[tokio::test]
async fn a_client_with_the_token_is_served_despite_a_flood_without() {
    let (_handle, connect) = serve(Some(TOKEN), 11);
    let mut admitted = vec![connect().await];
    assert_eq!(ask(&mut admitted[0], "GET", "/v2/status").await.status, 200);
    let mut others = Vec::new();
    // More of them than permits of either kind, in each state of waiting.
    for says in [
        "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /v2/live HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "POST /v2/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nslow",
        "GET /v2/status HTTP/1.1\r\nhost: local",
        "",
    ] {
        for _ in 0..SHARE.max_connections {
            let mut other = connect().await;
            other.send(says).await;
            if says.ends_with("\r\n\r\n") {
                other.head().await;
            }
            others.push(other);
        }
        let mut operator = connect().await;
        assert_eq!(
            ask(&mut operator, "GET", "/v2/status").await.status,
            200,
            "{says:?}"
        );
        let mut node = connect().await;
        let heartbeat = ask(&mut node, "POST", "/v2/nodes/gpu-1/heartbeat").await;
        assert_eq!(heartbeat.status, 200, "{says:?}");
        admitted.extend([operator, node]);
        for client in &mut admitted {
            assert_eq!(
                ask(client, "GET", "/v2/status").await.status,
                200,
                "{says:?}"
            );
        }
    }
    // The oldest of the others was displaced.
    others[0].until_closed().await;
}

// spec: DOOR-18
#[tokio::test]
async fn a_crowd_that_connects_before_it_asks_is_served() {
    const CROWD: usize = 5 * SHARE.max_connections;
    let share = UnauthenticatedLimits {
        // Far more than the crowd takes.
        grace: Duration::from_secs(60),
        ..SHARE
    };
    let limits = Limits {
        max_connections: CROWD,
        unauthenticated: Some(share),
        ..Limits::default()
    };
    let (_handle, connect) = serve_within(Some(TOKEN), limits);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(connect().await);
    }
    for client in &mut crowd {
        assert_eq!(ask(client, "GET", "/v2/status").await.status, 200);
    }
}

// spec: DOOR-18
#[tokio::test]
async fn without_a_token_health_checks_do_not_use_authenticated_permits() {
    let (_handle, connect) = serve(None, 3);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect().await;
        client
            .send("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert_eq!(client.reply().await.status, 200);
        clients.push(client);
    }
    let mut checks = Vec::new();
    for _ in 0..3 * SHARE.max_connections {
        let mut check = connect().await;
        assert_eq!(check.get("/health").await.status, 200);
        checks.push(check);
    }
    checks[0].until_closed().await;
    for client in &mut clients {
        client
            .send("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert_eq!(client.reply().await.status, 200);
    }
}

// spec: DOOR-20
#[tokio::test]
async fn one_too_many_with_the_token_is_refused_and_room_is_used_again() {
    let (_handle, connect) = serve(Some(TOKEN), 3);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect().await;
        assert_eq!(ask(&mut client, "GET", "/v2/status").await.status, 200);
        clients.push(client);
    }
    let mut late = connect().await;
    let refusal = ask(&mut late, "GET", "/v2/status").await;
    let (status, code, _) = refusal.error();
    assert_eq!((status, code.as_str()), (503, "TOO_MANY_CONNECTIONS"));
    assert_eq!(refusal.headers["retry-after"], "1");
    // It still gets a response to the health check.
    let mut check = connect().await;
    assert_eq!(check.get("/health").await.status, 200);

    clients.pop();
    // The server frees the permit in its own time; each attempt awaits a condition.
    loop {
        let mut client = connect().await;
        if ask(&mut client, "GET", "/v2/status").await.status == 200 {
            break;
        }
    }
}

// spec: DOOR-19
#[tokio::test(start_paused = true)]
async fn a_connection_with_health_checks_only_ends_after_half_a_minute() {
    let server = Server::start(limits(), guarded(Some(TOKEN)));
    let mut client = server.connect();
    let start = Instant::now();
    loop {
        let reply = client.get("/health").await;
        assert_eq!(reply.status, 200);
        if reply
            .headers
            .get("connection")
            .is_some_and(|value| value == "close")
        {
            break;
        }
        sleep(Duration::from_secs(5)).await;
    }
    assert_elapsed(start, SHARE.life / 2);
    client.until_closed().await;
    // Refused requests do not prolong it, and its idle time is short.
    let mut client = server.connect();
    assert_eq!(client.get("/v2/status").await.status, 401);
    let start = Instant::now();
    client.until_closed().await;
    assert_elapsed(start, SHARE.idle);
}

// spec: DOOR-19
#[tokio::test(start_paused = true)]
async fn the_token_lifts_the_limits_of_a_connection() {
    let server = Server::start(limits(), guarded(Some(TOKEN)));
    let mut client = server.connect();
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(ask(&mut client, "GET", "/v2/status").await.status, 200);
    let idle = Limits::default().idle;
    for _ in 0..3 {
        sleep(idle - Duration::from_millis(10)).await;
        let reply = client.get("/health").await;
        assert_eq!((reply.status, reply.headers.get("connection")), (200, None));
    }
    let start = Instant::now();
    client.until_closed().await;
    assert_elapsed(start, idle);
}
