//! Tests of absent engines, and of requests on retired ones.

use super::support::{handoff, pool, replica, status, url};
use crate::PoolRegistry;

#[test]
fn the_reason_of_an_absent_engine_is_reported_until_it_has_a_handoff() {
    let registry = PoolRegistry::new(Vec::new());
    let mut changes = registry.subscribe();
    let mut changed = || {
        let changed = changes.has_changed().unwrap();
        changes.mark_unchanged();
        changed
    };
    let absent = |reason: Option<&str>| {
        registry.set_absent(&pool("p"), &replica("r1"), reason.map(str::to_owned));
    };
    absent(Some("no model"));
    assert!(changed());
    absent(Some("no model"));
    assert!(!changed(), "the same is no urgency");
    let shown = status(&registry, "p");
    assert_eq!(
        (shown.ready, shown.last_error.as_deref()),
        (false, Some("no model"))
    );
    let replicas = shown.replicas.unwrap();
    assert_eq!((replicas.len(), replicas[0].slots_total), (1, 0));

    // An absent replica does not affect the others.
    registry.upsert(handoff("p", "r0", 1, 4)).unwrap();
    let shown = status(&registry, "p");
    assert_eq!(
        (shown.ready, shown.last_error, shown.slots_total),
        (true, None, 4)
    );
    assert_eq!(
        shown.replicas.unwrap()[1].last_error.as_deref(),
        Some("no model")
    );

    registry.upsert(handoff("p", "r1", 2, 4)).unwrap();
    let replicas = status(&registry, "p").replicas.unwrap();
    assert_eq!((replicas.len(), replicas[1].last_error.clone()), (2, None));

    registry.remove(&pool("p"), &replica("r0"));
    registry.remove(&pool("p"), &replica("r1"));
    assert!(!status(&registry, "p").ready);
    absent(Some(&format!("a\x1b\n{}", "ä".repeat(5000))));
    let text = status(&registry, "p").last_error.unwrap();
    assert!(text.starts_with("a \nä") && text.len() <= 3 * 1024);
    absent(None);
    assert!(
        registry.statuses().is_empty(),
        "nothing of the pool is left"
    );
}

#[test]
fn requests_are_counted_after_their_engine_was_retired() {
    let registry = PoolRegistry::new(Vec::new());
    registry.upsert(handoff("p", "r0", 1, 4)).unwrap();
    let first = registry.claim(&pool("p"), None).unwrap();
    let second = registry.claim(&pool("p"), None).unwrap();
    registry.upsert(handoff("p", "r0", 2, 4)).unwrap();
    let third = registry.claim(&pool("p"), None).unwrap();
    assert_eq!(
        (
            registry.in_flight_at(&url(1)),
            registry.in_flight_at(&url(2))
        ),
        (2, 1)
    );
    drop((first, third));
    assert_eq!(
        (
            registry.in_flight_at(&url(1)),
            registry.in_flight_at(&url(2))
        ),
        (1, 0)
    );
    drop(second);
    assert_eq!(registry.in_flight_at(&url(1)), 0);
}
