//! The rules of admission, and what must hold whatever happens in whatever order.

use std::sync::LazyLock;

use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{Availability, Hop};

use super::*;
use crate::Priority;
use placement::Skip;

const MS: Duration = Duration::from_millis(1);
pub(super) const S: Duration = Duration::from_secs(1);

fn endpoint(node: &str, slots: u32, report: u64, slots_free: u32) -> Endpoint {
    Endpoint {
        key: EndpointKey {
            node: NodeId::new(node).unwrap(),
            pool: PoolId::new("p").unwrap(),
            replica: None,
        },
        incarnation: 1,
        target: HttpUrl::new("http://localhost:1").unwrap(),
        hop: Hop::Node,
        availability: Availability::Ready,
        slots_total: slots,
        slots_free,
        report,
        vram_free_bytes: 0,
        models: Some(["m".to_owned()].into()),
        engine: None,
        engine_version: None,
    }
}

pub(super) fn idle(node: &str, slots: u32) -> Endpoint {
    endpoint(node, slots, 1, slots)
}

pub(super) fn table(endpoints: Vec<Endpoint>) -> Arc<RoutingTable> {
    Arc::new(RoutingTable::new(1, endpoints))
}

pub(super) fn core(endpoints: Vec<Endpoint>) -> Core<u32> {
    let config = Config {
        queue_limit: 4,
        max_wait: S,
        warm_up: Duration::ZERO,
    };
    let mut core = Core::new(config);
    assert!(core.replace_table(table(endpoints), Duration::ZERO).is_empty());
    core
}

static ANYWHERE: LazyLock<Arc<Wish>> = LazyLock::new(Arc::default);

pub(super) fn ask(model: &str) -> Ask<'_> {
    Ask {
        model,
        priority: Priority::Interactive,
        wish: &ANYWHERE,
        tried: &[],
        ticket: None,
    }
}

fn granted(arrival: Arrival) -> Grant {
    match arrival {
        Arrival::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn refused(arrival: Arrival) -> Refusal {
    match arrival {
        Arrival::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(super) fn waits(arrival: Arrival) -> Ticket {
    match arrival {
        Arrival::Waiting { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

fn node(grant: &Grant) -> &str {
    grant.endpoint().unwrap().key.node.as_str()
}

pub(super) fn take(core: &mut Core<u32>, now: Duration) -> Grant {
    granted(core.arrive(&ask("m"), now, || unreachable!("does not wait")))
}

// spec: ADM-1
#[test]
fn a_freed_slot_goes_to_who_has_waited_longest_and_to_nobody_else() {
    let mut core = core(vec![idle("a", 1)]);
    let first = take(&mut core, MS);
    for waiter in 1..=3 {
        waits(core.arrive(&ask("m"), MS, || waiter));
    }
    let woken = core.release(&first, Ending::Served, 2 * MS, 0.0);
    assert_eq!(woken.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(), [1]);
    let woken = core.release(&woken[0].1, Ending::Served, 3 * MS, 0.0);
    assert_eq!(woken.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(), [2]);
}

// spec: ADM-1
#[test]
fn nobody_overtakes() {
    let mut core = core(vec![idle("a", 1)]);
    let first = take(&mut core, MS);
    let ticket = waits(core.arrive(&ask("m"), MS, || 1));
    assert_eq!(core.ahead_of("m", ticket), 0);
    let woken = core.release(&first, Ending::Served, MS, 0.0);
    // The slot was given to the waiter in the same breath: a newcomer finds it taken.
    waits(core.arrive(&ask("m"), MS, || 2));
    drop(woken);
}

#[test]
fn who_leaves_the_line_is_not_woken() {
    let mut core = core(vec![idle("a", 1)]);
    let first = take(&mut core, MS);
    let ticket = waits(core.arrive(&ask("m"), MS, || 1));
    waits(core.arrive(&ask("m"), MS, || 2));
    assert!(core.leave("m", ticket));
    assert!(!core.leave("m", ticket));
    assert_eq!(core.release(&first, Ending::Served, MS, 0.0)[0].0, 2);
}

// spec: ADM-2
#[test]
fn a_full_line_is_told_when_to_come_back() {
    let mut core = core(vec![idle("a", 2)]);
    // Two requests of 4 s each are finished: two slots free one request every 2 s.
    for _ in 0..2 {
        let grant = take(&mut core, Duration::ZERO);
        core.release(&grant, Ending::Served, 4 * S, 0.0);
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
    let mut core = core(vec![idle("a", 1)]);
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
    assert_eq!(core.replace_table(table(vec![idle("a", 1)]), 2 * S)[0].0, 1);
    assert_eq!(
        refused(core.arrive(&ask("x"), 10 * S, || 2)).reason,
        RefusalReason::UnknownModel
    );
}

// spec: ADM-5
#[test]
fn a_model_whose_nodes_are_away_is_waited_for() {
    let away = Endpoint {
        availability: Availability::NotReady("offline".into()),
        ..idle("a", 1)
    };
    let mut core = core(vec![away]);
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(
        core.verdict("m", &ANYWHERE, true, S).reason,
        RefusalReason::NoneRoutable
    );
    assert_eq!(core.replace_table(table(vec![idle("a", 1)]), 2 * S)[0].0, 1);
}

#[test]
fn a_retry_goes_elsewhere_and_keeps_its_place() {
    let mut core = core(vec![idle("a", 1), idle("b", 1)]);
    let on_a = take(&mut core, MS);
    let on_b = take(&mut core, MS);
    assert_eq!((node(&on_a), node(&on_b)), ("a", "b"));
    waits(core.arrive(&ask("m"), MS, || 1));
    let tried = [(on_a.endpoint().unwrap().key.clone(), 1)];
    let ticket = on_a.ticket;
    let woken = core.release(&on_a, Ending::Failed(Failure::Broken), MS, 0.0);
    assert_eq!((woken[0].0, node(&woken[0].1)), (1, "a"));
    // The failed one came before the others and may not go to a: it waits for b, ahead of a newcomer.
    waits(core.arrive(&ask("m"), MS, || 2));
    let again = Ask {
        tried: &tried,
        ticket: Some(ticket),
        ..ask("m")
    };
    assert_eq!(waits(core.arrive(&again, MS, || 3)), ticket);
    let woken = core.release(&on_b, Ending::Served, MS, 0.0);
    assert_eq!((woken[0].0, node(&woken[0].1)), (3, "b"));
}

#[test]
fn a_retry_with_nowhere_left_to_go_does_not_wait() {
    let mut core = core(vec![idle("a", 1)]);
    let grant = take(&mut core, MS);
    let tried = [(grant.endpoint().unwrap().key.clone(), 1)];
    core.release(&grant, Ending::Failed(Failure::Broken), MS, 0.0);
    let again = Ask {
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
    let mut core = core(vec![idle("a", 1), idle("b", 1)]);
    let pinned = Arc::new(Wish {
        pin: Some(NodeId::new("a").unwrap()),
        ..Wish::default()
    });
    let mut ask = ask("m");
    ask.wish = &pinned;
    let first = granted(core.arrive(&ask, MS, || 1));
    core.release(&first, Ending::Failed(Failure::Broken), MS, 0.0);
    let tried = [(first.endpoint().unwrap().key.clone(), 1)];
    ask.tried = &tried;
    ask.ticket = Some(first.ticket);
    let refusal = refused(core.arrive(&ask, 2 * MS, || 2));
    assert_eq!(refusal.reason, RefusalReason::Exhausted);
}

#[test]
fn a_refused_connection_takes_the_endpoint_out_and_one_probe_brings_it_back() {
    let mut core = core(vec![idle("a", 4)]);
    let grant = take(&mut core, S);
    core.release(&grant, Ending::Failed(Failure::Unreachable), S, 0.0);
    waits(core.arrive(&ask("m"), S, || 1));
    waits(core.arrive(&ask("m"), S, || 2));
    assert_eq!(core.next_wakeup(), Some(2 * S));
    assert!(core.tick(2 * S - MS).is_empty());
    let probe = core.tick(2 * S);
    assert_eq!(
        probe.iter().map(|(waiter, _)| *waiter).collect::<Vec<_>>(),
        [1],
        "one probe, not all at once"
    );
    // Its report says that it is well; that alone opens nothing.
    assert!(
        core.replace_table(table(vec![endpoint("a", 4, 2, 4)]), 2 * S)
            .is_empty()
    );
    let woken = core.release(&probe[0].1, Ending::Served, 3 * S, 0.0);
    assert_eq!(woken[0].0, 2);
}

#[test]
fn a_probe_passes_when_its_answer_begins() {
    let mut core = core(vec![idle("a", 4)]);
    let grant = take(&mut core, S);
    core.release(&grant, Ending::Failed(Failure::Unreachable), S, 0.0);
    let probe = granted(core.arrive(&ask("m"), 3 * S, || 1));
    core.answered(&probe, Some((3, 4)), 3 * S);
    take(&mut core, 3 * S);
}

// spec: ADM-10
#[test]
fn a_new_life_starts_fresh() {
    let mut core = core(vec![idle("a", 1)]);
    let old = take(&mut core, S);
    waits(core.arrive(&ask("m"), S, || 1));
    let reborn = Endpoint {
        incarnation: 2,
        ..idle("a", 1)
    };
    let woken = core.replace_table(table(vec![reborn]), S);
    assert_eq!(woken[0].0, 1);
    // The old life's slot coming back frees nothing in the new one.
    waits(core.arrive(&ask("m"), S, || 2));
    assert!(
        core.release(&old, Ending::Failed(Failure::Unreachable), S, 0.0)
            .is_empty()
    );
    assert_eq!(core.release(&woken[0].1, Ending::Served, S, 0.0)[0].0, 2);
}

#[test]
fn slots_are_remembered_while_an_endpoint_is_away() {
    let mut core = core(vec![idle("a", 1)]);
    let held = take(&mut core, S);
    core.replace_table(table(vec![]), S);
    core.replace_table(table(vec![idle("a", 1)]), S);
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(core.release(&held, Ending::Served, S, 0.0)[0].0, 1);
}

// spec: ADM-9
#[test]
fn load_of_others_counts_until_it_is_old() {
    let mut core = core(vec![idle("a", 4)]);
    let _own = take(&mut core, S);
    // It says that none is free: three are held by others.
    core.replace_table(table(vec![endpoint("a", 4, 2, 0)]), S);
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(
        core.tick(2 * S)[0].0,
        1,
        "an old report does not keep an endpoint idle"
    );
}

// spec: ADM-9
#[test]
fn a_report_that_counts_our_finished_requests_is_seen_through() {
    let mut core = core(vec![idle("a", 2)]);
    let grants = [take(&mut core, S), take(&mut core, S)];
    for grant in &grants {
        core.release(grant, Ending::Served, S, 0.0);
    }
    // Written while both ran, read when both are done.
    core.replace_table(table(vec![endpoint("a", 2, 2, 0)]), S);
    take(&mut core, S);
}

// spec: ADM-8
#[test]
fn busy_is_not_failure_but_is_left_alone_for_a_moment() {
    let mut core = core(vec![idle("a", 4)]);
    let grant = take(&mut core, S);
    core.release(&grant, Ending::Refused, S, 0.0);
    assert!(core.snapshot(S).endpoints[0].quarantine.is_none());
    waits(core.arrive(&ask("m"), S, || 1));
    assert_eq!(core.tick(core.next_wakeup().unwrap())[0].0, 1);
}

// spec: ADM-12
#[test]
fn batch_work_waits_for_people_but_not_for_ever() {
    let mut core = core(vec![idle("a", 1)]);
    core.config.queue_limit = 20;
    let mut held = take(&mut core, MS);
    let batch = Ask {
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
    while let Some((waiter, grant)) = core.release(&held, Ending::Served, MS, 0.0).pop() {
        order.push(waiter);
        held = grant;
    }
    assert_eq!(order, [0, 1, 2, 3, 100, 4, 5, 6, 7, 101, 8, 9, 102]);
}

// spec: ADM-12
#[test]
fn a_batch_request_does_not_overtake_people_and_has_a_limit_of_its_own() {
    let mut core = core(vec![idle("a", 1)]);
    let held = take(&mut core, MS);
    let batch = Ask {
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
    assert_eq!(core.release(&held, Ending::Served, MS, 0.0)[0].0, 10);
}

// spec: PLACE-10
#[test]
fn who_waits_for_one_node_stands_in_nobodys_way() {
    let mut core = core(vec![idle("a", 1), idle("b", 1)]);
    let pinned = Arc::new(Wish {
        pin: NodeId::new("a").ok(),
        ..Wish::default()
    });
    let on_a = granted(core.arrive(
        &Ask {
            wish: &pinned,
            ..ask("m")
        },
        MS,
        || 0,
    ));
    waits(core.arrive(
        &Ask {
            wish: &pinned,
            ..ask("m")
        },
        MS,
        || 1,
    ));
    let on_b = take(&mut core, MS);
    assert_eq!((node(&on_a), node(&on_b)), ("a", "b"));
    waits(core.arrive(&ask("m"), MS, || 2));
    assert_eq!(core.release(&on_b, Ending::Served, MS, 0.0)[0].0, 2);
    assert_eq!(core.release(&on_a, Ending::Served, MS, 0.0)[0].0, 1);
}

// spec: PLACE-9
#[test]
fn prompts_return_to_where_they_were_read() {
    let mut core = core(vec![idle("a", 4), idle("b", 4), idle("c", 4)]);
    let wish = |blocks: &[u64]| {
        let affinity = placement::Affinity {
            blocks: blocks.to_vec(),
            session: None,
        };
        Arc::new(Wish {
            strategy: placement::Strategy::Prefix,
            pin: None,
            affinity,
        })
    };
    let first = granted(core.arrive(
        &Ask {
            wish: &wish(&[1, 2, 3]),
            ..ask("m")
        },
        MS,
        || 0,
    ));
    let other = granted(core.arrive(
        &Ask {
            wish: &wish(&[7, 8, 9]),
            ..ask("m")
        },
        MS,
        || 0,
    ));
    let again = granted(core.arrive(
        &Ask {
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
    let draining = Endpoint {
        availability: Availability::Draining,
        ..idle("b", 2)
    };
    let mut core = core(vec![idle("a", 1), draining, idle("c", 1)]);
    let _held = take(&mut core, MS);
    let before = core.snapshot(MS);
    let explained = core.explain("m", &ANYWHERE, MS);
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
        core.explain("x", &ANYWHERE, MS).no_place,
        Some(NoPlace::UnknownModel)
    );
    assert_eq!(core.snapshot(MS), before);
}

// spec: PLACE-10
#[test]
fn two_models_that_alternate_each_go_round_all_their_endpoints() {
    let with = |name: &str, model: &str| Endpoint {
        models: Some([model.to_owned()].into()),
        ..idle(name, 8)
    };
    let mut core = core(vec![
        with("a", "x"),
        with("b", "x"),
        with("c", "y"),
        with("d", "y"),
    ]);
    let wish: Arc<Wish> = Arc::new(Wish {
        strategy: placement::Strategy::RoundRobin,
        ..Wish::default()
    });
    let mut seen = String::new();
    for _ in 0..2 {
        for model in ["x", "y"] {
            seen.push_str(node(&granted(core.arrive(
                &Ask {
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
    let mut core = core(vec![idle("a", 1)]);
    for _ in 0..3 {
        let grant = take(&mut core, MS);
        core.answered(&grant, None, MS);
        core.release(&grant, Ending::Failed(Failure::Broken), MS, 0.0);
    }
    assert!(core.snapshot(MS).endpoints[0].quarantine.is_some());
}

#[test]
fn a_refusal_fills_the_endpoint_and_not_more() {
    let mut core = core(vec![idle("a", 4)]);
    let grants: Vec<_> = (0..3).map(|_| take(&mut core, MS)).collect();
    core.release(&grants[0], Ending::Refused, MS, 0.0);
    let status = core.snapshot(MS).endpoints[0].clone();
    assert_eq!((status.in_flight, status.foreign), (2, 2));
}

#[test]
fn an_engine_whose_handoff_is_written_anew_is_still_as_busy() {
    let engine = |life| Endpoint {
        incarnation: life,
        hop: Hop::Engine,
        ..idle("a", 1)
    };
    let mut core = core(vec![engine(1)]);
    let held = take(&mut core, MS);
    core.replace_table(table(vec![]), MS);
    core.replace_table(table(vec![engine(2)]), MS);
    waits(core.arrive(&ask("m"), MS, || 7));
    assert_eq!(core.release(&held, Ending::Served, MS, 0.0)[0].0, 7);
}

#[test]
fn only_the_probe_speaks_for_itself() {
    let quarantined = |core: &Core<u32>| core.snapshot(2 * S).endpoints[0].quarantine.is_some();
    let mut core = core(vec![idle("a", 4)]);
    let (old, older) = (take(&mut core, MS), take(&mut core, MS));
    let failed = take(&mut core, MS);
    core.release(&failed, Ending::Failed(Failure::Unreachable), MS, 0.0);
    let probe = take(&mut core, 2 * S);
    // Streams begun before the quarantine end, one well and one not, while the probe is still out.
    core.release(&old, Ending::Served, 2 * S, 0.0);
    assert!(quarantined(&core));
    core.release(&older, Ending::Failed(Failure::Broken), 2 * S, 0.0);
    core.answered(&probe, None, 2 * S);
    assert!(!quarantined(&core));
}

#[test]
fn a_model_that_was_known_is_unavailable_not_unheard_of() {
    let mut core = core(vec![]);
    assert_eq!(
        core.verdict("m", &ANYWHERE, true, S).reason,
        RefusalReason::NoneRoutable
    );
    assert_eq!(
        core.verdict("m", &ANYWHERE, false, S).reason,
        RefusalReason::UnknownModel
    );
}

#[test]
fn requests_are_counted_where_they_run_also_when_that_has_left_the_table() {
    let key = idle("a", 4).key;
    let mut core = core(vec![idle("a", 4)]);
    assert_eq!(core.in_flight_at(&key), Some(0));
    assert_eq!(core.in_flight_at(&idle("b", 4).key), None);
    let (first, second) = (take(&mut core, MS), take(&mut core, MS));
    assert_eq!(core.in_flight_at(&key), Some(2));
    let drained = Endpoint {
        availability: Availability::Draining,
        ..idle("a", 4)
    };
    core.replace_table(table(vec![drained]), MS);
    core.release(&first, Ending::Served, MS, 0.0);
    assert_eq!(core.in_flight_at(&key), Some(1));
    core.replace_table(table(vec![]), MS);
    assert_eq!(core.in_flight_at(&key), Some(1));
    core.release(&second, Ending::Served, MS, 0.0);
    assert_eq!(core.in_flight_at(&key), None);
}
