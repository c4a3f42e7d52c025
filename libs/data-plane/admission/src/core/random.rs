//! What must hold for admission whatever happens, in whatever order.

use pool_registry_types::NodeId;
use proptest::{
    prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::Index,
    strategy::Strategy as _,
};
use routing_table::Availability;

use super::{
    tests::{S, idle, table},
    *,
};
use crate::Priority;

#[derive(Debug, Clone)]
enum Step {
    Arrive {
        model: bool,
        batch: bool,
        pin: Option<u8>,
    },
    Leave(Index),
    Release(Index, u8),
    Table(Vec<(u8, u32, u8)>),
    Advance(u64),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let arrive = (any::<bool>(), any::<bool>(), prop::option::weighted(0.2, 0..5_u8));
    let step = prop_oneof![
        8 => arrive.prop_map(|(model, batch, pin)| Step::Arrive { model, batch, pin }),
        1 => any::<Index>().prop_map(Step::Leave),
        6 => (any::<Index>(), 0..5_u8).prop_map(|(index, ending)| Step::Release(index, ending)),
        1 => prop::collection::vec((0..5_u8, 0..4_u32, 0..3_u8), 0..6).prop_map(Step::Table),
        2 => (1..2000_u64).prop_map(Step::Advance),
        1 => Just(Step::Advance(61_000)),
    ];
    prop::collection::vec(step, 1..120)
}

/// A request as the test knows it.
#[derive(Debug, Clone)]
struct Asked {
    ticket: Ticket,
    model: &'static str,
    priority: Priority,
    wish: Arc<Wish>,
}

impl Asked {
    /// Whether `self`, where it waits, has to be served before `other`.
    fn is_before(&self, other: &Self) -> bool {
        let blocks = self.wish.pin.is_none() || self.wish.pin == other.wish.pin;
        self.model == other.model && self.priority == other.priority && self.ticket < other.ticket && blocks
    }
}

fn name(model: bool) -> &'static str {
    if model { "m" } else { "other" }
}

fn ending(number: u8) -> Ending {
    match number {
        0 => Ending::Failed(Failure::Unreachable),
        1 => Ending::Failed(Failure::Broken),
        2 => Ending::Refused,
        3 => Ending::Untold,
        _ => Ending::Served,
    }
}

fn fleet(endpoints: Vec<(u8, u32, u8)>, report: u64) -> Arc<RoutingTable> {
    let endpoints = endpoints.into_iter().map(|(node, slots, kind)| Endpoint {
        models: Some([name(kind != 0).to_owned()].into()),
        availability: if kind == 2 {
            Availability::Draining
        } else {
            Availability::Ready
        },
        report,
        ..idle(&format!("n{node}"), slots)
    });
    table(endpoints.collect())
}

proptest! {
    /// No endpoint is above its slots by our doing, nobody waits beside a slot that would do, the line keeps its
    /// order, and when all is given back nothing is left taken.
    // spec: ADM-11
    #[test]
    fn invariants(steps in steps()) {
        let mut core: Core<Ticket> = Core::new(Config { queue_limit: 8, max_wait: S, warm_up: Duration::ZERO });
        let mut now = Duration::ZERO;
        let mut version = 1;
        let mut held: Vec<Grant> = Vec::new();
        let mut waiting: Vec<Asked> = Vec::new();
        for step in steps {
            let mut woken: Vec<(Ticket, Grant)> = Vec::new();
            match step {
                Step::Arrive { model, batch, pin } => {
                    let asked = Asked {
                        // The core hands out tickets in order.
                        ticket: Ticket(core.last_ticket + 1),
                        model: name(model),
                        priority: if batch { Priority::Batch } else { Priority::Interactive },
                        wish: Arc::new(Wish { pin: pin.and_then(|n| NodeId::new(&format!("n{n}")).ok()), ..Wish::default() }),
                    };
                    let Asked { ticket, model, priority, wish } = &asked;
                    let ask = Ask { model, priority: *priority, wish, tried: &[], ticket: None };
                    match core.arrive(&ask, now, || *ticket) {
                        Arrival::Granted(grant) => {
                            let overtaken = waiting.iter().find(|other| other.is_before(&asked));
                            prop_assert!(overtaken.is_none(), "overtook {overtaken:?}");
                            held.push(grant);
                        }
                        Arrival::Waiting { ticket: given, .. } => {
                            prop_assert_eq!(given, *ticket);
                            waiting.push(asked);
                        }
                        Arrival::Refused(_) => {}
                    }
                }
                Step::Leave(index) if !waiting.is_empty() => {
                    let left = waiting.remove(index.index(waiting.len()));
                    prop_assert!(core.leave(left.model, left.ticket));
                }
                Step::Release(index, number) if !held.is_empty() => {
                    let grant = held.swap_remove(index.index(held.len()));
                    woken = core.release(&grant, ending(number), now, 0.0);
                }
                Step::Table(endpoints) => {
                    version += 1;
                    woken = core.replace_table(fleet(endpoints, version), now);
                }
                Step::Advance(ms) => {
                    now += Duration::from_millis(ms);
                    woken = core.tick(now);
                }
                Step::Leave(_) | Step::Release(..) => {}
            }
            for (ticket, grant) in woken {
                let place = waiting.iter().position(|asked| asked.ticket == ticket);
                prop_assert!(place.is_some(), "woke somebody who does not wait");
                let served = waiting.remove(place.unwrap());
                let overtaken = waiting.iter().find(|other| other.is_before(&served));
                prop_assert!(overtaken.is_none(), "served {served:?} before {overtaken:?}");
                held.push(grant);
            }
            for (slot, endpoint) in core.slots.iter().zip(core.table.endpoints()) {
                let ours = held.iter().filter(|grant| grant.endpoint().unwrap().key == endpoint.key).count();
                prop_assert_eq!(slot.own as usize, ours, "{}", &endpoint.key);
            }
            for asked in &waiting {
                let place = core.place(asked.model, &asked.wish, &[]);
                prop_assert!(place.is_err(), "{asked:?} waits beside a free slot");
            }
        }
        while let Some(grant) = held.pop() {
            held.extend(core.release(&grant, Ending::Served, now, 0.0).into_iter().map(|(_, grant)| grant));
        }
        prop_assert!(core.slots.iter().all(|slot| slot.own == 0));
        prop_assert!(core.departed.is_empty());
    }
}
