//! A history of admission, with the state that is expected after each step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use placement::Strategy;
use pool_registry_types::{NodeId, ReplicaId};
use proptest::{
    prelude::{prop_assert, prop_assert_eq},
    sample::Index,
    test_runner::TestCaseError,
};
use routing_table::{Endpoint, EndpointKey, EndpointState, RouteChange};

use super::{
    super::{
        super::{
            AcquireDecision, AdmissionCore,
            grant::{Grant, RequestEnd},
        },
        fixture::{S, TestEndpoint, idle},
    },
    steps::{PER_NODE, REPLICAS, Replica, Step},
};
use crate::{
    circuit_breaker::EndpointFailure,
    config::AdmissionConfig,
    request::{AcquireRequest, Flow, Priority, RefusalReason, RoutingPreference, Ticket},
};

/// Longer than every pause and every backoff.
const LONG: Duration = Duration::from_secs(61);

/// A request and what must hold for it.
#[derive(Debug, Clone)]
struct TestRequest {
    ticket: Ticket,
    model: &'static str,
    priority: Priority,
    preference: Arc<RoutingPreference>,
    tried: Vec<Arc<Endpoint>>,
    /// `None` for a request without a key.
    key: Option<Arc<str>>,
}

impl TestRequest {
    fn flow(&self) -> Flow<'_> {
        let weight = if self.key.as_deref() == Some("k2") {
            2
        } else {
            1
        };
        Flow {
            key: self.key.as_ref(),
            weight,
        }
    }

    /// Whether `self`, while it waits, must be served before `other`.
    fn is_before(&self, other: &Self) -> bool {
        let may_go_there =
            self.preference.pin.is_none() || self.preference.pin == other.preference.pin;
        let blocks = may_go_there && self.tried.is_empty();
        self.model == other.model
            && self.priority == other.priority
            && self.key == other.key
            && self.ticket < other.ticket
            && blocks
    }
}

fn name(model: bool) -> &'static str {
    if model { "m" } else { "other" }
}

/// One start of an engine.
type EngineStart = (EndpointKey, u64, u64);

fn engine_start(endpoint: &Endpoint) -> EngineStart {
    (
        endpoint.key().clone(),
        endpoint.incarnation(),
        endpoint.generation(),
    )
}

fn is_same_start(endpoint: &Endpoint, other: &Endpoint) -> bool {
    engine_start(endpoint) == engine_start(other)
}

/// A core and the expected state.
pub(super) struct History {
    core: AdmissionCore<Ticket>,
    now: Duration,
    version: u64,
    /// The incarnation and the generation of each replica.
    starts: [(u64, u64); REPLICAS as usize],
    /// Requests that hold a slot.
    held: Vec<(TestRequest, Grant)>,
    waiting: Vec<TestRequest>,
    /// Requests that failed and may be retried.
    failed: Vec<TestRequest>,
    /// Requests that have ended. They must get no other result.
    ended: BTreeSet<Ticket>,
    /// The latest probe of each engine without a result, and when it was sent.
    probes: BTreeMap<EngineStart, (Ticket, Duration)>,
}

impl History {
    pub(super) fn new() -> Self {
        let config = AdmissionConfig {
            queue_limit: 8,
            max_wait: S,
            warm_up: Duration::ZERO,
        };
        Self {
            core: AdmissionCore::new(config),
            now: Duration::ZERO,
            version: 1,
            starts: [(1, 0); REPLICAS as usize],
            held: Vec::new(),
            waiting: Vec::new(),
            failed: Vec::new(),
            ended: BTreeSet::new(),
            probes: BTreeMap::new(),
        }
    }

    pub(super) fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match step {
            Step::Acquire {
                model,
                batch,
                pin,
                affinity,
                key,
            } => {
                let pin = pin.and_then(|node| NodeId::new(&format!("n{node}")).ok());
                let request = TestRequest {
                    // The core issues tickets in order.
                    ticket: Ticket(self.core.last_ticket + 1),
                    model: name(model),
                    priority: if batch {
                        Priority::Batch
                    } else {
                        Priority::Interactive
                    },
                    preference: Arc::new(RoutingPreference {
                        pin,
                        ..preference(affinity)
                    }),
                    tried: Vec::new(),
                    key: (key > 0).then(|| format!("k{key}").into()),
                };
                self.acquire(request, None)?;
            }
            Step::Retry(index) => {
                if let Some(request) = pick(&mut self.failed, index) {
                    let ticket = Some(request.ticket);
                    self.acquire(request, ticket)?;
                }
            }
            Step::Leave(index) => {
                if let Some(left) = pick(&mut self.waiting, index) {
                    prop_assert!(self.core.leave(left.model, left.ticket));
                    prop_assert!(self.ended.insert(left.ticket));
                }
            }
            Step::TimeOut(index) if !self.waiting.is_empty() => {
                let request = self.waiting[index.index(self.waiting.len())].clone();
                let refusal = self.core.time_out(request.model, request.ticket, true, now);
                if refusal.is_some() {
                    self.waiting.retain(|other| other.ticket != request.ticket);
                    prop_assert!(self.ended.insert(request.ticket));
                    let beside = self.core.can_be_served(
                        request.model,
                        &request.preference,
                        &request.tried,
                        now,
                    );
                    prop_assert!(!beside, "{request:?} is refused beside a free slot");
                }
            }
            Step::ResponseStarted(index, used) if !self.held.is_empty() => {
                let place = index.index(self.held.len());
                let (_, grant) = &mut self.held[place];
                self.probes
                    .retain(|_, (ticket, _)| *ticket != grant.ticket || grant.probe.is_none());
                let used = used.map(|number| ReplicaId::new(&format!("r{number}")).unwrap());
                let hinted = grant.endpoint.key().replica.clone();
                self.core.response_started(grant, used.as_ref(), None, now);
                let key = grant.endpoint.key();
                prop_assert!(grant.is_released || used.is_none() || key.replica == used);
                prop_assert!(!grant.is_released || used != hinted);
                if grant.is_released {
                    let (request, grant) = self.held.remove(place);
                    self.core.release(
                        &grant,
                        RequestEnd::Failed(EndpointFailure::Broken),
                        now,
                        0.0,
                    );
                    prop_assert!(self.ended.insert(request.ticket));
                }
            }
            Step::Release(index, end) => {
                if let Some((request, grant)) = pick(&mut self.held, index) {
                    self.end(request, &grant, end)?;
                    self.core.release(&grant, end, now, 0.0);
                }
            }
            Step::Change(replica) => {
                let change = self.endpoint(&replica).set();
                self.core.apply(&[change], now);
            }
            Step::Remove(number) => {
                let gone = idle_replica(number).endpoint();
                self.core.apply(&[RouteChange::Remove(gone)], now);
            }
            Step::Table(replicas) => {
                let mut endpoints: BTreeMap<u8, TestEndpoint> = BTreeMap::new();
                for replica in replicas {
                    endpoints.insert(replica.number, self.endpoint(&replica));
                }
                let endpoints: Vec<TestEndpoint> = endpoints.into_values().collect();
                let changes = self.core.changes_to(&endpoints);
                self.core.apply(&changes, now);
            }
            Step::Pass(ms) => self.now += Duration::from_millis(ms),
            Step::Tick => self.core.tick(now),
            Step::EstimateWait(model) => {
                self.core
                    .estimate_wait(name(model), Priority::Interactive, now);
            }
            Step::TimeOut(_) | Step::ResponseStarted(..) => {}
        }
        self.take_effects()?;
        self.check()
    }

    fn acquire(
        &mut self,
        request: TestRequest,
        ticket: Option<Ticket>,
    ) -> Result<(), TestCaseError> {
        let acquire = AcquireRequest {
            model: request.model,
            priority: request.priority,
            preference: &request.preference,
            tried: &request.tried,
            ticket,
            flow: request.flow(),
        };
        match self.core.acquire(&acquire, self.now, || request.ticket) {
            AcquireDecision::Granted(grant) => {
                // Requests that got a slot by time alone were served first.
                self.take_effects()?;
                let overtaken = self.waiting.iter().find(|other| other.is_before(&request));
                prop_assert!(overtaken.is_none(), "overtook {overtaken:?}");
                self.granted(request, grant)?;
            }
            AcquireDecision::Queued { ticket, .. } => {
                prop_assert_eq!(ticket, request.ticket);
                self.waiting.push(request);
            }
            AcquireDecision::Refused(_) => prop_assert!(self.ended.insert(request.ticket)),
        }
        Ok(())
    }

    /// A request got a slot.
    fn granted(&mut self, request: TestRequest, grant: Grant) -> Result<(), TestCaseError> {
        prop_assert_eq!(grant.ticket, request.ticket);
        prop_assert!(
            !self.ended.contains(&request.ticket),
            "two results of {request:?}"
        );
        let place = engine_start(&grant.endpoint);
        let was_there = request
            .tried
            .iter()
            .any(|tried| is_same_start(tried, &grant.endpoint));
        prop_assert!(!was_there, "sent where it has failed");
        if grant.probe.is_some() {
            let is_backoff_over = |(_, since): &(Ticket, Duration)| self.now >= *since + S;
            let before = self.probes.get(&place);
            prop_assert!(before.is_none_or(is_backoff_over), "two probes at a time");
            self.probes.insert(place.clone(), (grant.ticket, self.now));
        }
        let slots = self.core.table.report(grant.index).unwrap().slots_total as usize;
        let endpoint = Arc::clone(&grant.endpoint);
        self.held.push((request, grant));
        let held = self.taken_at(&endpoint);
        prop_assert!(held <= slots, "{held} requests on {slots} slots");
        Ok(())
    }

    /// A request has ended for its client.
    fn end(
        &mut self,
        mut request: TestRequest,
        grant: &Grant,
        end: RequestEnd,
    ) -> Result<(), TestCaseError> {
        self.probes
            .retain(|_, (ticket, _)| *ticket != grant.ticket || grant.probe.is_none());
        if matches!(end, RequestEnd::Failed(_)) {
            request.tried.push(Arc::clone(&grant.endpoint));
            self.failed.push(request);
        } else {
            prop_assert!(
                self.ended.insert(request.ticket),
                "two results of {request:?}"
            );
        }
        Ok(())
    }

    fn take_effects(&mut self) -> Result<(), TestCaseError> {
        let effects = self.core.take_effects();
        for (ticket, refusal) in effects.displaced {
            let place = (self.waiting.iter()).position(|request| request.ticket == ticket);
            let Some(place) = place else {
                return Err(TestCaseError::fail(
                    "displaced a request that does not wait",
                ));
            };
            let displaced = self.waiting.remove(place);
            prop_assert_eq!(refusal.reason, RefusalReason::QueueFull);
            prop_assert!(self.ended.insert(ticket), "two results of {displaced:?}");
        }
        for (ticket, grant) in effects.granted {
            let place = self
                .waiting
                .iter()
                .position(|request| request.ticket == ticket);
            let Some(place) = place else {
                return Err(TestCaseError::fail("woke a request that does not wait"));
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

    /// The number of requests on an incarnation of an endpoint, for all generations of its engine.
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
            let slot = self.core.slots_at(index).unwrap();
            prop_assert_eq!(
                slot.in_flight as usize,
                self.taken_at(endpoint),
                "{}",
                endpoint.key()
            );
            // The load for placement equals that of the slots, except for what time has changed.
            if self.core.deadlines.next().is_none_or(|at| at > self.now) {
                let (load, known) = (slot.load(self.now), self.core.loads.get(index));
                prop_assert_eq!(
                    (load.used, load.breaker_open),
                    (known.used, known.breaker_open)
                );
            }
            let has_room = report.state.is_routable() && {
                let load = self.core.loads.get(index);
                !load.breaker_open && load.used < report.slots_total
            };
            prop_assert_eq!(self.core.loads.has_room(index), has_room);
            let conversations = self.core.conversations.count(endpoint.hash());
            prop_assert_eq!(self.core.loads.get(index).conversations, conversations);
        }
        let forgotten = self.core.waiting_beside_free_slot(self.now);
        prop_assert!(
            forgotten.is_none(),
            "{forgotten:?} waits beside a free slot"
        );
        Ok(())
    }

    fn endpoint(&mut self, replica: &Replica) -> TestEndpoint {
        self.version += 1;
        let (incarnation, generation) = &mut self.starts[usize::from(replica.number)];
        *incarnation += u64::from(replica.is_new_incarnation);
        *generation += u64::from(replica.is_new_generation);
        TestEndpoint {
            incarnation: *incarnation,
            generation: *generation,
            models: replica.model.map(|model| vec![name(model).to_owned()]),
            state: if replica.drains {
                EndpointState::Draining
            } else {
                EndpointState::Ready
            },
            slots: replica.slots,
            free: replica.free,
            report: self.version,
            ..idle_replica(replica.number)
        }
    }

    /// Every endpoint is probed ticket in time, even if its requests are never answered.
    pub(super) fn every_endpoint_is_probed(&mut self) -> Result<(), TestCaseError> {
        self.now += LONG;
        self.step(Step::Tick)?;
        let known: Vec<_> = self
            .core
            .table
            .iter()
            .map(|(index, endpoint, report)| (index, endpoint.clone(), *report))
            .collect();
        for (index, endpoint, report) in known {
            let slot = self.core.slots_at(index).unwrap();
            if report.state != EndpointState::Ready || slot.in_flight >= report.slots_total {
                continue;
            }
            // A request that only this endpoint may serve.
            let Some(models) = endpoint.models() else {
                continue;
            };
            let others = self.core.table.iter().map(|(_, other, _)| other);
            let request = TestRequest {
                ticket: Ticket(self.core.last_ticket + 1),
                model: name(models.contains(&"m".parse().unwrap())),
                priority: Priority::Interactive,
                preference: Arc::new(RoutingPreference {
                    pin: Some(endpoint.key().node.clone()),
                    ..RoutingPreference::default()
                }),
                tried: others
                    .filter(|other| !is_same_start(other, &endpoint))
                    .cloned()
                    .collect(),
                key: None,
            };
            let ticket = request.ticket;
            self.acquire(request, None)?;
            self.take_effects()?;
            let is_probe_running = self
                .core
                .slots_at(index)
                .unwrap()
                .load(self.now)
                .breaker_open;
            let is_served = self
                .held
                .iter()
                .any(|(request, _)| request.ticket == ticket);
            prop_assert!(
                is_served || is_probe_running,
                "{} is not probed ticket",
                endpoint.key()
            );
        }
        Ok(())
    }

    /// When every slot is given back, none is left taken.
    pub(super) fn no_slot_is_lost(mut self) -> Result<(), TestCaseError> {
        while let Some((_, grant)) = self.held.pop() {
            self.core.release(&grant, RequestEnd::Served, self.now, 0.0);
            self.take_effects()?;
        }
        prop_assert!(
            self.core
                .slots
                .iter()
                .flatten()
                .all(|slot| slot.in_flight == 0)
        );
        prop_assert!(self.core.departed.is_empty());
        Ok(())
    }
}

fn idle_replica(number: u8) -> TestEndpoint {
    TestEndpoint {
        replica: Some(format!("r{}", number % PER_NODE)),
        ..idle(&format!("n{}", number / PER_NODE), 1)
    }
}

/// The preference of a request in a conversation, by its session or by its prompt.
fn preference(conversation: Option<(bool, u8)>) -> RoutingPreference {
    let mut preference = RoutingPreference::default();
    if let Some((by_session, number)) = conversation {
        preference.strategy = if by_session {
            Strategy::Session
        } else {
            Strategy::Prefix
        };
        preference.affinity.session = Some(u64::from(number));
        preference.affinity.blocks = (0..=number).map(u64::from).collect();
    }
    preference
}

fn pick<T>(from: &mut Vec<T>, index: Index) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(index.index(from.len())))
}
