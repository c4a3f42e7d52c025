//! Tasks are counted while they run, joined at shutdown, named when they miss the deadline, and
//! checked for panics.

use std::{future::pending, time::Duration};

use service_runtime::{Shutdown, Tasks};
use tokio::{sync::oneshot, time::Instant};

const DEADLINE: Duration = Duration::from_secs(5);

fn tasks() -> (Shutdown, Tasks) {
    let shutdown = Shutdown::new();
    (shutdown.clone(), Tasks::new(shutdown))
}

#[tokio::test(start_paused = true)]
async fn join_waits_for_the_last_task_and_no_longer() {
    let (_, tasks) = tasks();
    let start = Instant::now();
    for seconds in 1..=3 {
        tasks.spawn("sleeper", async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        });
    }
    assert_eq!(tasks.len(), 3);
    tasks.join(DEADLINE).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(tasks.is_empty());
    tasks.join(DEADLINE).await.unwrap();
}

// spec: STOP-4
#[tokio::test(start_paused = true)]
async fn late_tasks_are_named_and_aborted() {
    let (_, tasks) = tasks();
    let (guard, aborted) = oneshot::channel::<()>();
    tasks.spawn("watcher", async move {
        let _guard = guard;
        pending::<()>().await;
    });
    tasks.spawn("stream", pending());
    tasks.spawn("stream", pending());
    tasks.spawn("quick", async {});
    let start = Instant::now();
    let error = tasks.join(DEADLINE).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), DEADLINE.as_secs());
    assert_eq!(error.tasks(), [("stream", 2), ("watcher", 1)]);
    assert_eq!(
        error.to_string(),
        "still running after 5s: stream (2 times), watcher"
    );
    assert!(aborted.await.is_err());
    tasks.join(DEADLINE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_spawned_by_a_task_is_waited_for_too() {
    let (_, tasks) = tasks();
    let inner = tasks.clone();
    tasks.spawn("parent", async move {
        inner.spawn("child", pending());
    });
    let error = tasks.join(DEADLINE).await.unwrap_err();
    assert_eq!(error.tasks(), [("child", 1)]);
}

// spec: STOP-5
#[tokio::test]
async fn a_panic_stops_the_process_unless_it_is_isolated() {
    let (shutdown, tasks) = tasks();
    tasks.spawn_isolated("connection", async { panic!("one client only") });
    tasks.join(DEADLINE).await.unwrap();
    assert!(!shutdown.is_requested());
    assert_eq!(tasks.outcome(), Ok(()));

    tasks.spawn("heart", async { panic!("everybody") });
    shutdown.requested().await;
    tasks.join(DEADLINE).await.unwrap();
    // It is remembered, so that the process exits with an error.
    tasks.spawn("lung", async { panic!("later") });
    tasks.join(DEADLINE).await.unwrap();
    let error = tasks.outcome().unwrap_err();
    assert_eq!(error.to_string(), "the task heart panicked");
}

#[tokio::test]
async fn an_unjoined_task_outlives_the_join() {
    let (shutdown, tasks) = tasks();
    let (sender, receiver) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    tasks.spawn_unjoined("signals", async move {
        receiver.await.unwrap();
        done.send(()).unwrap();
        panic!("heard all the same");
    });
    tasks.join(Duration::ZERO).await.unwrap();
    sender.send(()).unwrap();
    is_done.await.unwrap();
    shutdown.requested().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_come_and_go() {
    let (_, tasks) = tasks();
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    for i in 0..10_000 {
        let mut released = release.subscribe();
        tasks.spawn_isolated("connection", async move {
            if i % 2 == 0 {
                let _ = released.recv().await;
            }
        });
    }
    assert!(tasks.len() >= 5_000);
    drop(release);
    tasks.join(Duration::from_secs(60)).await.unwrap();
}

#[test]
fn a_runtime_that_stops_drops_its_tasks_without_a_deadlock() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let (_, tasks) = tasks();
    runtime.block_on(async { tasks.spawn("forever", pending()) });
    let handle = runtime.handle().clone();
    drop(runtime);
    assert!(tasks.is_empty());
    // Spawned into a runtime that has ended: dropped during the call.
    let _entered = handle.enter();
    tasks.spawn("late", pending());
    assert!(tasks.is_empty());
}
