//! Log lines about connections name the peer.

use std::{future::pending, time::Duration};

use captured_log::Log;
use http_server::Limits;
use tokio::time::sleep;
use tracing::Level;

use crate::support::{Answering, PEER, Server};

const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
/// The same with a stray line break, after which the end is noticed by other means.
const GET_AND_MORE: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n\r\n";

// spec: DOOR-17
#[tokio::test(start_paused = true)]
async fn each_end_of_a_connection_names_its_peer() {
    let (log, _guard) = Log::json_of_this_thread(Level::DEBUG);
    let server = Server::start(Limits::default(), Answering(async |_| pending().await));
    let mut slow = server.connect();
    slow.send("GET / HT").await;
    slow.until_closed().await;
    for request in [GET, GET_AND_MORE] {
        let mut leaving = server.connect();
        leaving.send(request).await;
        // The paused clock advances only when all tasks wait, so the server has read everything.
        sleep(Duration::from_millis(1)).await;
        drop(leaving);
        sleep(Duration::from_millis(1)).await;
    }
    let mut waiting = server.connect();
    waiting.send(GET).await;
    sleep(Duration::from_millis(1)).await;
    server.shutdown.request();
    assert_eq!(server.handle.close(Duration::ZERO).await, 1);

    let lines = log.json_lines(&["http_server"]);
    let said: Vec<_> = lines
        .iter()
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        [
            "a connection made no progress",
            "a connection broke off",
            "a client left before its response ended",
            "a connection was dropped at shutdown",
        ]
    );
    for line in lines {
        assert_eq!(
            (&line["level"], &line["peer"]),
            (&"DEBUG".into(), &PEER.to_string().into())
        );
    }
}
