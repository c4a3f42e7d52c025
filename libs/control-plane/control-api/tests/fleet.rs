//! Fleets that are larger than one answer, and pools of several replicas.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use std::{collections::BTreeSet, sync::Arc};

use bearer_auth::{Identity, KeyLimits, Scope, UncheckedKeyLimits};
use common::{Api, FakeDataPath, call, code, message, pool};
use control_api::QuarantineView;
use http::Method;
use http_server::Principal;
use serde_json::{Value, json};

fn names(answer: &Value) -> Vec<&str> {
    let nodes = answer["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node["node_id"].as_str().unwrap())
        .collect()
}

/// `a`, `b`, … of which `b` and `d` drain and only `c` serves the model `large`.
async fn five() -> Api {
    let api = Api::cloud();
    for node in ["a", "b", "c", "d", "e"] {
        api.join(node).await;
    }
    for node in ["b", "d"] {
        api.post(&format!("/v2/nodes/{node}/drain"), json!({}))
            .await;
    }
    let mut large = pool();
    large["models_available"] = json!(["org/large model"]);
    api.report("c", json!([large])).await;
    api
}

// spec: SEE-30
#[tokio::test(start_paused = true)]
async fn nodes_come_page_by_page() {
    let api = five().await;
    let all = api.get("/v2/nodes").await;
    assert_eq!(names(&all), ["a", "b", "c", "d", "e"]);
    assert_eq!(all.get("next_after"), None);
    let mut path = "/v2/nodes?limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = api.get(&path).await;
        pages.push(names(&page).join(""));
        let Some(next) = page.get("next_after") else {
            break;
        };
        path = format!("/v2/nodes?limit=2&after={}", next.as_str().unwrap());
    }
    assert_eq!(pages, ["ab", "cd", "e"]);
    // A page that ends with the last node is the last one, and one may begin behind a node that is
    // not there.
    for (query, expected, more) in [
        ("limit=5", "abcde", false),
        ("limit=4", "abcd", true),
        ("after=bb&limit=1", "c", true),
        ("after=e", "", false),
    ] {
        let page = api.get(&format!("/v2/nodes?{query}")).await;
        let found = (names(&page).join(""), page.get("next_after").is_some());
        assert_eq!(found, (expected.to_owned(), more), "{query}");
    }
}

// spec: SEE-31
#[tokio::test(start_paused = true)]
async fn nodes_are_filtered_by_status_and_model() {
    let api = five().await;
    for (query, expected) in [
        ("status=draining", "bd"),
        ("status=online", "ace"),
        ("status=offline", ""),
        ("model=org%2Flarge+model", "c"),
        ("model=tiny&status=online", "ae"),
        ("model=unheard-of", ""),
    ] {
        let page = api.get(&format!("/v2/nodes?{query}")).await;
        assert_eq!(names(&page).join(""), expected, "{query}");
    }
    // `next_after` is of the nodes that pass.
    let page = api.get("/v2/nodes?status=draining&limit=1").await;
    assert_eq!(page["next_after"], "b");
    let page = api.get("/v2/nodes?status=draining&limit=1&after=b").await;
    assert_eq!(
        (names(&page).join(""), page.get("next_after")),
        ("d".to_owned(), None)
    );
}

// spec: SEE-30, SEE-31
#[tokio::test(start_paused = true)]
async fn a_wrong_page_is_refused() {
    let api = Api::cloud();
    for (path, parameter) in [
        ("/v2/nodes?limit=0", "limit"),
        ("/v2/nodes?after=-", "after"),
        ("/v2/nodes?status=up", "status"),
        ("/v2/nodes?model=", "model"),
        ("/v2/pools?limit=1001", "limit"),
        ("/v2/gpus?after=%20", "after"),
    ] {
        let (status, answer) = api.call(Method::GET, path, "").await;
        assert_eq!((status, code(&answer)), (400, "INVALID_REQUEST"), "{path}");
        assert!(
            message(&answer).starts_with(&format!("{parameter}: must be ")),
            "{answer}"
        );
    }
}

// spec: SEE-30
#[tokio::test(start_paused = true)]
async fn pools_and_gpus_come_by_node() {
    let api = Api::cloud();
    for node in ["a", "b", "c"] {
        api.join(node).await;
        let beat = json!({"timestamp": "t", "pools": [pool()], "gpus": [{"device_id": 0,
            "name": "x"}, {"device_id": 1, "name": "x"}]});
        api.post(&format!("/v2/nodes/{node}/heartbeat"), beat).await;
    }
    for (path, list, of_each) in [("/v2/pools", "pools", 1), ("/v2/gpus", "gpus", 2)] {
        assert_eq!(api.get(path).await.get("next_after"), None, "{path}");
        let first = api.get(&format!("{path}?limit=2")).await;
        assert_eq!(first[list].as_array().unwrap().len(), 2 * of_each, "{path}");
        assert_eq!(first["next_after"], "b");
        let last = api.get(&format!("{path}?limit=2&after=b")).await;
        assert_eq!(last[list].as_array().unwrap().len(), of_each, "{path}");
        assert_eq!(
            (&last[list][0]["node_id"], last.get("next_after")),
            (&json!("c"), None)
        );
    }
}

// spec: SEE-30
#[tokio::test(start_paused = true)]
async fn what_shows_the_whole_fleet_shows_more_than_one_page_of_it() {
    let api = Api::cloud();
    for number in 0..600 {
        api.join(&format!("node-{number:03}")).await;
    }
    let catalog = api.get("/v2/catalog/availability").await;
    assert_eq!(catalog["models"][0]["endpoints"], 600);
    let nodes: BTreeSet<&str> = catalog["models"][0]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node.as_str().unwrap())
        .collect();
    assert_eq!(nodes.len(), 600);
    assert_eq!(
        api.get("/v2/sd/prometheus").await.as_array().unwrap().len(),
        600
    );
}

// spec: SEE-32
#[tokio::test(start_paused = true)]
async fn replicas_are_endpoints_of_their_own() {
    let api = Api::cloud();
    api.join_with_replicas("a").await;
    let data_path = FakeDataPath::default()
        .with_running(|key| {
            let replica = key.replica.as_ref()?;
            Some(u64::from(replica.as_str() == "r0") + 1)
        })
        .with_quarantine(|key| {
            (key.replica.as_ref()?.as_str() == "r1").then(|| QuarantineView {
                reason: "connection refused".to_owned(),
                retry_in_ms: 1000,
            })
        });
    let router = api.rewired(|api| api.with_data_path(Arc::new(data_path)));
    let get = async |path: &str| call(&router, Method::GET, path, "").await.1;
    let quarantine = json!({"reason": "connection refused", "retry_in_ms": 1000});
    let pools = get("/v2/pools").await;
    let shown: Vec<_> = pools["pools"].as_array().unwrap().iter().collect();
    assert_eq!(
        shown,
        [
            &json!({"node_id": "a", "pool_id": "pool-0", "replica_id": "r0", "ready": true,
                "draining": false, "slots_free": 3,
                    "slots_total": 4, "requests_running": 2, "vram_free_bytes": 0,
                        "engine": "llamacpp",
                    "models_available": ["tiny"], "quarantine": null}),
            &json!({"node_id": "a", "pool_id": "pool-0", "replica_id": "r1", "ready": false,
                "draining": false,
                    "unavailable": "connection refused", "slots_free": 0, "slots_total": 2,
                        "requests_running": 1,
                    "vram_free_bytes": 0, "engine": "llamacpp", "models_available": ["large"],
                        "quarantine": quarantine}),
        ]
    );
    let node = get("/v2/nodes/a").await;
    let pool = &node["pools"][0];
    // The pool's figure is the sum; it is in quarantine when all of it is.
    assert_eq!(
        (&pool["requests_running"], &pool["quarantine"]),
        (&json!(3), &Value::Null)
    );
    let replicas = &pool["replicas"];
    assert_eq!(
        (
            &replicas[0]["requests_running"],
            replicas[0].get("quarantine")
        ),
        (&json!(2), None)
    );
    assert_eq!(
        (&replicas[1]["requests_running"], &replicas[1]["quarantine"]),
        (&json!(1), &quarantine)
    );
    assert_eq!(replicas[1]["last_error"], "connection refused");
    let catalog = get("/v2/catalog/availability").await;
    assert_eq!(
        catalog,
        json!({"models": [
            {"model": "large", "available": false, "endpoints": 1, "endpoints_ready": 0,
                "slots_free": 0, "slots_total": 0, "nodes": ["a"]},
            {"model": "tiny", "available": true, "endpoints": 1, "endpoints_ready": 1,
                "slots_free": 3, "slots_total": 4, "nodes": ["a"]},
        ]})
    );
}

// spec: KEY-6
#[tokio::test(start_paused = true)]
async fn the_catalog_has_the_models_that_the_key_may_use() {
    let api = Api::cloud();
    api.join_with_replicas("a").await;
    for (models, expected) in [
        (Some(vec!["tiny", "none"]), vec!["tiny"]),
        (Some(vec!["none"]), vec![]),
        (None, vec!["large", "tiny"]),
    ] {
        let names = models.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
        let limits = UncheckedKeyLimits {
            models: names,
            ..UncheckedKeyLimits::default()
        };
        let router = api.seen_by(Principal::Key(Arc::new(Identity {
            id: "k1".into(),
            name: "shop".into(),
            scopes: Scope::Client.into(),
            node: None,
            expires_at: None,
            limits: KeyLimits::try_from(limits).unwrap(),
        })));
        let (_, catalog) = call(&router, Method::GET, "/v2/catalog/availability", "").await;
        let shown = catalog["models"].as_array().unwrap().iter();
        let shown: Vec<_> = shown.map(|row| row["model"].as_str().unwrap()).collect();
        assert_eq!(shown, expected);
    }
}

// spec: SEE-32
#[tokio::test(start_paused = true)]
async fn a_replica_that_drains_is_shown_so_and_the_others_are_not() {
    let api = Api::cloud();
    api.join_with_replicas("a").await;
    let mut pool = common::pool_of_two();
    pool["replicas"][0]["draining"] = json!(true);
    pool["replicas"][1] =
        json!({"replica_id": "r1", "ready": true, "slots_free": 2, "slots_total": 2});
    api.report("a", json!([pool])).await;
    let pools = api.get("/v2/pools").await;
    let states = |index: usize| {
        let one = &pools["pools"][index];
        (one["ready"].clone(), one["draining"].clone())
    };
    assert_eq!(states(0), (json!(false), json!(true)));
    assert_eq!(states(1), (json!(true), json!(false)));
    // The other replica names its models, so this one does not inherit those of the pool.
    assert_eq!(pools["pools"][0]["models_available"], json!(["tiny"]));
    assert_eq!(pools["pools"][1].get("models_available"), None);
    // A drain of the node is one of each.
    api.post("/v2/nodes/a/drain", json!({})).await;
    let pools = api.get("/v2/pools").await;
    assert_eq!(pools["pools"][1]["draining"], true);
}
