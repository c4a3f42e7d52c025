//! What must hold for admission in every history, however late the timer is.
//!
//! A history is a list of events with time between them. Time passes silently: the timer fires
//! (`Tick`) when the history says so, which may be long after it was due.

use std::collections::{BTreeMap, BTreeSet};

use pool_registry_types::{NodeId, ReplicaId};
use proptest::{
    prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::Index,
    strategy::Strategy as _,
    test_runner::TestCaseError,
};
use routing_table::{RouteChange, State};

use super::{
    fixture::{Fake, S, idle},
    *,
};
use crate::Priority;

/// Replicas that a history knows, two on each node.
const REPLICAS: u8 = 6;
const PER_NODE: u8 = 2;
/// Its conversations, by session and by prompt.
const CONVERSATIONS: u8 = 4;
/// Longer than every pause and every backoff.
const LONG: Duration = Duration::from_secs(61);

#[derive(Debug, Clone)]
enum Step {
    Arrive {
        model: bool,
        batch: bool,
        pin: Option<u8>,
        affinity: Option<(bool, u8)>,
    },
    /// A request that has failed somewhere asks again.
    Retry(Index),
    Leave(Index),
    Expire(Index),
    /// Maybe by another replica, which may be one that is not known.
    Answered(Index, Option<u8>),
    Release(Index, Ending),
    Change(Replica),
    Remove(u8),
    Table(Vec<Replica>),
    Pass(u64),
    Tick,
    Outlook(bool),
}

/// One replica as the control plane tells it.
#[derive(Debug, Clone)]
struct Replica {
    number: u8,
    slots: u32,
    free: u32,
    model: Option<bool>,
    drains: bool,
    is_new_incarnation: bool,
    is_new_generation: bool,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let arrive = (
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.2, 0..REPLICAS / PER_NODE),
        prop::option::of((any::<bool>(), 0..CONVERSATIONS)),
    );
    let elsewhere = prop::option::weighted(0.3, 0..=PER_NODE);
    let step = prop_oneof![
        8 => arrive.prop_map(|(model, batch, pin, affinity)| Step::Arrive { model, batch, pin, affinity }),
        2 => any::<Index>().prop_map(Step::Retry),
        1 => any::<Index>().prop_map(Step::Leave),
        1 => any::<Index>().prop_map(Step::Expire),
        3 => (any::<Index>(), elsewhere).prop_map(|(index, replica)| Step::Answered(index, replica)),
        6 => (any::<Index>(), ending()).prop_map(|(index, ending)| Step::Release(index, ending)),
        2 => replica().prop_map(Step::Change),
        1 => (0..REPLICAS).prop_map(Step::Remove),
        1 => prop::collection::vec(replica(), 0..6).prop_map(Step::Table),
        4 => (1..2000_u64).prop_map(Step::Pass),
        1 => Just(Step::Pass(61_000)),
        3 => Just(Step::Tick),
        1 => any::<bool>().prop_map(Step::Outlook),
    ];
    prop::collection::vec(step, 1..120)
}

fn replica() -> impl proptest::strategy::Strategy<Value = Replica> {
    let model = prop::option::weighted(0.9, any::<bool>());
    let rarely = || prop::bool::weighted(0.2);
    let all = (
        0..REPLICAS,
        0..4_u32,
        0..4_u32,
        model,
        any::<bool>(),
        rarely(),
        rarely(),
    );
    all.prop_map(
        |(number, slots, free, model, drains, is_new_incarnation, is_new_generation)| Replica {
            number,
            slots,
            free: free.min(slots),
            model,
            drains,
            is_new_incarnation,
            is_new_generation,
        },
    )
}

fn ending() -> impl proptest::strategy::Strategy<Value = Ending> {
    let pause = prop::option::of((0..90_000_u64).prop_map(Duration::from_millis));
    prop_oneof![
        3 => Just(Ending::Served),
        1 => pause.prop_map(|pause| Ending::Refused { pause }),
        1 => Just(Ending::Untold),
        1 => Just(Ending::Failed(Failure::Broken)),
        1 => Just(Ending::Failed(Failure::Unreachable)),
    ]
}

/// A request as the test knows it.
#[derive(Debug, Clone)]
struct Asked {
    ticket: Ticket,
    model: &'static str,
    priority: Priority,
    wish: Arc<RoutingPreference>,
    tried: Vec<Arc<Endpoint>>,
}

impl Asked {
    /// Whether `self`, where it waits, has to be served before `other`.
    fn is_before(&self, other: &Self) -> bool {
        let may_go_there = self.wish.pin.is_none() || self.wish.pin == other.wish.pin;
        let blocks = may_go_there && self.tried.is_empty();
        self.model == other.model
            && self.priority == other.priority
            && self.ticket < other.ticket
            && blocks
    }
}

fn name(model: bool) -> &'static str {
    if model { "m" } else { "other" }
}

/// One start of an engine, as a request knows it.
type Life = (EndpointKey, u64, u64);

fn life(endpoint: &Endpoint) -> Life {
    (
        endpoint.key().clone(),
        endpoint.incarnation(),
        endpoint.generation(),
    )
}

fn is_life(endpoint: &Endpoint, other: &Endpoint) -> bool {
    life(endpoint) == life(other)
}

/// A core and all that the test knows of it.
struct History {
    core: Core<Ticket>,
    now: Duration,
    version: u64,
    /// The incarnation and the generation of each replica.
    lives: [(u64, u64); REPLICAS as usize],
    /// Requests that hold a slot and are at an engine.
    held: Vec<(Asked, Grant)>,
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
            lives: [(1, 0); REPLICAS as usize],
            held: Vec::new(),
            waiting: Vec::new(),
            failed: Vec::new(),
            over: BTreeSet::new(),
            probes: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match step {
            Step::Arrive {
                model,
                batch,
                pin,
                affinity,
            } => {
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
                    wish: Arc::new(RoutingPreference {
                        pin,
                        ..wish(affinity)
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
                    let beside = self
                        .core
                        .has_place(asked.model, &asked.wish, &asked.tried, now);
                    prop_assert!(!beside, "{asked:?} is refused beside a free slot");
                }
            }
            Step::Answered(index, used) if !self.held.is_empty() => {
                let place = index.index(self.held.len());
                let (_, grant) = &mut self.held[place];
                self.probes
                    .retain(|_, (ticket, _)| *ticket != grant.ticket || grant.probe.is_none());
                let used = used.map(|number| ReplicaId::new(&format!("r{number}")).unwrap());
                let hinted = grant.endpoint.key().replica.clone();
                self.core.answered(grant, used.as_ref(), None, now);
                let key = grant.endpoint.key();
                prop_assert!(grant.is_released || used.is_none() || key.replica == used);
                prop_assert!(!grant.is_released || used != hinted);
                if grant.is_released {
                    let (asked, grant) = self.held.remove(place);
                    self.core
                        .release(&grant, Ending::Failed(Failure::Broken), now, 0.0);
                    prop_assert!(self.over.insert(asked.ticket));
                }
            }
            Step::Release(index, ending) => {
                if let Some((asked, grant)) = pick(&mut self.held, index) {
                    self.ended(asked, &grant, ending)?;
                    self.core.release(&grant, ending, now, 0.0);
                }
            }
            Step::Change(replica) => {
                let change = self.fake(&replica).set();
                self.core.apply(&[change], now);
            }
            Step::Remove(number) => {
                let gone = idle_replica(number).endpoint();
                self.core.apply(&[RouteChange::Remove(gone)], now);
            }
            Step::Table(replicas) => {
                let mut endpoints: BTreeMap<u8, Fake> = BTreeMap::new();
                for replica in replicas {
                    endpoints.insert(replica.number, self.fake(&replica));
                }
                let endpoints: Vec<Fake> = endpoints.into_values().collect();
                let changes = self.core.changes_to(&endpoints);
                self.core.apply(&changes, now);
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
            Step::Tick => self.core.tick(now),
            Step::Outlook(model) => {
                self.core.outlook(name(model), Priority::Interactive, now);
            }
            Step::Expire(_) | Step::Answered(..) => {}
        }
        self.take_effects()?;
        self.check()
    }

    fn arrive(&mut self, asked: Asked, again: Option<Ticket>) -> Result<(), TestCaseError> {
        let ask = AcquireRequest {
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
        prop_assert!(
            !self.over.contains(&asked.ticket),
            "two outcomes of {asked:?}"
        );
        let place = life(&grant.endpoint);
        let was_there = asked
            .tried
            .iter()
            .any(|tried| is_life(tried, &grant.endpoint));
        prop_assert!(!was_there, "sent where it has failed");
        if grant.probe.is_some() {
            let window_is_over = |(_, since): &(Ticket, Duration)| self.now >= *since + S;
            let before = self.probes.get(&place);
            prop_assert!(before.is_none_or(window_is_over), "two probes at a time");
            self.probes.insert(place.clone(), (grant.ticket, self.now));
        }
        let slots = self.core.table.report(grant.index).unwrap().slots_total as usize;
        let endpoint = Arc::clone(&grant.endpoint);
        self.held.push((asked, grant));
        let held = self.taken_at(&endpoint);
        prop_assert!(held <= slots, "{held} requests on {slots} slots");
        Ok(())
    }

    /// A request is over as far as its client is concerned.
    fn ended(
        &mut self,
        mut asked: Asked,
        grant: &Grant,
        ending: Ending,
    ) -> Result<(), TestCaseError> {
        self.probes
            .retain(|_, (ticket, _)| *ticket != grant.ticket || grant.probe.is_none());
        if matches!(ending, Ending::Failed(_)) {
            asked.tried.push(Arc::clone(&grant.endpoint));
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
            prop_assert!(
                overtaken.is_none(),
                "served {served:?} before {overtaken:?}"
            );
            self.granted(served, grant)?;
        }
        Ok(())
    }

    /// Requests at an incarnation of an endpoint, whenever its engine was started.
    fn taken_at(&self, endpoint: &Endpoint) -> usize {
        let is_there = |grant: &Grant| {
            let held = &grant.endpoint;
            held.key() == endpoint.key() && held.incarnation() == endpoint.incarnation()
        };
        self.held
            .iter()
            .filter(|(_, grant)| is_there(grant))
            .count()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (index, endpoint, report) in self.core.table.iter() {
            let slot = self.core.slot(index).unwrap();
            prop_assert_eq!(
                slot.own as usize,
                self.taken_at(endpoint),
                "{}",
                endpoint.key()
            );
            // What is known in the form in which placement reads it is what is known, but for what
            // time has changed since.
            if self.core.due.next().is_none_or(|at| at > self.now) {
                let (load, known) = (slot.load(self.now), self.core.loads.get(index));
                prop_assert_eq!(
                    (load.used, load.quarantined),
                    (known.used, known.quarantined)
                );
            }
            let has_room = report.state.is_routable() && {
                let load = self.core.loads.get(index);
                !load.quarantined && load.used < report.slots_total
            };
            prop_assert_eq!(self.core.loads.has_room(index), has_room);
            let conversations = self.core.conversations.count(endpoint.hash());
            prop_assert_eq!(self.core.loads.get(index).conversations, conversations);
        }
        let forgotten = self.core.forgotten(self.now);
        prop_assert!(
            forgotten.is_none(),
            "{forgotten:?} waits beside a free slot"
        );
        Ok(())
    }

    fn fake(&mut self, replica: &Replica) -> Fake {
        self.version += 1;
        let (incarnation, generation) = &mut self.lives[usize::from(replica.number)];
        *incarnation += u64::from(replica.is_new_incarnation);
        *generation += u64::from(replica.is_new_generation);
        Fake {
            incarnation: *incarnation,
            generation: *generation,
            models: replica.model.map(|model| vec![name(model).to_owned()]),
            state: if replica.drains {
                State::Draining
            } else {
                State::Ready
            },
            slots: replica.slots,
            free: replica.free,
            report: self.version,
            ..idle_replica(replica.number)
        }
    }

    /// Each endpoint that may be used is tried again in time, even if its requests are never
    /// answered.
    fn is_tried_again(&mut self) -> Result<(), TestCaseError> {
        self.now += LONG;
        self.step(Step::Tick)?;
        let known: Vec<_> = self
            .core
            .table
            .iter()
            .map(|(index, endpoint, report)| (index, endpoint.clone(), *report))
            .collect();
        for (index, endpoint, report) in known {
            let slot = self.core.slot(index).unwrap();
            if report.state != State::Ready || slot.own >= report.slots_total {
                continue;
            }
            // A model that only this endpoint may serve, as far as this request goes.
            let Some(models) = endpoint.models() else {
                continue;
            };
            let others = self.core.table.iter().map(|(_, other, _)| other);
            let asked = Asked {
                ticket: Ticket(self.core.last_ticket + 1),
                model: name(models.contains(&"m".to_owned())),
                priority: Priority::Interactive,
                wish: Arc::new(RoutingPreference {
                    pin: Some(endpoint.key().node.clone()),
                    ..RoutingPreference::default()
                }),
                tried: others
                    .filter(|other| !is_life(other, &endpoint))
                    .cloned()
                    .collect(),
            };
            let ticket = asked.ticket;
            self.arrive(asked, None)?;
            self.take_effects()?;
            let is_probe_out = self.core.slot(index).unwrap().load(self.now).quarantined;
            let is_served = self.held.iter().any(|(asked, _)| asked.ticket == ticket);
            prop_assert!(
                is_served || is_probe_out,
                "nobody tries {} again",
                endpoint.key()
            );
        }
        Ok(())
    }

    /// When all is given back, nothing is left taken.
    fn ends(mut self) -> Result<(), TestCaseError> {
        while let Some((_, grant)) = self.held.pop() {
            self.core.release(&grant, Ending::Served, self.now, 0.0);
            self.take_effects()?;
        }
        prop_assert!(self.core.slots.iter().flatten().all(|slot| slot.own == 0));
        prop_assert!(self.core.departed.is_empty());
        Ok(())
    }
}

fn idle_replica(number: u8) -> Fake {
    Fake {
        replica: Some(format!("r{}", number % PER_NODE)),
        ..idle(&format!("n{}", number / PER_NODE), 1)
    }
}

/// That of a request of a conversation, by its session or by its prompt.
fn wish(conversation: Option<(bool, u8)>) -> RoutingPreference {
    let mut wish = RoutingPreference::default();
    if let Some((by_session, number)) = conversation {
        wish.strategy = if by_session {
            Strategy::Session
        } else {
            Strategy::Prefix
        };
        wish.affinity.session = Some(u64::from(number));
        wish.affinity.blocks = (0..=number).map(u64::from).collect();
    }
    wish
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
