//! The rules of admission, one by one.

use pool_registry_types::NodeId;
use routing_table::State;

use super::{fixture::*, *};
use crate::Priority;
use placement::Skip;

/// Busy, without a word on for how long.
const BUSY: Ending = Ending::Refused { pause: None };

// spec: ADM-1
#[test]
fn a_freed_slot_goes_to_who_has_waited_longest_and_to_nobody_else() {
    let mut core = core(&[idle("a", 1)]);
    let first = take(&mut core, MS);
    for waiter in 1..=3 {
        waits(core.arrive(&ask("m"), MS, || waiter));
    }
    let woken = core.released(&first, Ending::Served, 2 * MS);
    assert_eq!(
        woken.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(),
        [1]
    );
    let woken = core.released(&woken[0].1, Ending::Served, 3 * MS);
    assert_eq!(
        woken.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(),
        [2]
    );
}

// spec: ADM-1
#[test]
fn nobody_overtakes() {
    let mut core = core(&[idle("a", 1)]);
    let first = take(&mut core, MS);
    let ticket = waits(core.arrive(&ask("m"), MS, || 1));
    assert_eq!(core.ahead_of("m", ticket), 0);
    let woken = core.released(&first, Ending::Served, MS);
    // The slot was given to the waiter in the same breath: a newcomer finds it taken.
    waits(core.arrive(&ask("m"), MS, || 2));
    drop(woken);
}

#[test]
fn who_leaves_the_line_is_not_woken() {
    let mut core = core(&[idle("a", 1)]);
    let first = take(&mut core, MS);
    let ticket = waits(core.arrive(&ask("m"), MS, || 1));
    waits(core.arrive(&ask("m"), MS, || 2));
    assert!(core.leave("m", ticket));
    assert!(!core.leave("m", ticket));
    assert_eq!(core.released(&first, Ending::Served, MS)[0].0, 2);
}

// spec: ADM-2
#[test]
fn a_full_line_is_told_when_to_come_back() {
    let mut core = core(&[idle("a", 2)]);
    // Two requests of 4 s each are finished: two slots free one request every 2 s.
    for _ in 0..2 {
        let grant = take(&mut core, Duration::ZERO);
        core.released(&grant, Ending::Served, 4 * S);
    }
    let held = [take(&mut core, 4 * S), take(&mut core, 4 * S)];
    for waiter in 0..4 {
        waits(core.arrive(&ask("m"), 4 * S, || waiter));
    }
    let refusal = refused(core.arrive(&ask("m"), 4 * S, || 9));
    assert_eq!(refusal.reason, RefusalReason::QueueFull);
    // Four wait, so the fifth slot is mine: 5 × 2 s.
    assert_eq!(refusal.retry_after, Some(10 * S));
    drop(held);
}

// spec: ADM-5
#[test]
fn an_unknown_model_is_refused_at_once_but_waits_while_nodes_may_still_come() {
    let mut core = core(&[idle("a", 1)]);
    assert_eq!(
        refused(core.arrive(&ask("x"), S, || 1)).reason,
        RefusalReason::UnknownModel
    );

    let config = Config {
        warm_up: 10 * S,
        ..Config::default()
    };
    let mut core = Core::new(config);
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(core.replaced(&[idle("a", 1)], 2 * S)[0].0, 1);
    assert_eq!(
        refused(core.arrive(&ask("x"), 10 * S, || 2)).reason,
        RefusalReason::UnknownModel
    );
}

// spec: ADM-5
#[test]
fn a_model_whose_nodes_are_away_is_waited_for() {
    let away = Fake {
        state: State::NotReady,
        ..idle("a", 1)
    };
    let mut core = core(&[away]);
    let in_vain = waits(core.arrive(&ask("m"), S, || 0));
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(
        core.expire("m", in_vain, true, S).unwrap().reason,
        RefusalReason::NoneRoutable
    );
    assert_eq!(core.replaced(&[idle("a", 1)], 2 * S)[0].0, 1);
}

#[test]
fn a_retry_goes_elsewhere_and_keeps_its_place() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let on_a = take(&mut core, MS);
    let on_b = take(&mut core, MS);
    assert_eq!((node(&on_a), node(&on_b)), ("a", "b"));
    waits(core.arrive(&ask("m"), MS, || 1));
    let tried = [on_a.endpoint.clone()];
    let ticket = on_a.ticket;
    let woken = core.released(&on_a, Ending::Failed(Failure::Broken), MS);
    assert_eq!((woken[0].0, node(&woken[0].1)), (1, "a"));
    // The failed one came before the others and may not go to a: it waits for b, ahead of a
    // newcomer.
    waits(core.arrive(&ask("m"), MS, || 2));
    let again = AcquireRequest {
        tried: &tried,
        ticket: Some(ticket),
        ..ask("m")
    };
    assert_eq!(waits(core.arrive(&again, MS, || 3)), ticket);
    let woken = core.released(&on_b, Ending::Served, MS);
    assert_eq!((woken[0].0, node(&woken[0].1)), (3, "b"));
}

#[test]
fn a_retry_with_nowhere_left_to_go_does_not_wait() {
    let mut core = core(&[idle("a", 1)]);
    let grant = take(&mut core, MS);
    let tried = [grant.endpoint.clone()];
    core.released(&grant, Ending::Failed(Failure::Broken), MS);
    let again = AcquireRequest {
        tried: &tried,
        ticket: Some(grant.ticket),
        ..ask("m")
    };
    assert_eq!(
        refused(core.arrive(&again, MS, || 1)).reason,
        RefusalReason::Exhausted
    );
}

#[test]
fn a_retry_that_is_pinned_to_the_node_that_failed_does_not_wait() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let pinned = Arc::new(RoutingPreference {
        pin: Some(NodeId::new("a").unwrap()),
        ..RoutingPreference::default()
    });
    let mut ask = ask("m");
    ask.wish = &pinned;
    let first = granted(core.arrive(&ask, MS, || 1));
    core.released(&first, Ending::Failed(Failure::Broken), MS);
    let tried = [first.endpoint.clone()];
    ask.tried = &tried;
    ask.ticket = Some(first.ticket);
    let refusal = refused(core.arrive(&ask, 2 * MS, || 2));
    assert_eq!(refusal.reason, RefusalReason::Exhausted);
}

#[test]
fn a_refused_connection_takes_the_endpoint_out_and_one_probe_brings_it_back() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, Ending::Failed(Failure::Unreachable), S);
    waits(core.arrive(&ask("m"), S, || 1));
    waits(core.arrive(&ask("m"), S, || 2));
    assert_eq!(core.next_wakeup(), Some(2 * S));
    assert!(core.ticked(2 * S - MS).is_empty());
    let probe = core.ticked(2 * S);
    assert_eq!(
        probe.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(),
        [1],
        "one probe, not all at once"
    );
    // Its report says that it is well; that alone opens nothing.
    assert!(core.replaced(&[reported("a", 4, 2, 4)], 2 * S).is_empty());
    let woken = core.released(&probe[0].1, Ending::Served, 3 * S);
    assert_eq!(woken[0].0, 2);
}

#[test]
fn a_probe_passes_when_its_answer_begins() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, Ending::Failed(Failure::Unreachable), S);
    let mut probe = granted(core.arrive(&ask("m"), 3 * S, || 1));
    core.answered(&mut probe, None, Some((3, 4)), 3 * S);
    take(&mut core, 3 * S);
}

// spec: ADM-10
#[test]
fn a_new_life_starts_fresh() {
    let mut core = core(&[idle("a", 1)]);
    let old = take(&mut core, S);
    waits(core.arrive(&ask("m"), S, || 1));
    let reborn = Fake {
        incarnation: 2,
        ..idle("a", 1)
    };
    let woken = core.replaced(&[reborn], S);
    assert_eq!(woken[0].0, 1);
    // The old life's slot coming back frees nothing in the new one.
    waits(core.arrive(&ask("m"), S, || 2));
    assert!(
        core.released(&old, Ending::Failed(Failure::Unreachable), S)
            .is_empty()
    );
    assert_eq!(core.released(&woken[0].1, Ending::Served, S)[0].0, 2);
}

#[test]
fn slots_are_remembered_while_an_endpoint_is_away() {
    let mut core = core(&[idle("a", 1)]);
    let held = take(&mut core, S);
    core.replaced(&[], S);
    core.replaced(&[idle("a", 1)], S);
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(core.released(&held, Ending::Served, S)[0].0, 1);
}

// spec: ADM-9
#[test]
fn load_of_others_counts_until_it_is_old() {
    let mut core = core(&[idle("a", 4)]);
    let _own = take(&mut core, S);
    // It says that none is free: three are held by others.
    core.replaced(&[reported("a", 4, 2, 0)], S);
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(
        core.ticked(2 * S)[0].0,
        1,
        "an old report does not keep an endpoint idle"
    );
}

// spec: ADM-9
#[test]
fn a_report_that_counts_our_finished_requests_is_seen_through() {
    let mut core = core(&[idle("a", 2)]);
    let grants = [take(&mut core, S), take(&mut core, S)];
    for grant in &grants {
        core.released(grant, Ending::Served, S);
    }
    // Written while both ran, read when both are done.
    core.replaced(&[reported("a", 2, 2, 0)], S);
    take(&mut core, S);
}

// spec: ADM-8
#[test]
fn busy_is_not_failure_but_is_left_alone_for_a_moment() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, BUSY, S);
    assert!(core.only_status(S).quarantine.is_none());
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(core.ticked_at_wakeup()[0].0, 1);
}

// spec: ADM-12
#[test]
fn batch_work_waits_for_people_but_not_for_ever() {
    let mut core = core(&[idle("a", 1)]);
    core.config.queue_limit = 20;
    let mut held = take(&mut core, MS);
    let batch = AcquireRequest {
        priority: Priority::Batch,
        ..ask("m")
    };
    for waiter in 100..103 {
        waits(core.arrive(&batch, MS, || waiter));
    }
    for waiter in 0..10 {
        waits(core.arrive(&ask("m"), MS, || waiter));
    }
    let mut order = Vec::new();
    while let Some((waiter, grant)) = core.released(&held, Ending::Served, MS).pop() {
        order.push(waiter);
        held = grant;
    }
    assert_eq!(order, [0, 1, 2, 3, 100, 4, 5, 6, 7, 101, 8, 9, 102]);
}

// spec: ADM-12
#[test]
fn a_batch_request_does_not_overtake_people_and_has_a_limit_of_its_own() {
    let mut core = core(&[idle("a", 1)]);
    let held = take(&mut core, MS);
    let batch = AcquireRequest {
        priority: Priority::Batch,
        ..ask("m")
    };
    for waiter in 0..4 {
        waits(core.arrive(&batch, MS, || waiter));
    }
    assert_eq!(
        refused(core.arrive(&batch, MS, || 9)).reason,
        RefusalReason::QueueFull
    );
    let person = waits(core.arrive(&ask("m"), MS, || 10));
    assert_eq!(core.ahead_of("m", person), 0);
    assert_eq!(core.released(&held, Ending::Served, MS)[0].0, 10);
}

// spec: PLACE-10
#[test]
fn who_waits_for_one_node_stands_in_nobodys_way() {
    let mut core = core(&[idle("a", 1), idle("b", 1)]);
    let pinned = Arc::new(RoutingPreference {
        pin: NodeId::new("a").ok(),
        ..RoutingPreference::default()
    });
    let on_a = granted(core.arrive(
        &AcquireRequest {
            wish: &pinned,
            ..ask("m")
        },
        MS,
        || 0,
    ));
    waits(core.arrive(
        &AcquireRequest {
            wish: &pinned,
            ..ask("m")
        },
        MS,
        || 1,
    ));
    let on_b = take(&mut core, MS);
    assert_eq!((node(&on_a), node(&on_b)), ("a", "b"));
    waits(core.arrive(&ask("m"), MS, || 2));
    assert_eq!(core.released(&on_b, Ending::Served, MS)[0].0, 2);
    assert_eq!(core.released(&on_a, Ending::Served, MS)[0].0, 1);
}

// spec: PLACE-9
#[test]
fn prompts_return_to_where_they_were_read() {
    let mut core = core(&[idle("a", 4), idle("b", 4), idle("c", 4)]);
    let wish = |blocks: &[u64]| {
        let affinity = placement::Affinity {
            blocks: blocks.to_vec(),
            session: None,
        };
        Arc::new(RoutingPreference {
            strategy: placement::Strategy::Prefix,
            pin: None,
            affinity,
        })
    };
    let first = granted(core.arrive(
        &AcquireRequest {
            wish: &wish(&[1, 2, 3]),
            ..ask("m")
        },
        MS,
        || 0,
    ));
    let other = granted(core.arrive(
        &AcquireRequest {
            wish: &wish(&[7, 8, 9]),
            ..ask("m")
        },
        MS,
        || 0,
    ));
    let again = granted(core.arrive(
        &AcquireRequest {
            wish: &wish(&[1, 2, 3, 4]),
            ..ask("m")
        },
        MS,
        || 0,
    ));
    assert_ne!(node(&first), node(&other));
    assert_eq!(node(&first), node(&again));
}

// spec: PLACE-11
#[test]
fn explains_without_changing_anything() {
    let draining = Fake {
        state: State::Draining,
        ..idle("b", 2)
    };
    let mut core = core(&[idle("a", 1), draining, idle("c", 1)]);
    let _held = take(&mut core, MS);
    let before = core.snapshot(MS);
    let explained = core.explain("m", anywhere(), MS);
    let told: Vec<_> = explained
        .candidates
        .iter()
        .map(|c| (c.key.node.as_str(), c.skip, c.chosen))
        .collect();
    assert_eq!(
        told,
        [
            ("a", Some(Skip::Full), false),
            ("b", Some(Skip::Draining), false),
            ("c", None, true)
        ]
    );
    assert_eq!((explained.no_place, explained.waiting), (None, 0));
    assert_eq!(
        core.explain("x", anywhere(), MS).no_place,
        Some(NoPlace::UnknownModel)
    );
    assert_eq!(core.snapshot(MS), before);
}

// spec: PLACE-10
#[test]
fn two_models_that_alternate_each_go_round_all_their_endpoints() {
    let with = |name: &str, model: &str| Fake {
        models: Some(vec![model.to_owned()]),
        ..idle(name, 8)
    };
    let mut core = core(&[
        with("a", "x"),
        with("b", "x"),
        with("c", "y"),
        with("d", "y"),
    ]);
    let wish: Arc<RoutingPreference> = Arc::new(RoutingPreference {
        strategy: placement::Strategy::RoundRobin,
        ..RoutingPreference::default()
    });
    let mut seen = String::new();
    for _ in 0..2 {
        for model in ["x", "y"] {
            seen.push_str(node(&granted(core.arrive(
                &AcquireRequest {
                    wish: &wish,
                    ..ask(model)
                },
                MS,
                || 0,
            ))));
        }
    }
    assert_eq!(seen, "acbd");
}

#[test]
fn an_endpoint_whose_answers_all_break_is_ejected() {
    let mut core = core(&[idle("a", 1)]);
    for _ in 0..3 {
        let mut grant = take(&mut core, MS);
        core.answered(&mut grant, None, None, MS);
        core.released(&grant, Ending::Failed(Failure::Broken), MS);
    }
    assert!(core.only_status(MS).quarantine.is_some());
}

#[test]
fn a_refusal_fills_the_endpoint_and_not_more() {
    let mut core = core(&[idle("a", 4)]);
    let grants: Vec<_> = (0..3).map(|_| take(&mut core, MS)).collect();
    core.released(&grants[0], BUSY, MS);
    let status = core.only_status(MS);
    assert_eq!((status.in_flight, status.foreign), (2, 2));
}

#[test]
fn only_the_probe_speaks_for_itself() {
    let quarantined = |core: &Core<u32>| core.only_status(2 * S).quarantine.is_some();
    let mut core = core(&[idle("a", 4)]);
    let (old, older) = (take(&mut core, MS), take(&mut core, MS));
    let failed = take(&mut core, MS);
    core.released(&failed, Ending::Failed(Failure::Unreachable), MS);
    let mut probe = take(&mut core, 2 * S);
    // Streams begun before the quarantine end, one well and one not, while the probe is still out.
    core.released(&old, Ending::Served, 2 * S);
    assert!(quarantined(&core));
    core.released(&older, Ending::Failed(Failure::Broken), 2 * S);
    core.answered(&mut probe, None, None, 2 * S);
    assert!(!quarantined(&core));
}

#[test]
fn a_model_that_was_known_is_unavailable_not_unheard_of() {
    let config = Config {
        warm_up: 10 * S,
        ..Config::default()
    };
    let mut core: Core<u32> = Core::new(config);
    for (known, reason) in [
        (true, RefusalReason::NoneRoutable),
        (false, RefusalReason::UnknownModel),
    ] {
        let ticket = waits(core.arrive(&ask("m"), S, || 1));
        assert_eq!(
            core.expire("m", ticket, known, 6 * S).unwrap().reason,
            reason
        );
    }
}

#[test]
fn requests_are_counted_where_they_run_also_when_that_has_left_the_table() {
    let key = idle("a", 4).key();
    let mut core = core(&[idle("a", 4)]);
    assert_eq!(core.in_flight_at(&key), Some(0));
    assert_eq!(core.in_flight_at(&idle("b", 4).key()), None);
    let (first, second) = (take(&mut core, MS), take(&mut core, MS));
    assert_eq!(core.in_flight_at(&key), Some(2));
    let drained = Fake {
        state: State::Draining,
        ..idle("a", 4)
    };
    core.replaced(&[drained], MS);
    core.released(&first, Ending::Served, MS);
    assert_eq!(core.in_flight_at(&key), Some(1));
    core.replaced(&[], MS);
    assert_eq!(core.in_flight_at(&key), Some(1));
    core.released(&second, Ending::Served, MS);
    assert_eq!(core.in_flight_at(&key), None);
}

/// One endpoint with four slots, in quarantine until 2 s by a connection that was refused at 1 s.
fn quarantined() -> Core<u32> {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    core.released(&grant, Ending::Failed(Failure::Unreachable), S);
    core
}

// spec: ADM-13
#[test]
fn a_probe_whose_client_leaves_makes_room_for_the_next() {
    let mut core = quarantined();
    let probe = take(&mut core, 2 * S);
    waits(core.arrive(&ask("m"), 2 * S, || 1));
    waits(core.arrive(&ask("m"), 2 * S, || 2));
    let mut next = core.released(&probe, Ending::Untold, 2 * S);
    assert_eq!(waiters(&next), [1], "one probe at a time");
    assert_eq!((probe.probe, next[0].1.probe), (Some(1), Some(2)));
    assert_eq!(core.only_status(2 * S).in_flight, 1);
    core.answered(&mut next[0].1, None, None, 2 * S);
    assert_eq!(waiters(&core.granted()), [2]);
}

// spec: ADM-13
#[test]
fn a_failure_counts_when_its_request_is_dropped() {
    let mut core = core(&[idle("a", 4)]);
    let broken: Vec<_> = (0..3).map(|_| take(&mut core, MS)).collect();
    for grant in &broken {
        core.release(grant, Ending::Failed(Failure::Broken), MS, 0.0);
    }
    let changes = core.take_effects().trust_changes;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].lost_by, Some(Failure::Broken));
    let status = core.only_status(MS);
    assert!(status.in_flight == 0 && status.quarantine.is_some());
}

// spec: ADM-14
#[test]
fn a_probe_with_a_long_prompt_does_not_keep_the_others_away() {
    let mut core = quarantined();
    let slow = take(&mut core, 2 * S);
    waits(core.arrive(&ask("m"), 2 * S, || 1));
    waits(core.arrive(&ask("m"), 2 * S, || 2));
    assert_eq!(
        core.next_wakeup(),
        Some(3 * S),
        "the time of the first backoff"
    );
    let mut second = core.ticked(3 * S);
    assert_eq!(waiters(&second), [1], "one probe at a time");
    // Its short prompt is answered at once, and that is proof enough.
    core.answered(&mut second[0].1, None, None, 3 * S);
    assert_eq!(waiters(&core.granted()), [2]);
    assert!(core.only_status(3 * S).quarantine.is_none());
    // What becomes of the first is one failure among others.
    core.released(&slow, Ending::Failed(Failure::Broken), 4 * S);
    assert!(core.only_status(4 * S).quarantine.is_none());
}

// spec: ADM-15
#[test]
fn every_event_that_notices_the_end_of_a_pause_serves_the_waiting_requests() {
    type Notices = fn(&mut Core<u32>, Ticket);
    let notices: [(&str, Notices); 5] = [
        ("arrival", |core, _| {
            waits(core.arrive(&ask("m"), 2 * S, || 9));
        }),
        ("outlook", |core, _| {
            assert!(!core.outlook("m", Priority::Interactive, 2 * S).is_free);
        }),
        ("explain", |core, _| {
            core.explain("m", anywhere(), 2 * S);
        }),
        ("end of its wait", |core, ticket| {
            assert_eq!(core.expire("m", ticket, true, 2 * S), None);
        }),
        ("tick", |core, _| core.tick(2 * S)),
    ];
    for (name, notice) in notices {
        let mut core = quarantined();
        let ticket = waits(core.arrive(&ask("m"), S, || 1));
        notice(&mut core, ticket);
        assert_eq!(waiters(&core.granted()), [1], "{name}");
    }
}

// spec: ADM-15
#[test]
fn an_answer_that_ends_a_quarantine_serves_the_waiting_requests() {
    let mut core = quarantined();
    let mut probe = take(&mut core, 2 * S);
    for waiter in 1..=4 {
        waits(core.arrive(&ask("m"), 2 * S, || waiter));
    }
    core.answered(&mut probe, None, None, 2 * S);
    assert_eq!(
        waiters(&core.granted()),
        [1, 2, 3],
        "three slots are free beside the probe's"
    );
}

// spec: ADM-16
#[test]
fn an_engine_that_says_for_how_long_it_is_busy_is_left_alone_for_so_long() {
    let engine = |report| Fake {
        report,
        ..replica("r0", 4)
    };
    for (asked, granted) in [(3 * S, 3 * S), (3600 * S, 60 * S), (Duration::MAX, 60 * S)] {
        let mut core = core(&[engine(1)]);
        let grant = take(&mut core, S);
        core.released(&grant, Ending::Refused { pause: Some(asked) }, S);
        let ticket = waits(core.arrive(&ask("m"), S, || 1));
        assert!(core.ticked(2 * S).is_empty());
        // Its report says that all slots are free. The pause it asked for counts more.
        assert!(core.replaced(&[engine(2)], 3 * S).is_empty());
        let pause = granted.saturating_sub(2 * S);
        assert_eq!(core.next_wakeup(), Some(3 * S + pause));
        // A request that gives up meanwhile is told to come back when the pause is over.
        let refusal = core.expire("m", ticket, true, 3 * S).unwrap();
        assert_eq!(refusal.reason, RefusalReason::QueueFull);
        assert_eq!(refusal.retry_after, Some(pause.max(S)));
        waits(core.arrive(&ask("m"), 3 * S, || 2));
        assert_eq!(waiters(&core.ticked(3 * S + pause)), [2]);
    }
}

// spec: ADM-16
#[test]
fn a_pool_that_says_so_for_one_of_its_engines_is_left_alone_for_two_seconds_at_most() {
    let mut core = core(&[idle("a", 4)]);
    let grant = take(&mut core, S);
    let pause = Some(3600 * S);
    core.released(&grant, Ending::Refused { pause }, S);
    waits(core.arrive(&ask("m"), S, || 1));
    assert!(core.ticked(3 * S - MS).is_empty());
    assert_eq!(waiters(&core.ticked(3 * S)), [1]);
}

// spec: ADM-16
#[test]
fn an_engine_that_is_busy_again_and_again_is_asked_less_and_less_often() {
    let mut core = core(&[idle("a", 1)]);
    let mut now = S;
    let mut pauses = Vec::new();
    let mut grant = take(&mut core, now);
    for _ in 0..6 {
        core.released(&grant, BUSY, now);
        waits(core.arrive(&ask("m"), now, || 1));
        let at = core.next_wakeup().unwrap();
        pauses.push((at - now).as_millis());
        now = at;
        grant = core.ticked(now).remove(0).1;
    }
    assert_eq!(pauses, [250, 500, 1000, 2000, 2000, 2000]);
    // It has taken a request: the next time counts as the first.
    core.answered(&mut grant, None, None, now);
    core.released(&grant, BUSY, now);
    waits(core.arrive(&ask("m"), now, || 1));
    assert_eq!(core.next_wakeup(), Some(now + 250 * MS));
}
