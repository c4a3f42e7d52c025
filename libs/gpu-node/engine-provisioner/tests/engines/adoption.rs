//! Engines that outlive their agent.

use engine_provisioner::EnginePhase;

use crate::node::{Home, gone, is_there, kill, pool};

// spec: PROV-10
#[tokio::test]
async fn an_engine_outlives_its_agent_and_is_adopted() {
    let home = Home::new();
    let node = home.start(&pool(""));
    let before = node.one(EnginePhase::Ready).await;
    node.vanish().await;
    let pid = before.pid.unwrap();
    assert!(is_there(pid));
    assert_eq!(home.handoffs(), ["p_r0.json"], "it still serves");

    let node = home.start(&pool("stop_grace_secs = 9").replace("stop_grace_secs = 10\n", ""));
    let after = node.one(EnginePhase::Ready).await;
    assert_eq!(
        (after.pid, after.adopted, after.url),
        (Some(pid), true, before.url)
    );

    // It is supervised like any other engine.
    kill(pid);
    let new = node
        .until(|rows| rows[0].pid != Some(pid) && rows[0].phase == EnginePhase::Ready)
        .await;
    assert_eq!((new[0].adopted, new[0].restarts), (false, 1));
    node.stop().await;
    assert!(home.handoffs().is_empty());
}

#[tokio::test]
async fn an_adopted_engine_can_be_stopped() {
    let home = Home::new();
    let node = home.start(&pool(""));
    let pid = node.one(EnginePhase::Ready).await.pid.unwrap();
    node.vanish().await;
    let node = home.start(&pool(""));
    node.one(EnginePhase::Ready).await;
    node.stop().await;
    gone(pid).await;
    assert!(home.handoffs().is_empty() && home.files("state/engines").is_empty());
}

// spec: PROV-11
#[tokio::test]
async fn an_engine_with_another_configuration_is_replaced() {
    let home = Home::new();
    let node = home.start(&pool("replicas = 2"));
    let before = node.ready(2).await;
    node.vanish().await;

    let node = home.start(&pool("env = { A = \"1\" }"));
    let after = node.ready(1).await;
    assert!(before.iter().all(|old| old.pid != after[0].pid));
    for old in before.iter() {
        gone(old.pid.unwrap()).await;
    }
    assert_eq!(home.handoffs(), ["p_r0.json"]);
    assert_eq!(home.files("state/engines").len(), 1);
    node.stop().await;
}

// spec: PROV-11
#[tokio::test]
async fn an_engine_of_a_removed_pool_is_stopped() {
    let home = Home::new();
    let node = home.start(&pool(""));
    let pid = node.one(EnginePhase::Ready).await.pid.unwrap();
    node.vanish().await;
    let node = home.start(&pool("").replace("id = \"p\"", "id = \"q\""));
    node.ready(1).await;
    gone(pid).await;
    assert_eq!(home.handoffs(), ["q_r0.json"]);
    node.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_configured_to_stay_stays() {
    let home = Home::new();
    let stays = pool("on_agent_stop = \"leave\"");
    let goes = pool("").replace("id = \"p\"", "id = \"q\"");
    let node = home.start(&format!("{stays}{goes}"));
    let rows = node.ready(2).await;
    node.stop().await;
    assert!(is_there(rows[0].pid.unwrap()) && !is_there(rows[1].pid.unwrap()));
    assert_eq!(home.handoffs(), ["p_r0.json"]);
    let node = home.start(&pool(""));
    assert_eq!(node.one(EnginePhase::Ready).await.pid, rows[0].pid);
    node.stop().await;
}

// spec: PROV-10, PROV-23
#[tokio::test]
async fn engines_that_stay_or_are_scaled_to_zero_remain_so_after_the_agent() {
    let home = Home::new();
    let node = home.start(&pool("on_agent_stop = \"leave\""));
    let engine = node.one(EnginePhase::Ready).await;
    node.stop_slowly().await;
    assert_eq!(home.handoffs(), ["p_r0.json"]);
    assert!(is_there(engine.pid.unwrap()), "it is configured to stay");

    let home = Home::new();
    let scaling = pool("sleep_after_secs = 1");
    let node = home.start(&scaling);
    node.one(EnginePhase::ScaledToZero).await;
    node.stop_slowly().await;
    let node = home.start(&scaling);
    node.one(EnginePhase::ScaledToZero).await;
    node.stop().await;
}
