//! The routing table of a node that serves its own data path.

use super::support::{handoff, pool, replica, url, with_models};
use crate::{DrainTarget, FAILURES_TO_DISTRUST, PoolRegistry, ProbeOutcome};
use pool_registry_types::NodeId;
use routing_table::{Availability, Endpoint, Hop};

fn endpoints(registry: &PoolRegistry) -> Vec<Endpoint> {
    registry
        .routing_table(&NodeId::new("home").unwrap(), 7)
        .endpoints()
        .to_vec()
}

#[test]
fn every_live_replica_is_an_endpoint_reached_directly() {
    let registry = PoolRegistry::new(vec![pool("empty")]);
    registry
        .upsert(with_models(handoff("p", "r0", 8081, 4), &["tiny"]))
        .unwrap();
    registry.upsert(handoff("p", "r1", 8082, 2)).unwrap();
    let table = registry.routing_table(&NodeId::new("home").unwrap(), 7);
    assert_eq!(
        (table.version(), table.endpoints().len(), table.candidates("tiny")),
        (7, 2, &[0][..])
    );
    let first = &table.endpoints()[0];
    assert_eq!(first.key.to_string(), "home/p/r0");
    assert_eq!((&first.target, first.hop), (&url(8081), Hop::Engine));
    assert_eq!((first.slots_free, first.slots_total), (4, 4));
    assert_eq!(first.availability, Availability::Ready);
}

#[test]
fn the_report_number_rises_with_slots_and_availability_only() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 4)).unwrap();
    let mut last = 0;
    let mut rose = |what: &str, expected: bool| {
        let report = endpoints(&registry)[0].report;
        assert_eq!(report > last, expected, "{what}: {last} then {report}");
        last = report;
    };
    rose("appeared", true);
    rose("nothing", false);
    registry.set_vram_free(&pool("p"), 1);
    rose("memory", false);
    let generation = registry.replicas()[0].generation;
    let probe = |outcome| registry.probed(&pool("p"), &replica("r0"), generation, outcome);
    probe(ProbeOutcome::ready().with_models(vec!["x".into()]));
    rose("models", false);
    let lease = registry.claim(&pool("p"), None).unwrap();
    rose("claim", true);
    registry.remove(&pool("p"), &replica("r0"));
    registry.upsert(handoff("p", "r0", 8081, 4)).unwrap();
    let before = endpoints(&registry)[0].clone();
    drop(lease);
    let after = endpoints(&registry)[0].clone();
    assert_eq!((before.slots_free, after.slots_free), (3, 4));
    assert!(
        after.report > before.report,
        "a slot of an earlier life came back"
    );
}

#[test]
fn availability_says_the_intent_before_the_state() {
    let registry = PoolRegistry::new(vec![]);
    registry.upsert(handoff("p", "r0", 8081, 4)).unwrap();
    let before = endpoints(&registry)[0].report;
    let generation = registry.replicas()[0].generation;
    for _ in 0..FAILURES_TO_DISTRUST {
        registry.probed(
            &pool("p"),
            &replica("r0"),
            generation,
            ProbeOutcome::failed("gone"),
        );
    }
    assert_eq!(
        endpoints(&registry)[0].availability,
        Availability::NotReady("gone".into())
    );
    assert!(endpoints(&registry)[0].report > before);
    registry.drain(&DrainTarget::Pool(pool("p"))).unwrap();
    assert_eq!(endpoints(&registry)[0].availability, Availability::Draining);
}
