//! However many nodes join, pools come and go and drains are asked for: what is known stays
//! bounded.

mod common;

use std::time::Duration;

use common::{World, beat, id, pool, pool_id, register, secs};
use pool_registry_types::{
    NodeStatus, RegisterRequest,
    limits::{MAX_POOL_DRAINS, MAX_POOLS},
};
use service_registry::{
    Config, Delta, LeftReason, RegisterOutcome, Registry, RegistryError, Target,
};

/// As many nodes as are known here; far fewer than may be, because it takes a while to make those.
const MOST: usize = 60;

/// A registration of the given life that names the most pools there may be.
fn with_pools(prefix: &str, incarnation: u64) -> RegisterRequest {
    let mut request = register("a", "m", Some(incarnation));
    request.pools = (0..MAX_POOLS)
        .map(|i| pool_id(&format!("{prefix}-{i}")))
        .collect();
    request
}

fn pools(world: &World) -> Vec<String> {
    let node = world.node("a");
    node.pools
        .iter()
        .map(|pool| pool.status.pool_id.to_string())
        .collect()
}

// spec: KEEP-12
#[test]
fn a_new_life_with_other_pools_has_no_more_than_a_node_may_have() {
    let mut world = World::new();
    world.register_as(with_pools("old", 1)).unwrap();
    world.register_as(with_pools("new", 2)).unwrap();
    let known = pools(&world);
    assert_eq!(known.len(), MAX_POOLS);
    assert!(
        known.iter().all(|pool| pool.starts_with("new-")),
        "what it says counts"
    );

    // Of those from before, as many stay as there is room for.
    let mut third = with_pools("third", 3);
    third.pools.truncate(MAX_POOLS - 2);
    third.pools.push(pool_id("new-200"));
    world.register_as(third).unwrap();
    let known = pools(&world);
    assert_eq!(known.len(), MAX_POOLS);
    let kept: Vec<_> = known
        .iter()
        .filter(|pool| pool.starts_with("new-"))
        .collect();
    assert_eq!(kept, ["new-0", "new-200"]);
    let stored = world
        .registry
        .persisted_node(&id("a"))
        .unwrap()
        .registered
        .unwrap();
    assert_eq!(
        (stored.pools.len(), stored.registration.pools.len()),
        (MAX_POOLS, MAX_POOLS)
    );
}

// spec: KEEP-13
#[test]
fn drains_of_pools_that_are_gone_give_way_to_those_of_pools_that_are_there() {
    let mut world = World::new();
    let drain_all = |world: &mut World, incarnation, prefix: &str| {
        world.register_as(with_pools(prefix, incarnation)).unwrap();
        let all = (0..MAX_POOLS)
            .map(|i| pool(&format!("{prefix}-{i}")))
            .collect();
        world
            .beat_as("a", beat(Some(incarnation), None, all))
            .unwrap();
        for i in 0..MAX_POOLS {
            world
                .drain(&Target::Pool(id("a"), pool_id(&format!("{prefix}-{i}"))))
                .unwrap();
            world.now += Duration::from_millis(1);
        }
    };
    drain_all(&mut world, 1, "old");
    world.deltas();
    let drains = |world: &World| world.registry.persisted_node(&id("a")).unwrap().pool_drains;
    assert_eq!(drains(&world).len(), MAX_POOL_DRAINS);
    drain_all(&mut world, 2, "new");
    let kept = drains(&world);
    assert_eq!(kept.len(), MAX_POOL_DRAINS);
    assert!(
        kept.iter()
            .all(|(pool, _)| pool.as_str().starts_with("new-"))
    );
    let dropped: Vec<_> = world
        .deltas()
        .into_iter()
        .filter_map(|delta| match delta {
            Delta::DrainDropped { pool_id, .. } => Some(pool_id.to_string()),
            _ => None,
        })
        .collect();
    // Each is told, the oldest first.
    assert_eq!(
        dropped,
        (0..MAX_POOLS)
            .map(|i| format!("old-{i}"))
            .collect::<Vec<_>>()
    );
}

// spec: KEEP-14
#[test]
fn a_flood_of_nodes_ends_at_a_bound_and_those_that_are_gone_make_room() {
    let mut world = World::new();
    world.registry = Registry::bounded(Config::default(), MOST);
    let name = |i: usize| format!("n{i:05}");
    world.register(&name(0)).unwrap();
    world.register(&name(1)).unwrap();
    world.drain(&Target::Node(id(&name(0)))).unwrap();
    world.wait_until(secs(20));
    for i in 2..MOST {
        world.register(&name(i)).unwrap();
    }
    // All are alive: known nodes are served, and no other node can join.
    let refused = world.unchanged(|world| world.register("more"));
    assert_eq!(
        refused,
        Err(RegistryError::TooManyNodes {
            node_id: id("more"),
            most: MOST
        })
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("remove those that are gone")
    );
    assert_eq!(world.register(&name(5)), Ok(RegisterOutcome::Renewed));

    // Two have fallen silent. The one that is drained stays known.
    world.wait_until(secs(30));
    assert_eq!(world.status(&name(1)), NodeStatus::Offline);
    world.deltas();
    assert_eq!(world.register("more"), Ok(RegisterOutcome::Joined));
    let left = world.deltas().into_iter().find_map(|delta| match delta {
        Delta::Left { node_id, reason } => Some((node_id, reason)),
        _ => None,
    });
    assert_eq!(left, Some((id(&name(1)), LeftReason::Displaced)));
    assert_eq!(world.status(&name(0)), NodeStatus::Offline);
    assert!(matches!(
        world.register("yet-more"),
        Err(RegistryError::TooManyNodes { .. })
    ));

    // A node that left and is drained counts, because it is kept; it finds its place again.
    world
        .registry
        .deregister(&id(&name(0)), None, world.now)
        .unwrap();
    assert!(matches!(
        world.register("yet-more"),
        Err(RegistryError::TooManyNodes { .. })
    ));
    assert_eq!(world.register(&name(0)), Ok(RegisterOutcome::Joined));
    assert_eq!(world.registry.persisted_nodes().len(), MOST);
}
