//! Drains, restarts and reloads.

use super::*;

fn id(id: &str) -> PoolId {
    PoolId::new(id).unwrap()
}

fn control(engines: Option<Arc<dyn EngineControl>>) -> Control {
    Control {
        registry: PoolRegistry::new(vec![id("p")]),
        drains: Arc::new(Drains::in_memory()),
        engines,
    }
}

#[derive(Debug)]
struct FailingReload;

impl EngineControl for FailingReload {
    fn restart(&self, _: PoolId) -> EngineChange {
        Box::pin(async { Ok(()) })
    }

    fn reload(&self, _: PoolId) -> EngineChange {
        Box::pin(async { Err(ApiError::new(ErrorCode::ReloadFailed, "no")) })
    }
}

// spec: PROV-16
#[tokio::test]
async fn a_pool_is_drained_and_undrained() {
    let control = control(None);
    let soon = ApiJson(DrainRequest {
        deadline_ms: Some(60_000),
    });
    for (body, has_deadline) in [(None, false), (Some(soon), true)] {
        let Json(view) = drain(State(control.clone()), ApiPath(id("p")), body)
            .await
            .unwrap();
        assert!(view.status.draining && view.requests_running == 0);
        let progress = view.drain.unwrap();
        assert_eq!(
            progress.deadline_ms.is_some_and(|left| left > 0),
            has_deadline
        );
    }
    let Json(view) = undrain(State(control.clone()), ApiPath(id("p")))
        .await
        .unwrap();
    assert!(!view.status.draining && view.drain.is_none());
    let unknown = drain(State(control), ApiPath(id("q")), None)
        .await
        .unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}

// spec: PROV-22
#[tokio::test]
async fn a_replica_is_drained_and_undrained() {
    let control = control(None);
    for replica in ["r0", "r1"] {
        let handoff = serde_json::json!({
            "pool_id": "p", "replica_id": replica, "engine": "x", "slots": 2,
            "url": format!("http://localhost:1{}", &replica[1..]),
        });
        control
            .registry
            .upsert(serde_json::from_value(handoff).unwrap())
            .unwrap();
    }
    let _lease = control.registry.claim(&id("p"), None).unwrap();
    let name = |replica: &str| ApiPath((id("p"), ReplicaId::new(replica).unwrap()));
    let Json(view) = drain_replica(State(control.clone()), name("r0"), None)
        .await
        .unwrap();
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(
        (&json["draining"], &json["requests_running"]),
        (&false.into(), &1.into())
    );
    let replica = &json["replicas"][0];
    assert_eq!(
        (&replica["draining"], &replica["drain"]["requests_running"]),
        (&true.into(), &1.into())
    );
    assert_eq!(
        (
            &json["replicas"][1]["drain"],
            json["replicas"].as_array().unwrap().len()
        ),
        (&().into(), 2)
    );
    let Json(view) = undrain_replica(State(control.clone()), name("r0"))
        .await
        .unwrap();
    assert!(!view.replicas[0].status.draining);
    let unknown = drain_replica(State(control), name("r9"), None)
        .await
        .unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn only_engines_that_the_node_started_are_restarted() {
    let code = |response: PoolResponse| response.unwrap_err().code;
    let without = control(None);
    assert_eq!(
        code(restart(State(without.clone()), ApiPath(id("p"))).await),
        ErrorCode::EnginesNotOurs
    );
    assert_eq!(
        code(reload(State(without), ApiPath(id("q"))).await),
        ErrorCode::NotFound
    );
    let with = control(Some(Arc::new(FailingReload)));
    let restarted = restart(State(with.clone()), ApiPath(id("p"))).await;
    assert!(restarted.is_ok());
    assert_eq!(
        code(reload(State(with), ApiPath(id("p"))).await),
        ErrorCode::ReloadFailed
    );
}
