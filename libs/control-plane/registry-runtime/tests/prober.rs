//! The prober against real sockets on loopback. It runs on the real clock, because a paused one
//! does not wait for sockets; each test awaits a status.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::time::Duration;

use common::{
    Running, TEST_TIMEOUT,
    agent::{Agent, OK},
    beat, id, register_at, start,
};
use pool_registry_types::NodeStatus;
use registry_runtime::{Config, ProberConfig};
use tokio::net::TcpListener;

fn eager() -> Config {
    Config {
        prober: Some(ProberConfig {
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(200),
            at_once: 4,
            ..ProberConfig::default()
        }),
        ..Config::default()
    }
}

fn join(running: &Running, node: &str, address: &str) {
    running.handle.register(register_at(node, address)).unwrap();
    running.handle.heartbeat(&id(node), beat(4)).unwrap();
}

// spec: LIVE-5
#[tokio::test]
async fn a_silent_death_and_a_return() {
    let running = start(eager());
    let agent = Agent::start(Some(OK)).await;
    join(&running, "a", &agent.address);
    let port = agent
        .address
        .rsplit(':')
        .next()
        .unwrap()
        .parse::<u16>()
        .unwrap();
    drop(agent);
    running.until_status("a", NodeStatus::Unreachable).await;
    // A heartbeat does not heal it, an answer does.
    running.handle.heartbeat(&id("a"), beat(4)).unwrap();
    running.until_status("a", NodeStatus::Unreachable).await;
    let _agent = Agent::serve(
        TcpListener::bind(("127.0.0.1", port)).await.unwrap(),
        Some(OK),
    );
    running.until_status("a", NodeStatus::Online).await;
}

#[tokio::test]
async fn any_http_answer_is_a_sign_of_life_and_nothing_else_is() {
    let elsewhere = Agent::start(Some(OK)).await;
    let redirect: &'static str = Box::leak(
        format!(
            "HTTP/1.1 302 Found\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n",
            elsewhere.address
        )
        .into_boxed_str(),
    );
    for (answer, alive) in [
        (Some(OK), true),
        (
            Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"),
            true,
        ),
        (
            Some("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
            true,
        ),
        (Some(redirect), true),
        (Some("SSH-2.0-OpenSSH_9.6\r\n"), false),
        (Some(""), false),
        (None, false),
    ] {
        let running = start(eager());
        let agent = Agent::start(answer).await;
        // It begins as found dead, so that either end is a change to wait for.
        join(&running, "a", &agent.address);
        if alive {
            running
                .handle
                .probed(&id("a"), Some(1), Err("made up".to_owned()));
            running
                .handle
                .probed(&id("a"), Some(1), Err("made up".to_owned()));
        }
        let wanted = if alive {
            NodeStatus::Online
        } else {
            NodeStatus::Unreachable
        };
        running.until_status("a", wanted).await;
        if alive {
            // It was asked, and asked again.
            tokio::time::timeout(TEST_TIMEOUT, async {
                while agent.requests() < 2 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        }
    }
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

#[tokio::test]
async fn hanging_nodes_do_not_keep_others_from_being_probed() {
    let running = start(eager());
    let hanging = Agent::start(None).await;
    for i in 0..8 {
        join(&running, &format!("hanging-{i}"), &hanging.address);
    }
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", refused.local_addr().unwrap());
    drop(refused);
    join(&running, "dead", &address);
    running.until_status("dead", NodeStatus::Unreachable).await;
    for i in 0..8 {
        running
            .until_status(&format!("hanging-{i}"), NodeStatus::Unreachable)
            .await;
    }
}

#[tokio::test]
async fn a_node_that_left_is_probed_no_more_and_one_that_returned_is() {
    let running = start(eager());
    let agent = Agent::start(Some(OK)).await;
    join(&running, "a", &agent.address);
    running.handle.deregister(&id("a"), None).unwrap();
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", refused.local_addr().unwrap());
    drop(refused);
    join(&running, "a", &address);
    running.until_status("a", NodeStatus::Unreachable).await;
}

#[tokio::test]
async fn the_prober_ends_with_the_shutdown() {
    let running = start(eager());
    let hanging = Agent::start(None).await;
    join(&running, "a", &hanging.address);
    running.shutdown.request();
    running.tasks.join(TEST_TIMEOUT).await.unwrap();
}
