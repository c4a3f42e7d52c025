//! What an engine's supervisor waits for: that the engine is ready, and that nobody uses it.

use std::time::Duration;

use engine_probe::{ProbeScope, probe};
use pool_registry::PoolRegistry;
use pool_registry_types::{EngineKind, HttpUrl};

use crate::core::Event;

/// How often an engine that starts is asked. A `llama-server` with a small model is ready after 50
/// ms; a probe costs it nothing.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How often one is asked that takes its time.
const ASK_SLOWLY: Duration = Duration::from_secs(1);
/// How long it may take to answer; it may be busy loading.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Returns when the engine at `url` says that it takes requests.
pub(crate) async fn ready(kind: &EngineKind, url: &HttpUrl) -> Event {
    let mut pause = ASK_EVERY;
    let asked = || probe(kind, url, ProbeScope::READINESS, ANSWER_LIMIT);
    while !asked().await.is_ok_and(|outcome| outcome.ready) {
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 8).min(ASK_SLOWLY);
    }
    Event::Ready
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

/// Returns when the registry no longer offers the engine at `url`, and the last request to it has
/// ended.
///
/// Its handoff is gone by then, so that no new one comes: whoever reads handoffs has taken note.
pub(crate) async fn quiet(registry: &PoolRegistry, url: &HttpUrl) -> Event {
    let mut changes = registry.subscribe();
    loop {
        // Marked as seen before looking, so that a change in between is not missed.
        changes.borrow_and_update();
        let offered = registry
            .replicas()
            .iter()
            .any(|replica| replica.url == *url);
        if !offered && registry.in_flight_at(url) == 0 {
            return Event::Quiet;
        }
        if changes.changed().await.is_err() {
            return Event::Quiet;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use pool_registry_types::Handoff;

    use super::*;

    #[tokio::test]
    async fn quiet_is_when_the_last_request_of_a_retired_engine_has_ended() {
        let registry = PoolRegistry::new(Vec::new());
        let handoff: Handoff = serde_json::from_str(
            r#"{"pool_id":"p","replica_id":"r0","engine":"x","url":"http://127.0.0.1:1","slots":2}"#,
        )
        .unwrap();
        registry.upsert(handoff.clone()).unwrap();
        let lease = registry.claim(&handoff.pool_id, None).unwrap();
        let mut waiting = std::pin::pin!(quiet(&registry, &handoff.url));
        assert!(waiting.as_mut().now_or_never().is_none(), "it is offered");
        registry.remove(&handoff.pool_id, &handoff.replica_id);
        assert!(waiting.as_mut().now_or_never().is_none(), "a request runs");
        drop(lease);
        assert_eq!(waiting.await, Event::Quiet);
    }
}
