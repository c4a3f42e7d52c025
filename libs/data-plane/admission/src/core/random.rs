//! What must hold for admission in every history, however late the timer is.
//!
//! A history is a list of events with time between them. Time passes silently: the timer fires (`Tick`) when the
//! history says so, which may be long after it was due.

use std::collections::{BTreeMap, BTreeSet};

use pool_registry_types::NodeId;
use proptest::{
    prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::Index,
    strategy::Strategy as _,
    test_runner::TestCaseError,
};
use routing_table::{Availability, Hop};

use super::{
    tests::{S, idle, table},
    *,
};
use crate::Priority;

/// Nodes that a history knows.
const NODES: u8 = 5;
/// Longer than every pause and every backoff.
const LONG: Duration = Duration::from_secs(61);

#[derive(Debug, Clone)]
enum Step {
    Arrive {
        model: bool,
        batch: bool,
        pin: Option<u8>,
    },
    /// A request that has failed somewhere asks again.
    Retry(Index),
    Leave(Index),
    Expire(Index),
    Answered(Index),
    Release(Index, Ending),
    Abandon(Index, Ending),
    Reclaim(Index),
    Table(Vec<Node>),
    Pass(u64),
    Tick,
    Outlook(bool),
}

/// One node as a table has it.
#[derive(Debug, Clone)]
struct Node {
    number: u8,
    slots: u32,
    is_engine: bool,
    model: bool,
    drains: bool,
    is_new_life: bool,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let arrive = (
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.2, 0..NODES),
    );
    let step = prop_oneof![
        8 => arrive.prop_map(|(model, batch, pin)| Step::Arrive { model, batch, pin }),
        2 => any::<Index>().prop_map(Step::Retry),
        1 => any::<Index>().prop_map(Step::Leave),
        1 => any::<Index>().prop_map(Step::Expire),
        2 => any::<Index>().prop_map(Step::Answered),
        5 => (any::<Index>(), ending()).prop_map(|(index, ending)| Step::Release(index, ending)),
        2 => (any::<Index>(), let_go()).prop_map(|(index, ending)| Step::Abandon(index, ending)),
        2 => any::<Index>().prop_map(Step::Reclaim),
        1 => prop::collection::vec(node(), 0..6).prop_map(Step::Table),
        4 => (1..2000_u64).prop_map(Step::Pass),
        1 => Just(Step::Pass(61_000)),
        3 => Just(Step::Tick),
        1 => any::<bool>().prop_map(Step::Outlook),
    ];
    prop::collection::vec(step, 1..120)
}

fn node() -> impl proptest::strategy::Strategy<Value = Node> {
    let bits = any::<[bool; 3]>();
    (0..NODES, 0..4_u32, bits, prop::bool::weighted(0.2)).prop_map(
        |(number, slots, [is_engine, model, drains], is_new_life)| Node {
            number,
            slots,
            is_engine,
            model,
            drains,
            is_new_life,
        },
    )
}

fn ending() -> impl proptest::strategy::Strategy<Value = Ending> {
    let pause = prop::option::of((0..90_000_u64).prop_map(Duration::from_millis));
    prop_oneof![
        3 => Just(Ending::Served),
        1 => pause.prop_map(|pause| Ending::Refused { pause }),
        3 => let_go(),
    ]
}

/// How a request may end that its engine goes on with.
fn let_go() -> impl proptest::strategy::Strategy<Value = Ending> {
    prop_oneof![
        Just(Ending::Untold),
        Just(Ending::Failed(Failure::Broken)),
        Just(Ending::Failed(Failure::Unreachable)),
    ]
}

/// A request as the test knows it.
#[derive(Debug, Clone)]
struct Asked {
    ticket: Ticket,
    model: &'static str,
    priority: Priority,
    wish: Arc<Wish>,
    tried: Vec<(EndpointKey, u64)>,
}

impl Asked {
    /// Whether `self`, where it waits, has to be served before `other`.
    fn is_before(&self, other: &Self) -> bool {
        let may_go_there = self.wish.pin.is_none() || self.wish.pin == other.wish.pin;
        let blocks = may_go_there && self.tried.is_empty();
        self.model == other.model && self.priority == other.priority && self.ticket < other.ticket && blocks
    }
}

fn name(model: bool) -> &'static str {
    if model { "m" } else { "other" }
}

/// An endpoint in one of its lives.
type Life = (EndpointKey, u64);

fn life(grant: &Grant) -> Life {
    let endpoint = grant.endpoint().unwrap();
    (endpoint.key.clone(), endpoint.incarnation)
}

/// A core and all that the test knows of it.
struct History {
    core: Core<Ticket>,
    now: Duration,
    version: u64,
    lives: [u64; NODES as usize],
    /// Requests that hold a slot and are at an engine.
    held: Vec<(Asked, Grant)>,
    /// Slots that engines have not let go of.
    abandoned: Vec<Grant>,
    waiting: Vec<Asked>,
    /// Requests that failed and may ask again.
    failed: Vec<Asked>,
    /// Requests that have got what they get, and must get nothing more.
    over: BTreeSet<Ticket>,
    /// When the last probe was sent that has no verdict yet.
    probes: BTreeMap<Life, (Ticket, Duration)>,
}

impl History {
    fn new() -> Self {
        let config = Config {
            queue_limit: 8,
            max_wait: S,
            warm_up: Duration::ZERO,
        };
        Self {
            core: Core::new(config),
            now: Duration::ZERO,
            version: 1,
            lives: [1; NODES as usize],
            held: Vec::new(),
            abandoned: Vec::new(),
            waiting: Vec::new(),
            failed: Vec::new(),
            over: BTreeSet::new(),
            probes: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match step {
            Step::Arrive { model, batch, pin } => {
                let pin = pin.and_then(|node| NodeId::new(&format!("n{node}")).ok());
                let asked = Asked {
                    // The core hands out tickets in order.
                    ticket: Ticket(self.core.last_ticket + 1),
                    model: name(model),
                    priority: if batch {
                        Priority::Batch
                    } else {
                        Priority::Interactive
                    },
                    wish: Arc::new(Wish {
                        pin,
                        ..Wish::default()
                    }),
                    tried: Vec::new(),
                };
                self.arrive(asked, None)?;
            }
            Step::Retry(index) => {
                if let Some(asked) = pick(&mut self.failed, index) {
                    let ticket = Some(asked.ticket);
                    self.arrive(asked, ticket)?;
                }
            }
            Step::Leave(index) => {
                if let Some(left) = pick(&mut self.waiting, index) {
                    prop_assert!(self.core.leave(left.model, left.ticket));
                    prop_assert!(self.over.insert(left.ticket));
                }
            }
            Step::Expire(index) if !self.waiting.is_empty() => {
                let asked = self.waiting[index.index(self.waiting.len())].clone();
                let refusal = self.core.expire(asked.model, asked.ticket, true, now);
                if refusal.is_some() {
                    self.waiting.retain(|other| other.ticket != asked.ticket);
                    prop_assert!(self.over.insert(asked.ticket));
                    let beside = self.core.has_place(asked.model, &asked.wish, &asked.tried, now);
                    prop_assert!(!beside, "{asked:?} is refused beside a free slot");
                }
            }
            Step::Answered(index) if !self.held.is_empty() => {
                let (_, grant) = &self.held[index.index(self.held.len())];
                self.probes
                    .retain(|_, (ticket, _)| *ticket != grant.ticket || grant.probe.is_none());
                self.core.answered(grant, None, now);
            }
            Step::Release(index, ending) => {
                if let Some((asked, grant)) = pick(&mut self.held, index) {
                    self.ended(asked, &grant, ending)?;
                    self.core.release(&grant, ending, now, 0.0);
                }
            }
            Step::Abandon(index, ending) => {
                if let Some((asked, grant)) = pick(&mut self.held, index) {
                    self.ended(asked, &grant, ending)?;
                    self.core.abandon(&grant, ending, now, 0.0);
                    self.abandoned.push(grant);
                }
            }
            Step::Reclaim(index) => {
                if let Some(grant) = pick(&mut self.abandoned, index) {
                    self.core.reclaim(&grant, now);
                }
            }
            Step::Table(nodes) => {
                let table = self.table(nodes);
                self.core.replace_table(table, now);
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
            Step::Tick => self.core.tick(now),
            Step::Outlook(model) => {
                self.core.outlook(name(model), Priority::Interactive, now);
            }
            Step::Expire(_) | Step::Answered(_) => {}
        }
        self.take_effects()?;
        self.check()
    }

    fn arrive(&mut self, asked: Asked, again: Option<Ticket>) -> Result<(), TestCaseError> {
        let ask = Ask {
            model: asked.model,
            priority: asked.priority,
            wish: &asked.wish,
            tried: &asked.tried,
            ticket: again,
        };
        match self.core.arrive(&ask, self.now, || asked.ticket) {
            Arrival::Granted(grant) => {
                // Those that time has given a slot meanwhile were served first.
                self.take_effects()?;
                let overtaken = self.waiting.iter().find(|other| other.is_before(&asked));
                prop_assert!(overtaken.is_none(), "overtook {overtaken:?}");
                self.granted(asked, grant)?;
            }
            Arrival::Waiting { ticket, .. } => {
                prop_assert_eq!(ticket, asked.ticket);
                self.waiting.push(asked);
            }
            Arrival::Refused(_) => prop_assert!(self.over.insert(asked.ticket)),
        }
        Ok(())
    }

    /// A request holds a slot now.
    fn granted(&mut self, asked: Asked, grant: Grant) -> Result<(), TestCaseError> {
        prop_assert_eq!(grant.ticket, asked.ticket);
        prop_assert!(!self.over.contains(&asked.ticket), "two outcomes of {asked:?}");
        let place = life(&grant);
        prop_assert!(!asked.tried.contains(&place), "sent where it has failed");
        if grant.probe.is_some() {
            let window_is_over = |(_, since): &(Ticket, Duration)| self.now >= *since + S;
            let before = self.probes.get(&place);
            prop_assert!(before.is_none_or(window_is_over), "two probes at a time");
            self.probes.insert(place.clone(), (grant.ticket, self.now));
        }
        let slots = grant.endpoint().unwrap().slots_total as usize;
        self.held.push((asked, grant));
        let held = self.taken_at(&place);
        prop_assert!(held <= slots, "{held} requests on {slots} slots");
        Ok(())
    }

    /// A request is over as far as its client is concerned.
    fn ended(&mut self, mut asked: Asked, grant: &Grant, ending: Ending) -> Result<(), TestCaseError> {
        self.probes
            .retain(|_, (ticket, _)| *ticket != grant.ticket || grant.probe.is_none());
        if matches!(ending, Ending::Failed(_)) {
            asked.tried.push(life(grant));
            self.failed.push(asked);
        } else {
            prop_assert!(self.over.insert(asked.ticket), "two outcomes of {asked:?}");
        }
        Ok(())
    }

    fn take_effects(&mut self) -> Result<(), TestCaseError> {
        for (ticket, grant) in self.core.take_effects().granted {
            let place = self.waiting.iter().position(|asked| asked.ticket == ticket);
            let Some(place) = place else {
                return Err(TestCaseError::fail("woke somebody who does not wait"));
            };
            let served = self.waiting.remove(place);
            let overtaken = self.waiting.iter().find(|other| other.is_before(&served));
            prop_assert!(overtaken.is_none(), "served {served:?} before {overtaken:?}");
            self.granted(served, grant)?;
        }
        Ok(())
    }

    fn taken_at(&self, place: &Life) -> usize {
        let held = self.held.iter().map(|(_, grant)| grant);
        held.chain(&self.abandoned)
            .filter(|grant| life(grant) == *place)
            .count()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (slot, endpoint) in self.core.slots.iter().zip(self.core.table.endpoints()) {
            // An engine that is announced anew counts what it was sent in the life before.
            let ours = (1..=endpoint.incarnation)
                .filter(|life| slot.counts(*life))
                .map(|life| self.taken_at(&(endpoint.key.clone(), life)));
            prop_assert_eq!(slot.own as usize, ours.sum::<usize>(), "{}", &endpoint.key);
        }
        let forgotten = self.core.forgotten(self.now);
        prop_assert!(forgotten.is_none(), "{forgotten:?} waits beside a free slot");
        Ok(())
    }

    fn table(&mut self, nodes: Vec<Node>) -> Arc<RoutingTable> {
        self.version += 1;
        let mut endpoints: BTreeMap<u8, Endpoint> = BTreeMap::new();
        for node in nodes {
            let incarnation = &mut self.lives[usize::from(node.number)];
            *incarnation += u64::from(node.is_new_life);
            let endpoint = Endpoint {
                incarnation: *incarnation,
                hop: if node.is_engine { Hop::Engine } else { Hop::Node },
                models: Some([name(node.model).to_owned()].into()),
                availability: if node.drains {
                    Availability::Draining
                } else {
                    Availability::Ready
                },
                report: self.version,
                ..idle(&format!("n{}", node.number), node.slots)
            };
            endpoints.insert(node.number, endpoint);
        }
        table(endpoints.into_values().collect())
    }

    /// Each endpoint that may be used is tried again in time, even if its requests are never answered.
    fn is_tried_again(&mut self) -> Result<(), TestCaseError> {
        self.now += LONG;
        self.step(Step::Tick)?;
        for index in 0..self.core.table.endpoints().len() {
            let endpoint = self.core.table.endpoints()[index].clone();
            let slot = &self.core.slots[index];
            if endpoint.availability != Availability::Ready || slot.own >= endpoint.slots_total {
                continue;
            }
            let asked = Asked {
                ticket: Ticket(self.core.last_ticket + 1),
                model: name(endpoint.models.as_deref() == Some(&["m".to_owned()])),
                priority: Priority::Interactive,
                wish: Arc::new(Wish {
                    pin: Some(endpoint.key.node.clone()),
                    ..Wish::default()
                }),
                tried: Vec::new(),
            };
            let ticket = asked.ticket;
            self.arrive(asked, None)?;
            self.take_effects()?;
            let is_probe_out = self.core.slots[index].load(self.now).quarantined;
            let is_served = self.held.iter().any(|(asked, _)| asked.ticket == ticket);
            prop_assert!(is_served || is_probe_out, "nobody tries {} again", &endpoint.key);
        }
        Ok(())
    }

    /// When all is given back, nothing is left taken.
    fn ends(mut self) -> Result<(), TestCaseError> {
        while !self.held.is_empty() || !self.abandoned.is_empty() {
            while let Some((_, grant)) = self.held.pop() {
                self.core.release(&grant, Ending::Served, self.now, 0.0);
                self.take_effects()?;
            }
            while let Some(grant) = self.abandoned.pop() {
                self.core.reclaim(&grant, self.now);
                self.take_effects()?;
            }
        }
        prop_assert!(self.core.slots.iter().all(|slot| slot.own == 0));
        prop_assert!(self.core.departed.is_empty());
        Ok(())
    }
}

fn pick<T>(from: &mut Vec<T>, index: Index) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(index.index(from.len())))
}

proptest! {
    /// No endpoint gets more requests than it has slots. No request waits beside a free slot unless the timer is due.
    /// The line keeps its order. Each request has one outcome. An endpoint in quarantine gets one probe at a time, and
    /// always another one. When every slot is given back, none is left taken.
    // spec: ADM-11, ADM-13, ADM-14, ADM-15
    #[test]
    fn invariants(steps in steps()) {
        let mut history = History::new();
        for step in steps {
            history.step(step)?;
        }
        history.is_tried_again()?;
        history.ends()?;
    }
}
