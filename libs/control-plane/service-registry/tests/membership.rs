//! Who joins, who is refused, who leaves: registration, fencing, conflicts.

mod common;

use common::{World, beat, id, pool, pool_id, register, secs};
use pool_registry_types::{
    BootId, ErrorText, GpuStatus, HttpUrl, NodeStatus, RefusedHandoff, RegisterRequest, Slots, Text,
};
use service_registry::{
    Delta, FORGET_AFTER, HeartbeatOutcome, HolderAnswer, LeftReason, RegisterOutcome, RegistryError,
};

#[test]
fn a_node_joins_reports_and_is_routable() {
    let mut world = World::new();
    assert_eq!(world.register("a"), Ok(RegisterOutcome::Joined));
    assert_eq!(world.status("a"), NodeStatus::Online);
    assert_eq!(
        world.unavailable_reason("a"),
        "waiting for the node's first heartbeat"
    );
    assert_eq!(world.beat("a"), Ok(HeartbeatOutcome::Changed));
    assert!(world.routable("a"));
    let (endpoint, report) = world.endpoints().remove(0);
    assert_eq!(
        *endpoint.target(),
        HttpUrl::new("http://a:9200/v2/pools/pool-0/engine").unwrap()
    );
    assert_eq!(endpoint.models().unwrap()[..], ["tiny"]);
    assert_eq!((report.slots_free, report.slots_total), (3, 4));
    assert!(matches!(
        world.deltas().as_slice(),
        [Delta::Joined { .. }, Delta::Changed { .. }]
    ));
}

#[test]
fn a_heartbeat_of_an_unknown_node_is_refused() {
    let mut world = World::new();
    let refused = world.unchanged(|world| world.beat("a"));
    assert_eq!(
        refused,
        Err(RegistryError::UnknownNode { node_id: id("a") })
    );
}

/// What a message with one incarnation does to a node known with another, and with `seq` after a
/// known `seq` of 5.
// spec: LIVE-2
#[test]
fn fencing() {
    #[derive(Debug, PartialEq)]
    enum Expected {
        Accepted,
        Ignored,
        Stale,
        Unknown,
    }
    use Expected::{Accepted, Ignored, Stale, Unknown};
    for (known, got, seq, expected) in [
        (Some(7), Some(7), Some(6), Accepted),
        (Some(7), Some(7), Some(5), Ignored),
        (Some(7), Some(7), Some(1), Ignored),
        (Some(7), Some(7), None, Accepted),
        (Some(7), Some(6), Some(9), Stale),
        (Some(7), Some(6), None, Stale),
        (Some(7), Some(8), Some(1), Unknown),
        (Some(7), None, Some(1), Accepted),
        (None, None, Some(1), Accepted),
        (None, Some(3), Some(1), Accepted),
    ] {
        let mut world = World::new();
        world.register_as(register("a", "m", known)).unwrap();
        world
            .beat_as("a", beat(known, Some(5), vec![pool("pool-0")]))
            .unwrap();
        world.now = secs(1);
        let late = beat(got, seq, vec![]);
        let mut after = world.clone();
        let found = match after.beat_as("a", late.clone()) {
            Ok(HeartbeatOutcome::Ignored) => Ignored,
            Ok(_) => Accepted,
            Err(RegistryError::StaleIncarnation { .. }) => Stale,
            Err(RegistryError::UnknownNode { .. }) => Unknown,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "known {known:?} got {got:?} seq {seq:?}");
        if expected == Accepted {
            assert!(after.endpoints().is_empty());
        } else {
            let _ = world.unchanged(|world| world.beat_as("a", late));
        }
    }
}

#[test]
fn registering_again() {
    use RegisterOutcome::{Renewed, Restarted};
    for (known, got, expected) in [
        (Some(7), Some(7), Ok(Renewed)),
        (Some(7), Some(8), Ok(Restarted)),
        (Some(7), None, Ok(Restarted)),
        (None, None, Ok(Renewed)),
        (None, Some(1), Ok(Restarted)),
        (
            Some(7),
            Some(6),
            Err(RegistryError::StaleIncarnation {
                node_id: id("a"),
                known: 7,
                got: 6,
            }),
        ),
    ] {
        let mut world = World::new();
        world.register_as(register("a", "m", known)).unwrap();
        world
            .beat_as("a", beat(known, None, vec![pool("pool-0")]))
            .unwrap();
        world.deltas();
        let request = register("a", "m", got);
        if expected.is_err() {
            let found = world.unchanged(|world| world.register_as(request));
            assert_eq!(found, expected);
            continue;
        }
        assert_eq!(world.register_as(request), expected, "{known:?} {got:?}");
        // The same life keeps what it reported; a new one has to report first, but its models are
        // not forgotten.
        assert_eq!(world.routable("a"), expected == Ok(Renewed));
        let (endpoint, _) = world.endpoints().remove(0);
        assert_eq!(endpoint.models().unwrap()[..], ["tiny"]);
        let restarted = matches!(world.deltas().as_slice(), [Delta::Restarted { .. }]);
        assert_eq!(restarted, expected == Ok(Restarted));
    }
}

#[test]
fn a_new_life_counts_its_heartbeats_anew() {
    let mut world = World::new();
    world.register_as(register("a", "m", Some(1))).unwrap();
    world
        .beat_as("a", beat(Some(1), Some(900), vec![]))
        .unwrap();
    world.register_as(register("a", "m", Some(2))).unwrap();
    let first = world.beat_as("a", beat(Some(2), Some(0), vec![pool("pool-0")]));
    assert_eq!(first, Ok(HeartbeatOutcome::Changed));
}

#[test]
fn reports_rise_over_lives_and_absences() {
    let mut world = World::with_nodes(&["a"]);
    let report = |world: &World| world.endpoints()[0].1.number;
    let first = report(&world);
    world.beat("a").unwrap();
    let second = report(&world);
    world
        .registry
        .deregister(&id("a"), None, world.now)
        .unwrap();
    world.register("a").unwrap();
    world.beat("a").unwrap();
    assert!(first < second && second < report(&world));
}

#[test]
fn a_new_address_moves_the_endpoints() {
    let mut world = World::with_nodes(&["a"]);
    world.probe("a", false);
    world.probe("a", false);
    let mut moved = register("a", "machine-a", Some(1));
    moved.address = HttpUrl::new("http://elsewhere:1").unwrap();
    world.register_as(moved).unwrap();
    assert_eq!(world.endpoints()[0].0.target().host(), "elsewhere");
    // What probing the old address has shown says nothing about the new one.
    assert!(world.routable("a"));
    assert!(
        world
            .deltas()
            .iter()
            .any(|delta| matches!(delta, Delta::Moved { .. }))
    );
}

#[test]
fn an_address_without_room_for_pools_is_refused() {
    let mut world = World::new();
    let mut long = register("a", "m", None);
    long.address = HttpUrl::new(&format!("http://a:1/{}", "x".repeat(1000))).unwrap();
    let refused = world.unchanged(|world| world.register_as(long));
    assert_eq!(
        refused,
        Err(RegistryError::AddressTooLong { node_id: id("a") })
    );
}

// spec: LIVE-3
#[test]
fn one_id_belongs_to_one_living_machine() {
    let conflict = Err(RegistryError::NodeIdConflict {
        node_id: id("a"),
        holder: pool_registry_types::MachineId::new("machine-a").unwrap(),
    });
    let other = || register("a", "machine-b", Some(9));
    // Online, draining, unreachable: alive.
    let mut world = World::with_nodes(&["a"]);
    assert_eq!(
        world.unchanged(|world| world.register_as(other())),
        conflict
    );
    world
        .drain(&service_registry::Target::Node(id("a")))
        .unwrap();
    assert_eq!(
        world.unchanged(|world| world.register_as(other())),
        conflict
    );
    world.probe("a", false);
    world.probe("a", false);
    assert_eq!(world.status("a"), NodeStatus::Unreachable);
    assert_eq!(
        world.unchanged(|world| world.register_as(other())),
        conflict
    );
    // Offline: taken over, also by an earlier incarnation, because machines do not compare clocks.
    world.wait_until(secs(30));
    assert_eq!(
        world.register_as(register("a", "machine-b", Some(0))),
        Ok(RegisterOutcome::Restarted)
    );
    // And then the first machine is the one refused.
    assert!(matches!(
        world.register("a"),
        Err(RegistryError::NodeIdConflict { .. })
    ));
}

fn register_booted(machine: &str, incarnation: u64, boot: &str) -> RegisterRequest {
    let mut request = register("a", machine, Some(incarnation));
    request.boot_id = BootId::new(boot).ok();
    request
}

// spec: LIVE-42
#[test]
fn another_start_of_a_machine_takes_the_id_when_the_holder_does_not_answer() {
    let mut world = World::new();
    world
        .register_as(register_booted("m", 7, "boot-1"))
        .unwrap();
    world
        .beat_as("a", beat(Some(7), Some(1), vec![pool("pool-0")]))
        .unwrap();
    // No node is asked about the same start, an unknown one, or an unknown node.
    for request in [
        register_booted("m", 8, "boot-1"),
        register("a", "m", Some(8)),
    ] {
        assert_eq!(world.registry.holder_to_ask(&request), None);
    }
    let mut other_node = register_booted("m", 8, "boot-2");
    other_node.node_id = id("b");
    assert_eq!(world.registry.holder_to_ask(&other_node), None);

    // A clone of the machine may have an earlier incarnation and any machine id.
    for (machine, incarnation) in [("m", 3), ("m", 8), ("other", 8)] {
        let request = register_booted(machine, incarnation, "boot-2");
        let asked = world.registry.holder_to_ask(&request).unwrap();
        assert_eq!((asked.address.host(), asked.incarnation), ("a", Some(7)));
        let answer = |is_alive| HolderAnswer {
            asked: asked.clone(),
            is_alive,
        };
        let refused = world.unchanged(|world| {
            let now = world.now;
            world
                .registry
                .register_after_asking(request.clone(), &answer(true), now)
        });
        let error = refused.unwrap_err();
        assert!(
            matches!(&error, RegistryError::HolderAnswers { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("a node id of its own"),
            "{error}"
        );
        let mut taken_over = world.registry.clone();
        assert_eq!(
            taken_over.register_after_asking(request, &answer(false), world.now),
            Ok(RegisterOutcome::Restarted)
        );
        // The pools of the earlier holder are not used.
        assert!(
            taken_over
                .node(&id("a"))
                .unwrap()
                .pools
                .iter()
                .all(|pool| !pool.status.ready)
        );
    }

    // The holder changed while it was asked: the answer does not count.
    let request = register_booted("m", 3, "boot-2");
    let asked = world.registry.holder_to_ask(&request).unwrap();
    world
        .register_as(register_booted("m", 8, "boot-1"))
        .unwrap();
    let answer = HolderAnswer {
        asked,
        is_alive: false,
    };
    assert!(matches!(
        world
            .registry
            .register_after_asking(request, &answer, world.now),
        Err(RegistryError::StaleIncarnation { .. })
    ));
}

// spec: SEE-44
#[test]
fn refused_handoffs_and_faults_of_gpus_are_told_when_they_begin_and_end() {
    let mut world = World::with_nodes(&["a"]);
    let mut told = |refused: &[(&str, &str)], problem: Option<&str>| {
        let mut gpu = GpuStatus::new(1, Text::cut("RTX 3090"));
        gpu.problem = problem.map(ErrorText::cut);
        let mut request = beat(Some(1), None, vec![pool("pool-0")]);
        request.gpus = Some(vec![gpu]);
        let refused = refused.iter();
        request.refused_handoffs = refused
            .map(|(file, reason)| RefusedHandoff::new(file, reason))
            .collect();
        let _ = world.registry.take_deltas();
        world.beat_as("a", request).unwrap();
        let deltas = world.registry.take_deltas().into_iter();
        let told = deltas.filter_map(|delta| match delta {
            Delta::HandoffRefused { file, reason, .. } => Some((file, reason)),
            Delta::GpuProblem {
                device_id, problem, ..
            } => Some((device_id.to_string(), problem)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let say = |what: &str, why: Option<&str>| (what.to_owned(), why.map(str::to_owned));
    assert_eq!(told(&[], None), []);
    assert_eq!(
        told(&[("a.json", "bad"), ("b.json", "worse")], Some("lost")),
        [
            say("1", Some("lost")),
            say("a.json", Some("bad")),
            say("b.json", Some("worse"))
        ]
    );
    assert_eq!(
        told(&[("a.json", "bad"), ("b.json", "worse")], Some("lost")),
        []
    );
    assert_eq!(
        told(&[("a.json", "other")], None),
        [
            say("1", None),
            say("a.json", Some("other")),
            say("b.json", None)
        ]
    );
    let node = world.registry.node(&id("a")).unwrap();
    assert_eq!(
        node.refused_handoffs,
        [RefusedHandoff::new("a.json", "other")]
    );
}

// spec: REG-10
#[test]
fn only_the_registered_life_of_a_node_takes_it_back() {
    for (known, got, taken_back) in [
        (Some(7), Some(7), true),
        // An operator means the node, and an agent of version 0.1.0 does not say which life it is.
        (Some(7), None, true),
        (None, Some(7), true),
        (None, None, true),
        // A later start of the agent has taken over.
        (Some(7), Some(6), false),
        // Another machine has taken over the id, and machines do not compare clocks.
        (Some(7), Some(8), false),
    ] {
        let mut world = World::new();
        world.register_as(register("a", "m", known)).unwrap();
        let leave = |world: &mut World| world.registry.deregister(&id("a"), got, world.now);
        if taken_back {
            assert_eq!(leave(&mut world), Ok(()), "{known:?} {got:?}");
            assert_eq!(world.nodes().len(), 0);
            continue;
        }
        match world.unchanged(leave) {
            Err(RegistryError::StaleIncarnation {
                known: 7, got: 6, ..
            }) => assert_eq!(got, Some(6)),
            Err(RegistryError::UnknownNode { .. }) => assert_eq!(got, Some(8)),
            other => panic!("{known:?} {got:?}: {other:?}"),
        }
    }
}

#[test]
fn who_leaves_is_forgotten() {
    let mut world = World::with_nodes(&["a", "b"]);
    world
        .registry
        .deregister(&id("a"), None, world.now)
        .unwrap();
    assert_eq!(
        world.deltas(),
        [Delta::Left {
            node_id: id("a"),
            reason: LeftReason::Deregistered
        }]
    );
    assert!(matches!(
        world.beat("a"),
        Err(RegistryError::UnknownNode { .. })
    ));
    let again = world.unchanged(|world| world.registry.deregister(&id("a"), None, world.now));
    assert!(matches!(again, Err(RegistryError::UnknownNode { .. })));
    assert_eq!(world.nodes().len(), 1);
    // No deadline of the gone node is left behind.
    world
        .registry
        .deregister(&id("b"), None, world.now)
        .unwrap();
    assert_eq!(world.registry.next_deadline(), None);
}

#[test]
fn an_offline_node_is_forgotten_after_a_day() {
    let mut world = World::with_nodes(&["a"]);
    world.wait_until(secs(30));
    assert_eq!(
        world.registry.next_deadline(),
        Some(secs(30) + FORGET_AFTER)
    );
    world.wait_until(secs(29) + FORGET_AFTER);
    assert_eq!(world.status("a"), NodeStatus::Offline);
    world.deltas();
    world.wait_until(secs(30) + FORGET_AFTER);
    assert_eq!(
        world.deltas(),
        [Delta::Left {
            node_id: id("a"),
            reason: LeftReason::Forgotten
        }]
    );
    assert_eq!(world.registry.next_deadline(), None);
}

#[test]
fn only_what_a_reader_wants_to_know_is_a_change() {
    let replica = |slots_free, ready| {
        let mut replica = pool_registry_types::ReplicaStatus::new(
            pool_registry_types::ReplicaId::new("r0").unwrap(),
        )
        .with_slots(Slots::clamped(slots_free, 4));
        replica.ready = ready;
        replica.load.running = Some(4 - slots_free);
        replica
    };
    type Edit = fn(&mut pool_registry_types::PoolStatus);
    let quiet: [Edit; 2] = [
        |p| p.set_slots(Slots::clamped(0, p.slots_total())),
        |p| p.vram_free_bytes = 9,
    ];
    let loud: [Edit; 7] = [
        |p| p.ready = false,
        |p| p.draining = true,
        |p| p.set_slots(Slots::clamped(p.slots_free(), 9)),
        |p| p.sleeping = true,
        |p| p.models_available = None,
        |p| p.last_error = Some(ErrorText::cut("x")),
        |p| p.pool_id = pool_id("other"),
    ];
    let edits = quiet
        .map(|edit| (edit, HeartbeatOutcome::Unchanged))
        .into_iter()
        .chain(loud.map(|edit| (edit, HeartbeatOutcome::Changed)));
    for (edit, expected) in edits {
        let mut world = World::with_nodes(&["a"]);
        let before = (world.registry.revision(), world.endpoints());
        let mut status = pool("pool-0");
        edit(&mut status);
        let outcome = world.beat_as("a", beat(Some(1), None, vec![status]));
        assert_eq!(outcome, Ok(expected));
        let told = world
            .deltas()
            .iter()
            .any(|delta| matches!(delta, Delta::Changed { .. }));
        assert_eq!(told, expected == HeartbeatOutcome::Changed);
        // The routing view follows either way.
        assert!(world.registry.revision() > before.0);
        assert_ne!(world.endpoints(), before.1);
    }
    let mut world = World::with_nodes(&["a"]);
    for (slots_free, ready, expected) in [
        (4, true, HeartbeatOutcome::Changed),
        (1, true, HeartbeatOutcome::Unchanged),
        (1, false, HeartbeatOutcome::Changed),
    ] {
        let mut status = pool("pool-0");
        status.replicas = Some(vec![replica(slots_free, ready)]);
        assert_eq!(
            world.beat_as("a", beat(Some(1), None, vec![status])),
            Ok(expected)
        );
    }
}

#[test]
fn gpus_are_shown_as_last_reported_and_are_no_news() {
    let mut world = World::with_nodes(&["a"]);
    let report = |incarnation, gpus| {
        let mut heartbeat = beat(incarnation, None, vec![pool("pool-0")]);
        heartbeat.gpus = gpus;
        heartbeat
    };
    let gpus = |free| {
        Some(vec![{
            let mut gpu = GpuStatus::default();
            gpu.vram_free_bytes = Some(free);
            gpu
        }])
    };
    let shown = |world: &World| world.node("a").gpus;
    for free in [7, 5] {
        let outcome = world.beat_as("a", report(Some(1), gpus(free))).unwrap();
        assert_eq!(outcome, HeartbeatOutcome::Unchanged);
        assert_eq!(shown(&world).as_deref(), gpus(free).as_deref());
    }
    // A new life has not looked yet; an older agent never says.
    world
        .register_as(register("a", "machine-a", Some(2)))
        .unwrap();
    assert_eq!(shown(&world), None);
    world.beat_as("a", report(Some(2), None)).unwrap();
    assert_eq!(shown(&world), None);
}
