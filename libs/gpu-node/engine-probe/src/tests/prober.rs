//! Tests of the prober with a registry and engines.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pool_registry::{PoolRegistry, Trust};
use pool_registry_types::{HttpUrl, PoolStatus};
use service_runtime::Shutdown;

use super::stand_in::{Reply, StandIn, closed_port};
use crate::{MAX_CONCURRENT, Prober, Timing};

/// Fast enough for tests, with more time than a stand-in needs to answer.
const TIMING: Timing = Timing {
    readiness: Duration::from_millis(5),
    load: Duration::from_millis(20),
    models: Duration::from_millis(50),
    timeout: Duration::from_secs(60),
};

fn announce(registry: &PoolRegistry, replica: &str, url: &HttpUrl, models: &str) {
    let text = format!(
        r#"{{"pool_id":"p","replica_id":"{replica}","engine":"llamacpp","url":"{url}",
            "slots":1{models}}}"#
    );
    registry
        .upsert(serde_json::from_str(&text).unwrap())
        .unwrap();
}

async fn until(registry: &PoolRegistry, mut wanted: impl FnMut(&PoolStatus) -> bool) {
    let mut changes = registry.subscribe();
    while !registry.statuses().first().is_some_and(&mut wanted) {
        changes.changed().await.unwrap();
    }
}

/// Runs the prober during `story`.
async fn while_probing(registry: &PoolRegistry, timing: Timing, story: impl Future<Output = ()>) {
    let shutdown = Shutdown::new();
    let prober = Prober::with_timing(registry.clone(), timing).run(shutdown.clone());
    let story = async {
        tokio::time::timeout(Duration::from_secs(60), story)
            .await
            .expect("the story ends");
        shutdown.request();
    };
    // Both end: the prober by its shutdown.
    tokio::join!(prober, story);
}

fn healthy(path: &str) -> Reply {
    match path {
        "/health" => Reply::Json(200, "{}".into()),
        _ => Reply::Json(200, r#"{"data":[{"id":"tiny"}]}"#.into()),
    }
}

// spec: PROBE-1
#[tokio::test]
async fn a_replica_is_ready_before_its_first_probe_and_its_models_follow() {
    let engine = StandIn::start(healthy);
    let registry = PoolRegistry::new(vec![]);
    while_probing(&registry, TIMING, async {
        announce(&registry, "r0", &engine.url(), "");
        assert!(registry.statuses()[0].ready, "trusted at once");
        until(&registry, |pool| {
            pool.models_available.as_deref() == Some(&["tiny".parse().unwrap()])
        })
        .await;
    })
    .await;
}

// spec: PROBE-2
#[tokio::test]
async fn readiness_is_lost_and_found() {
    let status = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&status);
    let engine = StandIn::start(move |path| match answered.load(Ordering::SeqCst) {
        200 => healthy(path),
        other => Reply::Json(other, r#"{"error":{"message":"Loading model"}}"#.into()),
    });
    let registry = PoolRegistry::new(vec![]);
    announce(&registry, "r0", &engine.url(), "");
    while_probing(&registry, TIMING, async {
        until(&registry, |pool| pool.models_available.is_some()).await;
        status.store(503, Ordering::SeqCst);
        until(&registry, |pool| !pool.ready).await;
        let error = registry.statuses()[0].last_error.clone().unwrap();
        assert!(error.ends_with("/health: 503: Loading model"), "{error}");
        status.store(200, Ordering::SeqCst);
        until(&registry, |pool| pool.ready && pool.last_error.is_none()).await;
    })
    .await;
}

#[tokio::test]
async fn engines_that_refuse_hang_or_answer_nonsense_are_not_ready() {
    let hangs = StandIn::always(Reply::Hang);
    let nonsense = StandIn::always(Reply::Raw(b"hello\r\n\r\n".into()));
    let short = Timing {
        timeout: Duration::from_millis(50),
        ..TIMING
    };
    for (url, timing, expected) in [
        (closed_port(), TIMING, "Connection refused"),
        (nonsense.url(), TIMING, "broke off before it answered"),
        (hangs.url(), short, "deadline passed"),
    ] {
        let registry = PoolRegistry::new(vec![]);
        announce(&registry, "r0", &url, "");
        while_probing(&registry, timing, async {
            until(&registry, |pool| !pool.ready).await;
            let error = registry.statuses()[0].last_error.clone().unwrap();
            assert!(error.contains(expected), "{error}");
        })
        .await;
    }
}

// spec: PROBE-4
#[tokio::test]
async fn declared_models_take_precedence() {
    let engine = StandIn::start(healthy);
    let registry = PoolRegistry::new(vec![]);
    announce(
        &registry,
        "declared",
        &engine.url(),
        r#","models":["mine"]"#,
    );
    let other = StandIn::start(healthy);
    announce(&registry, "silent", &other.url(), "");
    while_probing(&registry, TIMING, async {
        until(&registry, |pool| {
            pool.models_available
                .as_ref()
                .is_some_and(|models| models.len() == 2)
        })
        .await;
    })
    .await;
    assert_eq!(
        registry.statuses()[0].models_available.clone().unwrap(),
        ["mine", "tiny"]
    );
}

fn not_ready_because(pool: &PoolStatus, words: &str) -> bool {
    !pool.ready
        && pool
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains(words))
}

// spec: PROBE-13, PROBE-14
#[tokio::test]
async fn one_probe_without_the_key_is_enough_and_the_key_is_read_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.key");
    let engine = StandIn::start_with_heads(|path, head| match path {
        "/health" => Reply::Json(200, "{}".into()),
        _ if head.contains("authorization: Bearer sesame") => healthy(path),
        _ => Reply::Json(401, "{}".into()),
    });
    let registry = PoolRegistry::new(vec![]);
    // Only the first probe comes at once.
    let slow = Timing {
        readiness: Duration::from_secs(3600),
        ..TIMING
    };
    announce(&registry, "r", &engine.url(), "");
    while_probing(&registry, slow, async {
        until(&registry, |pool| {
            not_ready_because(pool, "set api_key_file")
        })
        .await;
    })
    .await;
    let file = format!(r#","api_key_file":"{}""#, path.display());
    announce(&registry, "r", &engine.url(), &file);
    while_probing(&registry, TIMING, async {
        until(&registry, |pool| {
            not_ready_because(pool, "engine.key cannot be read")
        })
        .await;
        std::fs::write(&path, "wrong\n").unwrap();
        until(&registry, |pool| not_ready_because(pool, "refuses the key")).await;
        std::fs::write(&path, "sesame\n").unwrap();
        until(&registry, |pool| pool.ready).await;
    })
    .await;
    let lease = registry.claim(&"p".parse().unwrap(), Some("tiny")).unwrap();
    assert_eq!(lease.key().unwrap().header(), "Bearer sesame");
    let report = serde_json::to_string(&registry.statuses()).unwrap();
    assert!(
        !report.contains("sesame") && !report.contains("api_key_file"),
        "{report}"
    );
}

// spec: PROBE-10
#[tokio::test]
async fn an_engine_with_fewer_slots_than_announced_gets_no_more_requests() {
    let slots = Arc::new(AtomicU16::new(2));
    let has = Arc::clone(&slots);
    let engine = StandIn::start(move |path| match path {
        "/props" => Reply::Json(
            200,
            format!(
                r#"{{"total_slots":{},"build_info":"b1"}}"#,
                has.load(Ordering::SeqCst)
            ),
        ),
        "/metrics" => Reply::Json(200, "llamacpp:requests_processing 1\n".into()),
        other => healthy(other),
    });
    let registry = PoolRegistry::new(vec![]);
    let text = format!(
        r#"{{"pool_id":"p","replica_id":"r","engine":"llamacpp","url":"{}","slots":4}}"#,
        engine.url()
    );
    registry
        .upsert(serde_json::from_str(&text).unwrap())
        .unwrap();
    let replica = |pool: &PoolStatus| pool.replicas.clone().unwrap().remove(0);
    while_probing(&registry, TIMING, async {
        until(&registry, |pool| pool.slots_total() == 2).await;
        let text = &registry.statuses()[0];
        assert_eq!(replica(text).slots_promised, Some(4));
        assert_eq!(text.engine_version.as_deref(), Some("b1"));
        slots.store(9, Ordering::SeqCst);
        until(&registry, |pool| pool.slots_total() == 4).await;
        assert_eq!(replica(&registry.statuses()[0]).slots_promised, None);
    })
    .await;
    assert_eq!(replica(&registry.statuses()[0]).load.running, Some(1));
}

// spec: PROBE-16
#[tokio::test]
async fn a_probe_interrupts_no_request_of_an_engine_with_one_lock() {
    let probes = || {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let engine = StandIn::start(move |path| {
            if path == "/v1/models" || path == "/health" {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            healthy(path)
        });
        (engine, count)
    };
    let ((python, asked), (other, ticks)) = (probes(), probes());
    let registry = PoolRegistry::new(vec![]);
    let text = format!(
        r#"{{"pool_id":"p","replica_id":"python","engine":"llama-cpp-python","url":"{}",
            "slots":1,"models":["only"]}}"#,
        python.url()
    );
    registry
        .upsert(serde_json::from_str(&text).unwrap())
        .unwrap();
    announce(&registry, "other", &other.url(), "");
    let more = async |count: &AtomicUsize, least: usize| {
        let before = count.load(Ordering::SeqCst);
        while count.load(Ordering::SeqCst) < before + least {
            tokio::task::yield_now().await;
        }
    };
    while_probing(&registry, TIMING, async {
        more(&asked, 2).await;
        let lease = registry.claim(&"p".parse().unwrap(), Some("only")).unwrap();
        assert_eq!(lease.replica_id().as_str(), "python");
        // A probe may have begun before the request.
        more(&ticks, 4).await;
        let before = asked.load(Ordering::SeqCst);
        more(&ticks, 10).await;
        assert_eq!(asked.load(Ordering::SeqCst), before);
        drop(lease);
        more(&asked, 2).await;
    })
    .await;
}

// spec: PROBE-6
#[tokio::test]
async fn engines_that_hang_do_not_delay_others_for_long() {
    let registry = PoolRegistry::new(vec![]);
    let hanging: Vec<StandIn> = (0..=MAX_CONCURRENT)
        .map(|_| StandIn::always(Reply::Hang))
        .collect();
    for (i, engine) in hanging.iter().enumerate() {
        announce(&registry, &format!("hangs-{i}"), &engine.url(), "");
    }
    let engine = StandIn::start(healthy);
    announce(&registry, "well", &engine.url(), "");
    let timing = Timing {
        timeout: Duration::from_millis(50),
        ..TIMING
    };
    while_probing(
        &registry,
        timing,
        until(&registry, |pool| pool.models_available.is_some()),
    )
    .await;
}

// spec: PATH-42
#[tokio::test(start_paused = true)]
async fn an_engine_that_was_not_asked_in_time_stays_ready() {
    let hangs = StandIn::always(Reply::Hang);
    let registry = PoolRegistry::new(vec![]);
    announce(&registry, "r0", &hangs.url(), "");
    let shutdown = Shutdown::new();
    let prober = Prober::with_timing(registry.clone(), TIMING).run(shutdown.clone());
    let story = async {
        for _ in 0..5 {
            // As if the process had been stopped during each probe.
            tokio::time::advance(3 * TIMING.timeout).await;
            tokio::task::yield_now().await;
            tokio::time::advance(3 * TIMING.readiness).await;
            tokio::task::yield_now().await;
        }
        assert!(registry.statuses()[0].ready, "{:?}", registry.statuses());
        shutdown.request();
    };
    tokio::join!(biased; prober, story);
}

fn announce_unverified(registry: &PoolRegistry, engine: &str, url: &HttpUrl) {
    let text = format!(
        r#"{{"pool_id":"p","replica_id":"r","engine":"{engine}","url":"{url}","slots":1}}"#
    );
    registry
        .upsert_as(
            serde_json::from_str(&text).unwrap(),
            Ok(None),
            Trust::Unverified,
        )
        .unwrap();
}

fn says(pool: &PoolStatus, words: &str) -> bool {
    let error = pool.last_error.as_deref();
    !pool.ready && error.is_some_and(|error| error.contains(words))
}

// spec: FIND-4, FIND-8
#[tokio::test]
async fn an_unverified_engine_is_ready_only_while_it_is_of_its_kind() {
    let owner = Arc::new(AtomicUsize::new(0));
    let shown = Arc::clone(&owner);
    let engine = StandIn::start(move |path| match (path, shown.load(Ordering::Relaxed)) {
        ("/health", _) => Reply::Json(200, "{}".into()),
        ("/v1/models", 0) => Reply::Json(200, r#"{"data":[{"id":"m","owned_by":"vllm"}]}"#.into()),
        ("/v1/models", 1) => {
            Reply::Json(200, r#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#.into())
        }
        _ => Reply::Json(200, "<html>Jupyter</html>".into()),
    });
    let registry = PoolRegistry::new(vec![]);
    while_probing(&registry, TIMING, async {
        announce_unverified(&registry, "vllm", &engine.url());
        until(&registry, |pool| pool.ready).await;
        owner.store(1, Ordering::Relaxed);
        until(&registry, |pool| {
            says(
                pool,
                "was announced as vllm, but there is an engine of the kind llamacpp",
            )
        })
        .await;
        owner.store(0, Ordering::Relaxed);
        until(&registry, |pool| pool.ready).await;
        // A page for every path looks ready to a probe of the readiness alone.
        owner.store(2, Ordering::Relaxed);
        until(&registry, |pool| says(pool, "a web page (HTML)")).await;
    })
    .await;
}
