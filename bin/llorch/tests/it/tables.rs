//! What is printed where unreachable looks: plain tables, and JSON as the server said it.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::support::{Answer, Finished, Server, json as answer, llorch, run};

fn nodes() -> Value {
    json!({"nodes":[
        {"node_id":"gpu-1","machine_id":"m","address":"http://10.0.0.1:9200","status":"online","last_heartbeat_age_ms":967,
         "incarnation":1,"version":"0.1.0","capabilities":{"gpus":[],"cpu_cores":2,"ram_total_bytes":1},"later":"field",
         "pools":[{"pool_id":"pool-0","ready":true,"draining":false,"slots_free":3,"slots_total":4,"vram_free_bytes":0,
                   "engine":"llamacpp","models_available":["tiny"],"quarantine":null}]},
        {"node_id":"gpu-2","machine_id":"m","address":"http://10.0.0.2:9200","status":"offline","status_reason":"\u{1b}[2Jsilent",
         "last_heartbeat_age_ms":45_000,"incarnation":null,"version":null,"pools":[]},
    ]})
}

// spec: CLI-2
#[test]
fn tables_are_plain_and_json_is_what_the_server_said() {
    let server = Server::json(200, &nodes());
    let ran = run(&server.url(), &["nodes"]);
    assert_eq!(
        ran.out,
        "NODE   STATUS   FREE  SLOTS  POOLS  GPUS   HEARD  VERSION  ADDRESS\n\
         gpu-1  online      3      4      1     0  967 ms  0.1.0    http://10.0.0.1:9200\n\
         gpu-2  offline     0      0      0     0  45.0 s  -        http://10.0.0.2:9200\n"
    );
    let ran = run(&server.url(), &["nodes", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), nodes());
    assert_eq!(ran.out.lines().count(), 1);
}

/// A fleet of so many nodes, page by page. It tells which queries it was asked.
fn fleet(size: usize) -> Server {
    Server::start(Box::new(move |received| {
        let path = received.line.split(' ').nth(1).unwrap();
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(has, _)| *has == name).map(|(_, value)| value)
        };
        let limit: usize = value("limit").unwrap().parse().unwrap();
        let begin = value("after").map_or(0, |after| after[5..].parse::<usize>().unwrap() + 1);
        let end = size.min(begin + limit);
        let nodes: Vec<Value> = (begin..end)
            .map(|n| {
                json!({"node_id":format!("node-{n:04}"),"address":"http://h:1","status":"online","last_heartbeat_age_ms":9,
                       "pools":[]})
            })
            .collect();
        let mut page = json!({"nodes": nodes});
        if end < size {
            page["next_after"] = json!(format!("node-{:04}", end - 1));
        }
        Answer::Text(answer(200, &page))
    }))
}

// spec: CLI-30
#[test]
fn a_large_fleet_is_listed_page_by_page() {
    for (arguments, listed, asked, more) in [
        (
            vec!["nodes"],
            2500,
            vec![
                "limit=1000",
                "limit=1000&after=node-0999",
                "limit=1000&after=node-1999",
            ],
            false,
        ),
        (
            vec!["nodes", "-n", "2500"],
            2500,
            vec![
                "limit=1000",
                "limit=1000&after=node-0999",
                "limit=500&after=node-1999",
            ],
            false,
        ),
        (
            vec![
                "nodes", "--limit", "1001", "--status", "online", "--model", "org/a b",
            ],
            1001,
            vec![
                "limit=1000&status=online&model=org%2Fa%20b",
                "limit=1&status=online&model=org%2Fa%20b&after=node-0999",
            ],
            true,
        ),
    ] {
        let server = fleet(2500);
        let ran = run(&server.url(), &arguments);
        assert_eq!(ran.out.lines().count(), 1 + listed, "{arguments:?}");
        assert_eq!(
            ran.err.contains("there are more nodes"),
            more,
            "{arguments:?}: {}",
            ran.err
        );
        for query in asked {
            assert_eq!(
                server.received().line,
                format!("GET /v2/nodes?{query} HTTP/1.1")
            );
        }
        let json = [&arguments[..], &["--json"]].concat();
        let said: Value = serde_json::from_str(&run(&server.url(), &json).out).unwrap();
        assert_eq!(
            said["nodes"].as_array().unwrap().len(),
            listed,
            "{arguments:?}"
        );
        assert_eq!(said.get("next_after").is_some(), more, "{arguments:?}");
    }
}

// spec: CLI-30
#[test]
fn a_server_that_turns_in_circles_is_left() {
    let page = json!({"nodes": [], "next_after": "a"});
    let server = Server::json(200, &page);
    assert_eq!(
        run(&server.url(), &["nodes", "--status", "offline"]).out,
        "no such node\n"
    );
}

// spec: CLI-30
#[test]
fn one_node_takes_no_filter() {
    for filter in [["--status", "online"], ["--model", "m"], ["--limit", "1"]] {
        let ran = run(
            "http://127.0.0.1:1",
            &[&["nodes", "gpu-1"], &filter[..]].concat(),
        );
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

// spec: CLI-31
#[test]
fn a_replica_is_drained_and_waited_for() {
    let node = |draining: bool, free: u32| {
        answer(
            200,
            &json!({"node_id":"gpu-1","address":"http://h:1","status":"online","last_heartbeat_age_ms":9000,
                "pools":[{"pool_id":"p","ready":true,"draining":false,"slots_free":free,"slots_total":4,"replicas":[
                    {"replica_id":"r0","ready":true,"slots_free":free,"slots_total":4,"draining":draining}]}]}),
        )
    };
    let mut states = vec![node(false, 2), node(true, 2), node(true, 3), node(true, 4)].into_iter();
    let server = Server::start(Box::new(move |received| {
        Answer::Text(if received.line.starts_with("POST") {
            answer(200, &json!({"success": true, "requests_running": 2}))
        } else {
            states.next().unwrap()
        })
    }));
    let ran = run(&server.url(), &["drain", "gpu-1/p/r0", "--wait"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("gpu-1/p/r0 is empty after "), "{ran:?}");
    let told: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        told,
        [
            "draining gpu-1/p/r0: waiting for the node's next report",
            "draining gpu-1/p/r0: 2 requests running",
            "draining gpu-1/p/r0: 1 request running",
        ]
    );
    assert_eq!(
        server.received().line,
        "POST /v2/pools/gpu-1/p/replicas/r0/drain HTTP/1.1"
    );
    let server = Server::json(200, &json!({"success": true}));
    let ran = run(&server.url(), &["undrain", "gpu-1/p/r0"]);
    assert_eq!(ran.out, "gpu-1/p/r0 accepts requests again\n");
    assert_eq!(
        server.received().line,
        "POST /v2/pools/gpu-1/p/replicas/r0/undrain HTTP/1.1"
    );
}

// spec: CLI-31
#[test]
fn replicas_of_a_node_are_shown_where_there_is_something_to_see() {
    let replica = |id: &str, ready: bool| {
        json!({"replica_id":id,"ready":ready,"slots_free":1,
     "slots_total":2,"requests_running":1,"last_error":(!ready).then_some("it crashed")})
    };
    let shown = |replicas: Value| {
        let node = json!({"node_id":"gpu-1","address":"http://h:1","status":"online",
         "last_heartbeat_age_ms":9,
            "pools":[{"pool_id":"chat","ready":true,"draining":false,"slots_free":1,"slots_total":2,"replicas":replicas}]});
        run(&Server::json(200, &node).url(), &["nodes", "gpu-1"]).out
    };
    assert!(!shown(json!([replica("r0", true)])).contains("REPLICA"));
    let two = shown(json!([replica("r0", true), replica("r1", false)]));
    assert!(
        two.ends_with(
            "\n\nPOOL  REPLICA  STATE      RUNNING  FREE  SLOTS  WHY\n\
             chat  r0       ready            1     1      2\n\
             chat  r1       not ready        1     1      2  it crashed\n"
        ),
        "{two}"
    );
}

// spec: CLI-2
#[test]
fn the_status_is_told_at_a_glance() {
    let server = Server::json(
        200,
        &json!({"version":"0.1.0","profile":"cloud","uptime_ms":90_000,"now":"2026-01-01T00:00:00Z",
            "nodes":{"online":2,"draining":1,"unreachable":0,"offline":0},"slots":{"total":8,"free":5},
            "models":[{"model":"tiny","endpoints":2,"slots_total":8,"slots_free":5,"running":3,"queued_interactive":1,"queued_batch":0}],
            "traffic":{"window_ms":10000,"requests_per_s":1.5,"errors_per_s":0.1,"tokens_per_s":30.5,
                       "first_token_ms":{"p50":1.5,"p90":20.0,"p99":300.0},
                       "inter_token_ms":{"p50":null,"p90":null,"p99":null},"queue_ms":{"p50":0.0,"p90":0.0,"p99":0.0}},
            "recent_errors":[{"at":"2026-01-01T10:11:12.345Z","request_id":"r","code":"QUEUE_FULL",
                              "message":"line\nbreak","model":"tiny","node_id":null}]}),
    );
    let ran = run(&server.url(), &["status"]);
    let expected = format!(
        "llorch 0.1.0 (cloud) at {}, up 1 min 30 s
nodes    2 online, 1 draining
slots    5 of 8 free
traffic  1.5 requests/s, 0.1 errors/s, 30.5 tokens/s

TIME               P50     P90     P99
first token     1.5 ms   20 ms  300 ms
between tokens       -       -       -
in queue        0.0 ms  0.0 ms  0.0 ms

MODEL  ENDPOINTS  FREE  SLOTS  RUNNING  QUEUED  BATCH
tiny           2     5      8        3       1      0

AT        ERROR       MODEL  NODE  MESSAGE
10:11:12  QUEUE_FULL  tiny   -     line break
",
        server.url()
    );
    assert_eq!((ran.out, ran.code), (expected, Some(0)));
}

// spec: CLI-33
#[test]
fn a_node_is_forgotten() {
    for (status, warned) in [("offline", false), ("unreachable", true), ("online", true)] {
        let server = Server::start(Box::new(move |received| {
            Answer::Text(answer(
                200,
                &if received.line.starts_with("DELETE") {
                    json!({"success": true})
                } else {
                    json!({"node_id":"gpu-1","address":"http://h:1","status":status,
                           "last_heartbeat_age_ms":9,"pools":[]})
                },
            ))
        }));
        let ran = run(&server.url(), &["--json", "nodes", "forget", "gpu-1"]);
        assert_eq!(
            serde_json::from_str::<Value>(&ran.out).unwrap(),
            json!({"node_id": "gpu-1", "forgotten": true})
        );
        assert_eq!(
            ran.err.contains("registers again"),
            warned,
            "{status}: {}",
            ran.err
        );
        assert_eq!(server.received().line, "GET /v2/nodes/gpu-1 HTTP/1.1");
        assert_eq!(server.received().line, "DELETE /v2/nodes/gpu-1 HTTP/1.1");
    }
    let ran = run("http://127.0.0.1:1", &["nodes", "forget", "a/b"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

// spec: CLI-2
#[test]
fn gpus_are_shown_with_what_is_known_of_them() {
    let gpus = json!({"gpus":[
        {"node_id":"gpu-1","device_id":0,"name":"RTX 3090","vram_total_bytes":25_769_803_776_u64,
         "vram_used_bytes":6_442_450_944_u64,
         "vram_free_bytes":19_327_352_832_u64,"utilization_percent":93,"temperature_celsius":61,"power_watts":310},
        {"node_id":"gpu-2","device_id":1,"name":"RTX 3090","problem":"it does not answer any \
         more"}]});
    let server = Server::json(200, &gpus);
    assert_eq!(
        run(&server.url(), &["gpus"]).out,
        "NODE   GPU  NAME      VRAM USED      VRAM  LOAD   TEMP  POWER  WHY\n\
         gpu-1    0  RTX 3090    6.0 GiB  24.0 GiB  93 %  61 °C  310 W\n\
         gpu-2    1  RTX 3090          -         -     -      -      -  it does not answer any \
          more\n"
    );
    let server = Server::json(200, &gpus);
    let ran = run(&server.url(), &["gpus", "--node", "gpu-2", "--json"]);
    let shown: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(shown, json!({"gpus": [gpus["gpus"][1]]}));
    let server = Server::json(200, &json!({"gpus": []}));
    assert_eq!(run(&server.url(), &["gpus"]).out, "no GPU is known\n");
}

// spec: CLI-13
#[test]
fn a_node_is_shown_with_its_gpus_as_they_are() {
    let mut node = json!({"node_id":"gpu-1","address":"http://h:1","status":"online",
     "last_heartbeat_age_ms":9,"version":"0.1.0",
        "capabilities":{"gpus":[{"device_id":0,"name":"RTX 3090",
         "vram_total_bytes":25_769_803_776_u64}],"cpu_cores":2,"ram_total_bytes":3},
        "gpus":[{"device_id":0,"name":"RTX 3090","vram_total_bytes":25_769_803_776_u64,
         "vram_used_bytes":6_442_450_944_u64,
                 "utilization_percent":93,"temperature_celsius":61,"power_watts":310}],
        "pools":[{"pool_id":"chat","ready":true,"draining":false,"slots_free":3,"slots_total":4}]});
    let shown = |node: &Value| run(&Server::json(200, node).url(), &["nodes", "gpu-1"]).out;
    assert_eq!(
        shown(&node),
        "NODE   STATUS  FREE  SLOTS  POOLS  GPUS   HEARD  VERSION  ADDRESS\n\
         gpu-1  online     3      4      1     1  9.0 ms  0.1.0    http://h:1\n\n\
         GPU  NAME      VRAM USED      VRAM  LOAD   TEMP  POWER  WHY\n  \
         0  RTX 3090    6.0 GiB  24.0 GiB  93 %  61 °C  310 W\n\n\
         POOL  STATE  RUNNING  FREE  SLOTS  VRAM FREE  ENGINE  MODELS  WHY\n\
         chat  ready        -     3      4          -  -       -\n"
    );
    // Until it has reported, or when it is of a version that does not, what it has is known and no
    // more.
    node["gpus"] = Value::Null;
    let shown = shown(&node);
    assert!(
        shown.contains("\n  0  RTX 3090          -  24.0 GiB     -     -      -\n"),
        "{shown}"
    );
}

// spec: CLI-2
#[test]
fn a_placement_is_explained() {
    let server = Server::json(
        200,
        &json!({"strategy":"least-loaded","waiting":1,"candidates":[
            {"node_id":"gpu-1","pool_id":"p","chosen":true,"score":[0,2],"slots_used":2,"slots_total":4,"vram_free_bytes":0},
            {"node_id":"gpu-2","pool_id":"p","chosen":false,"skipped":"draining","score":[0,0],
             "score_in_words":"24 GiB of VRAM free, 0 taken","slots_used":0,"slots_total":4,
             "vram_free_bytes":0}]}),
    );
    let ran = run(
        &server.url(),
        &["explain", "tiny", "--pin-node", "gpu-1", "--session", "s"],
    );
    assert_eq!(
        ran.out,
        "to gpu-1/p (least-loaded, 1 request queued)\n\n\
         NODE   POOL  USED  SLOTS  VRAM FREE  SCORE                         VERDICT\n\
         gpu-1  p        2      4          -  0 2                           chosen\n\
         gpu-2  p        0      4          -  24 GiB of VRAM free, 0 taken  draining\n"
    );
    let asked: Value = serde_json::from_str(&server.received().body).unwrap();
    assert_eq!(
        asked,
        json!({"model":"tiny","session_id":"s","pin_node":"gpu-1"})
    );
}

// spec: CLI-7
#[test]
fn a_drain_is_waited_for_until_a_report_after_it_says_empty() {
    let node = |heard: u64, drained: u64, busy: u32, ours: Option<u64>| {
        let mut drain = json!({"for_ms":drained,"deadline_ms":null,"slots_busy":busy});
        if let Some(ours) = ours {
            drain["requests_running"] = ours.into();
        }
        answer(
            200,
            &json!({"node_id":"gpu-1","address":"http://h:1","status":"draining","last_heartbeat_age_ms":heard,"drain":drain,"pools":[]}),
        )
    };
    let mut states = vec![
        node(9000, 10, 0, None),
        node(0, 500, 2, None),
        node(100, 900, 1, None),
        // The count of the control plane moves between two reports of the node.
        node(5000, 1000, 0, Some(2)),
        node(5000, 1000, 0, Some(1)),
        node(5000, 1000, 2, Some(0)),
        node(0, 1200, 0, Some(0)),
    ]
    .into_iter();
    let server = Server::start(Box::new(move |received| {
        Answer::Text(if received.line.starts_with("POST") {
            answer(200, &json!({"success": true}))
        } else {
            states.next().unwrap()
        })
    }));
    let ran = run(
        &server.url(),
        &["drain", "gpu-1", "--wait", "--deadline", "5m"],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("gpu-1 is empty after "), "{ran:?}");
    let told: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        told,
        [
            "draining gpu-1: waiting for the node's next report",
            "draining gpu-1: 2 requests running",
            "draining gpu-1: 1 request running",
            "draining gpu-1: 2 requests running",
            "draining gpu-1: 1 request running",
            "draining gpu-1: waiting for the node's next report",
        ]
    );
    let asked = server.received();
    assert_eq!(asked.line, "POST /v2/nodes/gpu-1/drain HTTP/1.1");
    assert_eq!(asked.body, r#"{"deadline_ms":300000}"#);
}

// spec: CLI-7
#[test]
fn a_drain_says_how_many_requests_run_where_it_is_told() {
    for (answer, told) in [
        (
            json!({"success":true,"requests_running":2}),
            "2 requests running now",
        ),
        (
            json!({"success":true,"requests_running":0}),
            "running ones finish",
        ),
        (json!({"success":true}), "running ones finish"),
    ] {
        let server = Server::json(200, &answer);
        let ran = run(&server.url(), &["drain", "gpu-1"]);
        assert_eq!(
            ran.out,
            format!("gpu-1 accepts no new requests; {told} (--wait waits for them)\n")
        );
        let ran = run(&server.url(), &["drain", "gpu-1", "--json"]);
        let said: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(said.get("requests_running"), answer.get("requests_running"));
    }
}

// spec: CLI-7
#[test]
fn a_deadline_that_passes_first_is_an_exit_of_its_own() {
    let node = json!({"node_id":"gpu-1","address":"http://h:1","status":"draining",
     "last_heartbeat_age_ms":0,
        "pools":[{"pool_id":"p","ready":true,"draining":true,"slots_free":1,"slots_total":4,
                  "drain":{"for_ms":9000,"deadline_ms":0,"slots_busy":3}}]});
    let server = Server::json(200, &node);
    let ran = run(
        &server.url(),
        &["drain", "gpu-1/p", "--wait", "--deadline", "1s"],
    );
    assert_eq!(ran.code, Some(7), "{ran:?}");
    assert!(
        ran.err.contains("3 requests still run on gpu-1/p"),
        "{ran:?}"
    );
    assert_eq!(
        server.received().line,
        "POST /v2/pools/gpu-1/p/drain HTTP/1.1"
    );
}

// spec: CLI-3
#[test]
fn a_generated_token_is_good_and_never_the_same() {
    let generate = || -> Finished { llorch("", &["token", "generate"]).output().unwrap().into() };
    let (first, second) = (generate(), generate());
    assert_eq!((first.code, first.err.as_str()), (Some(0), ""));
    assert!(
        first
            .out
            .trim()
            .parse::<llorch_client::AccessToken>()
            .is_ok()
    );
    assert_ne!(first.out, second.out);
}

// spec: CLI-71
#[test]
fn names_are_one_a_line_as_other_commands_take_them() {
    let pools = json!({"pools":[
        {"node_id":"gpu-1","pool_id":"chat","replica_id":"r0","ready":true,"draining":false,
         "slots_free":3,"slots_total":4},
        {"node_id":"gpu-2","pool_id":"chat","ready":true,"draining":false,"slots_free":3,
         "slots_total":4},
    ]});
    let models = json!({"models":[
        {"model":"org/tiny","available":true,"endpoints":1,"endpoints_ready":1,"slots_free":1,
         "slots_total":1,"nodes":["gpu-1"]},
    ]});
    let cases: [(&Value, &[&str], &str); 4] = [
        (&nodes(), &["nodes", "-o", "name"], "gpu-1\ngpu-2\n"),
        (
            &pools,
            &["pools", "--output", "name"],
            "gpu-1/chat/r0\ngpu-2/chat\n",
        ),
        (&models, &["models", "-oname"], "org/tiny\n"),
        (&json!({"nodes":[]}), &["nodes", "-o", "name"], ""),
    ];
    for (says, arguments, expected) in cases {
        let server = Server::json(200, says);
        let ran = run(&server.url(), arguments);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(0), expected),
            "{arguments:?}"
        );
    }
    let server = Server::json(200, &nodes());
    for (arguments, reason) in [
        (["status", "-o", "name"], "-o name is for lists"),
        (["nodes", "-o", "yaml"], "json"),
    ] {
        let ran = run(&server.url(), &arguments);
        assert!(
            ran.code == Some(2) && ran.err.contains(reason),
            "{arguments:?}: {}",
            ran.err
        );
    }
    let ran = run(&server.url(), &["nodes", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), nodes());
}

// spec: CLI-72
#[test]
fn a_watched_list_survives_the_loss_of_the_server() {
    let mut answers = 0;
    let server = Server::start(Box::new(move |_| {
        answers += 1;
        Answer::Text(match answers {
            // More than the client's own attempts.
            2..=6 => answer(
                500,
                &json!({"error":{"code":"INTERNAL","message":"stumbled"}}),
            ),
            _ => answer(200, &nodes()),
        })
    }));
    let mut child = llorch(&server.url(), &["nodes", "-o", "json", "--watch=100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), nodes());
    }
    // The reader leaves.
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success() && said.contains("stumbled"),
        "{said}"
    );
    assert!(said.contains("tried again in 100 ms"), "{said}");
}

// spec: CLI-72
#[test]
fn a_watched_list_that_fails_at_first_ends() {
    let says = json!({"error":{"code":"UNAUTHORIZED","message":"no"}});
    let server = Server::json(401, &says);
    assert_eq!(run(&server.url(), &["pools", "-w"]).code, Some(4));
}

// spec: CLI-73
#[test]
fn an_unknown_model_has_no_place_and_a_code_of_its_own() {
    let says = json!({"strategy":"least-loaded","waiting":0,"candidates":[],
        "no_place":"no endpoint has the model"});
    let server = Server::json(200, &says);
    for arguments in [&["explain", "nope"][..], &["explain", "nope", "--json"]] {
        let ran = run(&server.url(), arguments);
        assert!(
            ran.code == Some(5) && ran.out.contains("no endpoint has the model"),
            "{}",
            ran.out
        );
    }
}
