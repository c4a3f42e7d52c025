//! Drains over restarts, and on disks that fail.

use std::{fs, os::unix::fs::symlink, sync::mpsc};

use captured_log::Log;

use super::*;

fn pool(id: &str) -> PoolId {
    PoolId::new(id).unwrap()
}

fn whole(id: &str) -> DrainTarget {
    DrainTarget::Pool(pool(id))
}

fn one(id: &str, replica: &str) -> DrainTarget {
    DrainTarget::Replica(pool(id), ReplicaId::new(replica).unwrap())
}

fn loaded(dir: &Path) -> Drains {
    Drains::load(dir).unwrap().0
}

/// Does `work` while the writer runs.
async fn with_writer<T>(writer: DrainsWriter, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        () = writer.run(std::future::pending()) => unreachable!("the drains still exist"),
        done = work => done,
    }
}

// spec: PROV-17
#[tokio::test]
async fn drains_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let registry = PoolRegistry::new(vec![pool("a"), pool("b")]);
    registry.drain_in_advance(&pool("a"), ReplicaId::new("r1").unwrap());
    let (drains, writer) = Drains::load(dir.path()).unwrap();
    assert_eq!(drains.targets(), []);
    with_writer(writer, async {
        for target in [whole("b"), whole("a"), whole("a"), one("a", "r1")] {
            drains.drain(&registry, &target, None).await.unwrap();
        }
        let again = || loaded(dir.path()).targets();
        assert_eq!(again(), [whole("a"), one("a", "r1"), whole("b")]);
        drains.undrain(&registry, &whole("a")).await.unwrap();
        assert_eq!(again(), [one("a", "r1"), whole("b")]);
    })
    .await;
}

#[tokio::test]
async fn an_older_agent_can_read_the_file_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    fs::write(&path, r#"{"pools":["a"]}"#).unwrap();
    let (drains, writer) = Drains::load(dir.path()).unwrap();
    assert_eq!(drains.targets(), [whole("a")]);
    let registry = PoolRegistry::new(vec![pool("b")]);
    let target = whole("b");
    with_writer(writer, drains.drain(&registry, &target, None))
        .await
        .unwrap();
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["pools"], serde_json::json!(["a", "b"]));
}

// spec: PROV-22
#[tokio::test]
async fn start_and_deadline_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let registry = PoolRegistry::new(vec![pool("a")]);
    let day = Duration::from_secs(86_400);
    let target = whole("a");
    let (drains, writer) = Drains::load(dir.path()).unwrap();
    with_writer(writer, drains.drain(&registry, &target, Some(day)))
        .await
        .unwrap();
    let (later, writer) = Drains::load(dir.path()).unwrap();
    let progress = later.progress(&pool("a"), None, 3).unwrap();
    let left = progress.deadline_ms.unwrap();
    assert!(
        left <= millis(day) && left + progress.for_ms >= millis(day),
        "{progress:?}"
    );
    assert_eq!(progress.requests_running, 3);
    with_writer(
        writer,
        later.drain(&registry, &target, Some(Duration::ZERO)),
    )
    .await
    .unwrap();
    assert_eq!(
        later.progress(&pool("a"), None, 3).unwrap().deadline_ms,
        Some(0)
    );
    assert_eq!(later.progress(&pool("b"), None, 0), None);
}

#[tokio::test]
async fn an_unknown_pool_is_not_drained() {
    let dir = tempfile::tempdir().unwrap();
    let (drains, _writer) = Drains::load(dir.path()).unwrap();
    let registry = PoolRegistry::new(Vec::new());
    let error = drains
        .drain(&registry, &whole("a"), None)
        .await
        .unwrap_err();
    assert!(matches!(error, DrainError::Unknown(_)), "{error}");
    assert_eq!(drains.targets(), []);
}

// spec: KEEP-20, KEEP-21
#[tokio::test]
async fn a_damaged_file_is_set_aside_and_one_that_cannot_be_read_is_an_error() {
    for damage in [
        "",
        "{",
        "{\"pools\":[\"a\"],\"drai",
        "{\"pools\":[\"a b\"]}",
        "{\"pools\":7}",
        "\0\0\0",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, damage).unwrap();
        let log = Log::of(|| assert_eq!(loaded(dir.path()).targets(), [], "{damage:?}"));
        assert!(
            log.contains(FILE) && log.contains("drain them again"),
            "{log}"
        );
        assert!(!path.exists(), "{damage:?}");
        let kept = dir.path().join(format!("{FILE}.unreadable-1"));
        assert_eq!(fs::read_to_string(kept).unwrap(), damage);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    symlink(&path, &path).unwrap();
    let error = Drains::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (drains, writer) = Drains::load(dir.path()).unwrap();
    dir.close().unwrap();
    let registry = PoolRegistry::new(vec![pool("a")]);
    let target = whole("a");
    let error = with_writer(writer, drains.drain(&registry, &target, None))
        .await
        .unwrap_err();
    assert!(matches!(error, DrainError::NotStored { .. }), "{error}");
    assert!(error.to_string().contains(FILE), "{error}");
    assert!(registry.statuses()[0].draining, "the drain is active");
}

// spec: KEEP-22
#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_respond_blocks_nothing_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let registry = PoolRegistry::new(vec![pool("a"), pool("b")]);
    let (drains, writer) = Drains::load(dir.path()).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let writer = writer.writing(move |path, bytes| {
        // Blocks until the test releases it.
        let _ = released.lock().recv();
        state_file::write(path, bytes)
    });
    with_writer(writer, async {
        let asked = [whole("a"), whole("b")];
        let [a, b] = &asked;
        let (first, second, ()) = tokio::join!(
            biased;
            drains.drain(&registry, a, None),
            drains.drain(&registry, b, None),
            // Reached only when neither blocks this thread.
            tokio::time::advance(WRITE_DEADLINE),
        );
        for error in [first.unwrap_err(), second.unwrap_err()] {
            assert!(matches!(error, DrainError::NotStoredYet { .. }), "{error}");
            assert!(error.to_string().contains(FILE), "{error}");
        }
        assert!(
            registry.statuses().iter().all(|pool| pool.draining),
            "the drains are active"
        );
        assert_eq!(drains.targets(), asked);
        // The disk responds again: the latest state is written.
        drop(release);
        drains.undrain(&registry, b).await.unwrap();
        assert_eq!(loaded(dir.path()).targets(), [whole("a")]);
    })
    .await;
}

#[tokio::test]
async fn submitted_states_are_written_before_the_writer_ends() {
    let dir = tempfile::tempdir().unwrap();
    let registry = PoolRegistry::new(vec![pool("a")]);
    let (drains, writer) = Drains::load(dir.path()).unwrap();
    let target = whole("a");
    let stopped = writer.run(std::future::ready(()));
    let (written, ()) = tokio::join!(biased; drains.drain(&registry, &target, None), stopped);
    written.unwrap();
    assert_eq!(loaded(dir.path()).targets(), std::slice::from_ref(&target));
    let error = drains.undrain(&registry, &target).await.unwrap_err();
    assert!(matches!(error, DrainError::NotStored { .. }), "{error}");
}
