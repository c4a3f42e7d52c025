//! The nodes in parts, and where they are probed.

mod common;

use common::{World, beat, id, model_names, pool, register, secs};
use pool_registry_types::NodeStatus;
use service_registry::{NodeFilter, NodesPage, PageStep};

fn names(page: &NodesPage) -> Vec<&str> {
    page.nodes
        .iter()
        .map(|node| node.node_id.as_str())
        .collect()
}

// spec: LIVE-38
#[test]
fn pages_follow_one_another_and_filters_choose() {
    let mut world = World::with_nodes(&["a", "b", "c", "d", "e"]);
    let mut other = pool("pool-0");
    other.models_available = Some(model_names(&["other"]));
    world
        .beat_as("d", beat(Some(1), None, vec![other]))
        .unwrap();
    world.probe("b", false);
    world.probe("b", false);
    let all = NodeFilter::default();
    let page = |after: Option<&str>, limit, filter: &NodeFilter| {
        world.registry.page(after.map(id).as_ref(), limit, filter)
    };
    let first = page(None, 2, &all);
    assert_eq!((names(&first), first.more), (vec!["a", "b"], true));
    let second = page(Some("b"), 3, &all);
    assert_eq!((names(&second), second.more), (vec!["c", "d", "e"], false));
    // A node that is gone is a place like any other.
    let behind = page(Some("bb"), 1, &all);
    assert_eq!((names(&behind), behind.more), (vec!["c"], true));
    let lost = NodeFilter {
        status: Some(NodeStatus::Unreachable),
        model: None,
    };
    assert_eq!(names(&page(None, 9, &lost)), ["b"]);
    let tiny = NodeFilter {
        status: Some(NodeStatus::Online),
        model: Some("tiny".to_owned()),
    };
    let found = page(None, 2, &tiny);
    assert_eq!((names(&found), found.more), (vec!["a", "c"], true));
    assert_eq!(names(&page(Some("c"), 2, &tiny)), ["e"]);
    assert!(
        !page(Some("c"), 1, &tiny).more,
        "there are nodes behind it, and none of them is meant"
    );
    assert_eq!(names(&page(None, 0, &all)), [""; 0]);
}

// spec: LIVE-38
#[test]
fn a_page_can_be_put_together_in_steps() {
    let world = World::with_nodes(&["a", "b", "c", "d", "e"]);
    for most in 1..7 {
        let (mut page, mut after) = (NodesPage::default(), None);
        while let PageStep::ContinueAfter(node_id) =
            world
                .registry
                .add_to_page(&mut page, after.as_ref(), 3, &NodeFilter::default(), most)
        {
            after = Some(node_id);
        }
        assert_eq!(
            (names(&page), page.more),
            (vec!["a", "b", "c"], true),
            "{most} at a time"
        );
    }
}

// spec: LIVE-39
#[test]
fn the_prober_hears_of_what_concerns_it_and_of_nothing_else() {
    let mut world = World::new();
    let mut concerned = |event: fn(&mut World)| -> Vec<String> {
        event(&mut world);
        let targets = world.registry.take_targets();
        targets
            .iter()
            .map(|node_id| match world.registry.target(node_id) {
                Some(target) => format!(
                    "{node_id} {:?} offline={}",
                    target.incarnation, target.offline
                ),
                None => format!("{node_id} gone"),
            })
            .collect()
    };
    assert_eq!(
        concerned(|world| drop(world.register("a"))),
        ["a Some(1) offline=false"]
    );
    for quiet in [
        (|world| drop(world.beat("a"))) as fn(&mut World),
        |world| drop(world.register("a")),
        |world| world.probe("a", false),
        |world| world.probe("a", false),
        |world| {
            world
                .drain(&service_registry::Target::Node(id("a")))
                .unwrap();
        },
    ] {
        assert_eq!(concerned(quiet), [""; 0]);
    }
    assert_eq!(
        concerned(|world| world.wait_until(secs(31))),
        ["a Some(1) offline=true"]
    );
    assert_eq!(
        concerned(|world| drop(world.beat("a"))),
        ["a Some(1) offline=false"]
    );
    let again = |world: &mut World| drop(world.register_as(register("a", "machine-a", Some(2))));
    assert_eq!(concerned(again), ["a Some(2) offline=false"]);
    let leave = |world: &mut World| {
        world
            .registry
            .deregister(&id("a"), None, world.now)
            .unwrap();
    };
    assert_eq!(concerned(leave), ["a gone"]);
}
