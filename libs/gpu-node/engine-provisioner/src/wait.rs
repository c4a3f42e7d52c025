//! Waiting for an engine: until it is ready, offered, or without requests.

use std::time::Duration;

use engine_probe::{EngineAt, ProbeScope, probe, read_key};
use pool_registry::PoolRegistry;
use pool_registry_types::{EngineKind, HttpUrl, KeyFile};

use crate::core::EngineEvent;

/// The interval of probes at the start. A `llama-server` with a small model is ready after 50 ms,
/// and a probe costs it nothing.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// The interval of probes of an engine that starts slowly.
const LONGEST_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a probe may take; the engine may be busy loading.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns when the engine at `url` reports that it takes requests, or refuses this process for
/// want of a key: then it is announced, and its replica says so.
pub(crate) async fn ready(
    kind: &EngineKind,
    url: &HttpUrl,
    api_key_file: Option<KeyFile>,
) -> EngineEvent {
    let key = match api_key_file {
        Some(path) => tokio::task::spawn_blocking(move || read_key(&path)).await,
        None => Ok(Err(String::new())),
    };
    // A missing key is reported by the replica as well.
    let key = key.ok().and_then(Result::ok);
    let engine = EngineAt {
        kind,
        url,
        key: key.as_ref(),
    };
    let mut pause = FIRST_PROBE_INTERVAL;
    let probed = || probe(engine, ProbeScope::READINESS, PROBE_TIMEOUT);
    while !(probed().await).is_ok_and(|outcome| outcome.ready || outcome.is_definite) {
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 8).min(LONGEST_PROBE_INTERVAL);
    }
    EngineEvent::Ready
}

/// Returns when the registry offers the engine at `url`.
pub(crate) async fn offered(registry: &PoolRegistry, url: &HttpUrl) {
    let mut changes = registry.subscribe();
    loop {
        changes.borrow_and_update();
        let offered = registry
            .replicas()
            .iter()
            .any(|replica| replica.url == *url);
        if offered || changes.changed().await.is_err() {
            return;
        }
    }
}

/// Returns when the registry no longer offers the engine at `url`, and its last request has ended.
///
/// The registry then knows that the handoff is gone, so no new request will come.
pub(crate) async fn drained(registry: &PoolRegistry, url: &HttpUrl) -> EngineEvent {
    let mut changes = registry.subscribe();
    loop {
        // Mark as seen before reading, so that a change in between is not missed.
        changes.borrow_and_update();
        let offered = registry
            .replicas()
            .iter()
            .any(|replica| replica.url == *url);
        if !offered && registry.in_flight_at(url) == 0 {
            return EngineEvent::Drained;
        }
        if changes.changed().await.is_err() {
            return EngineEvent::Drained;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use pool_registry_types::Handoff;

    use super::*;

    #[tokio::test]
    async fn an_engine_is_drained_when_it_is_retired_and_its_last_request_has_ended() {
        let registry = PoolRegistry::new(Vec::new());
        let handoff: Handoff = serde_json::from_str(
            r#"{"pool_id":"p","replica_id":"r0","engine":"x","url":"http://127.0.0.1:1",
                "slots":2}"#,
        )
        .unwrap();
        registry.upsert(handoff.clone()).unwrap();
        let lease = registry.claim(&handoff.pool_id, None).unwrap();
        let mut waiting = std::pin::pin!(drained(&registry, &handoff.url));
        assert!(waiting.as_mut().now_or_never().is_none(), "it is offered");
        registry.remove(&handoff.pool_id, &handoff.replica_id);
        assert!(waiting.as_mut().now_or_never().is_none(), "a request runs");
        drop(lease);
        assert_eq!(waiting.await, EngineEvent::Drained);
    }
}
