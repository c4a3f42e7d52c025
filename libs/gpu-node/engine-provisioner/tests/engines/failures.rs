//! Engines that fail.

use std::os::unix::fs::PermissionsExt as _;

use engine_provisioner::EnginePhase;
use rustix::process::{Signal, kill_process};

use crate::node::{ENGINE, Home, gone, pool, raw, shell};

// spec: PROV-9
#[tokio::test]
async fn an_engine_that_crashes_at_its_start_reports_the_reason_and_affects_no_other() {
    let home = Home::new();
    let works = pool("").replace("id = \"p\"", "id = \"works\"");
    let crashes = shell("echo 'out of memory' >&2; exit 3", "restart = \"never\"");
    let node = home.start(&format!("{works}{crashes}"));
    let rows = node
        .until(|rows| {
            rows.len() == 2
                && rows[0].phase == EnginePhase::Failed
                && rows[1].phase == EnginePhase::Ready
        })
        .await;
    let error = rows[0].last_error.as_deref().unwrap();
    assert!(
        error.starts_with("ended before it was ready: exit status: 3"),
        "{error}"
    );
    assert!(error.ends_with("p_r0.err.log:\nout of memory"), "{error}");
    assert_eq!(home.handoffs(), ["works_r0.json"]);
    // The heartbeat reports it, too.
    let replicas = node.replicas(|replicas| replicas.len() == 1).await;
    assert!(
        replicas[0]
            .last_error
            .as_deref()
            .unwrap()
            .contains("out of memory")
    );
    node.stop().await;
}

#[tokio::test]
async fn an_engine_that_crashes_is_started_again() {
    let home = Home::new();
    let script = format!(
        "echo x >> {0}; [ $(wc -l < {0}) -ge 3 ] && exec \"$0\" \"$1\"; exit 1",
        home.path("attempts").display()
    );
    let node = home.start(&shell(&script, ""));
    let engine = node.one(EnginePhase::Ready).await;
    assert_eq!((engine.restarts, engine.last_error), (2, None));
    node.stop().await;
}

// spec: PROV-7
#[tokio::test]
async fn an_engine_that_hangs_at_its_start_is_stopped() {
    let home = Home::new();
    let node = home.start(&shell(
        "exec sleep 100",
        "ready_timeout_secs = 1\nrestart = \"never\"",
    ));
    let hangs = node
        .until(|rows| rows.len() == 1 && rows[0].pid.is_some())
        .await[0]
        .pid;
    let engine = node.one(EnginePhase::Failed).await;
    assert_eq!(engine.last_error.as_deref(), Some("not ready within 1 s"));
    gone(hangs.unwrap()).await;
    assert!(home.handoffs().is_empty() && home.files("state/engines").is_empty());
    node.stop().await;
}

#[tokio::test]
async fn an_engine_that_exits_with_0_is_not_restarted() {
    let home = Home::new();
    let script = "trap 'kill $!; exit 0' USR1; \"$0\" \"$1\" & wait";
    let node = home.start(&shell(script, ""));
    let engine = node.one(EnginePhase::Ready).await;
    kill_process(raw(engine.pid.unwrap()), Signal::USR1).unwrap();
    let engine = node.one(EnginePhase::Stopped).await;
    assert_eq!(
        engine.last_error.as_deref(),
        Some("ended by itself: exit status: 0")
    );
    assert!(home.handoffs().is_empty());
    node.stop().await;
}

// spec: PROV-8
#[tokio::test]
async fn missing_things_are_reported_before_a_start_and_waited_for() {
    let home = Home::new();
    let model = home.path("model.gguf");
    let pool = format!(
        "[[pool]]\nid = \"p\"\nengine = \"llamacpp\"\nbinary = \"{}\"\nmodel = \"{}\"\nslots = 1\n\
         context = 1\n",
        home.path("engine").display(),
        model.display()
    );
    let node = home.start(&pool);
    let engine = node.one(EnginePhase::Backoff).await;
    let error = engine.last_error.unwrap();
    assert!(
        error.contains("there is no program") && error.contains("there is no model file"),
        "{error}"
    );
    assert_eq!(
        (engine.pid, home.files("state/engine-logs").len()),
        (None, 0)
    );
    std::fs::write(&model, "GGUF").unwrap();
    // Called like a llama-server: --host 127.0.0.1 --port PORT …
    let script = format!("#!/bin/sh\nexec {ENGINE} \"$4\"\n");
    std::fs::write(home.path("script"), script).unwrap();
    std::fs::set_permissions(home.path("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(home.path("script"), home.path("engine")).unwrap();
    let engine = node.one(EnginePhase::Ready).await;
    assert_eq!((engine.last_error, engine.restarts), (None, 0));
    node.stop().await;
}
