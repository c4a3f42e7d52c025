//! The stream on a paused clock.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use http::{Request, header::CONTENT_TYPE};
use serde_json::json;
use tower::ServiceExt as _;

use super::*;

/// A fleet that is looked at, and how often.
#[derive(Clone)]
struct Fleet {
    size: usize,
    looked: Arc<AtomicU64>,
    free: Arc<AtomicU64>,
}

impl Fleet {
    fn sources(&self) -> Sources {
        let (status, nodes) = (self.clone(), self.clone());
        Sources {
            status: Box::new(move || json!({"now": status.looked.fetch_add(1, Ordering::Relaxed)})),
            nodes: Box::new(move |limit| {
                let age = nodes.looked.load(Ordering::Relaxed);
                let free = nodes.free.load(Ordering::Relaxed);
                let nodes: Vec<Value> = (0..nodes.size.min(limit))
                    .map(|node| json!({"node_id": node, AGE: age, "free": free}))
                    .collect();
                json!({"nodes": nodes})
            }),
        }
    }

    fn looked(&self) -> u64 {
        self.looked.load(Ordering::Relaxed)
    }
}

fn start(max_clients: usize) -> (Fleet, Live, Shutdown) {
    start_with(max_clients, 1)
}

fn start_with(max_clients: usize, size: usize) -> (Fleet, Live, Shutdown) {
    let stop = Shutdown::new();
    let config = LiveConfig {
        max_clients,
        ..LiveConfig::DEFAULT
    };
    let live = Live::new(config, stop.clone());
    let fleet = Fleet {
        size,
        looked: Arc::default(),
        free: Arc::default(),
    };
    let tasks = service_runtime::Tasks::new(Shutdown::new());
    tasks.spawn("live", live.clone().run(fleet.sources()));
    (fleet, live, stop)
}

async fn answer(live: &Live) -> Response {
    let request = Request::get("/v2/live").body(Body::empty()).unwrap();
    http_server::unguarded_router(live.clone().routes().into_router())
        .oneshot(request)
        .await
        .unwrap()
}

async fn listen(live: &Live) -> BodyDataStream {
    let response = answer(live).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    response.into_body().into_data_stream()
}

/// The names of the events that come together.
async fn next(stream: &mut BodyDataStream) -> Vec<String> {
    let text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(text.ends_with("\n\n"), "{text:?}");
    text.lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .map(str::to_owned)
        .collect()
}

// spec: DASH-5
#[tokio::test(start_paused = true)]
async fn begins_at_once_and_tells_nodes_only_when_they_changed() {
    let (fleet, live, _stop) = start(2);
    let begin = Instant::now();
    let mut client = listen(&live).await;
    assert_eq!(next(&mut client).await, ["history", "status", "nodes"]);
    assert!(begin.elapsed() < PERIOD);
    // Only the age of the heartbeat has moved.
    assert_eq!(next(&mut client).await, ["status"]);
    fleet.free.store(1, Ordering::Relaxed);
    assert_eq!(next(&mut client).await, ["status", "nodes"]);
    assert_eq!(next(&mut client).await, ["status"]);
    assert_eq!(begin.elapsed().as_secs(), 3);
}

// spec: DASH-6
#[tokio::test(start_paused = true)]
async fn many_who_listen_cost_one_look() {
    let (fleet, live, _stop) = start(8);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(listen(&live).await);
    }
    for client in &mut clients {
        assert_eq!(next(client).await.len(), 3);
    }
    let before = fleet.looked();
    for client in &mut clients {
        assert_eq!(next(client).await, ["status"]);
    }
    assert_eq!(fleet.looked(), before + 1);
    // A slow client misses states, and gets the latest once.
    for _ in 0..100 {
        next(&mut clients[0]).await;
    }
    assert_eq!(next(&mut clients[1]).await, ["status"]);
    let looked = fleet.looked();
    next(&mut clients[1]).await;
    assert_eq!(fleet.looked(), looked + 1);
}

// spec: DASH-6
#[tokio::test(start_paused = true)]
async fn one_client_too_many_is_refused_until_another_leaves() {
    let (_fleet, live, _stop) = start(1);
    let first = listen(&live).await;
    let refused = answer(&live).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    drop(first);
    assert_eq!(answer(&live).await.status(), 200);
}

// spec: DASH-30
#[tokio::test(start_paused = true)]
async fn no_more_nodes_are_sent_than_a_person_looks_at() {
    let (_fleet, live, _stop) = start_with(1, 10_000);
    let mut client = listen(&live).await;
    let text = client.next().await.unwrap().unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let nodes = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let nodes: Value = serde_json::from_str(nodes).unwrap();
    assert_eq!(
        nodes["nodes"].as_array().unwrap().len(),
        LiveConfig::DEFAULT.max_nodes
    );
}

// spec: DASH-7
#[tokio::test(start_paused = true)]
async fn without_clients_it_reads_only_for_the_charts() {
    let (fleet, live, _stop) = start(1);
    tokio::time::sleep(PERIOD * PERIODS_PER_SAMPLE * 10).await;
    assert_eq!(fleet.looked(), 10);
    let mut client = listen(&live).await;
    let text = client.next().await.unwrap().unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let history = text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap();
    let history: Value = serde_json::from_str(history).unwrap();
    assert_eq!(history["rows"].as_array().unwrap().len(), 10);
}

// spec: DASH-8
#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_stream_of_every_client() {
    let (_fleet, live, stop) = start(1);
    let mut client = listen(&live).await;
    next(&mut client).await;
    stop.request();
    assert!(client.next().await.is_none());
}
