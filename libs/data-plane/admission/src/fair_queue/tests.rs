//! Turns, order within a flow, and displacement, in every history.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::request::RoutingPreference;

/// The weights of the flows.
const WEIGHTS: [u32; 4] = [1, 2, 3, 1];

/// The first flow has no key.
fn keys() -> [FlowKey; 4] {
    [None, Some("a".into()), Some("b".into()), Some("c".into())]
}

fn flow_of(keys: &[FlowKey; 4], flow: usize) -> Flow<'_> {
    Flow {
        key: keys[flow].as_ref(),
        weight: WEIGHTS[flow],
    }
}

fn waiting(flow: FlowKey) -> QueuedRequest<usize> {
    QueuedRequest {
        waker: 0,
        preference: Arc::new(RoutingPreference::default()),
        tried: Vec::new(),
        flow,
    }
}

/// A queue, and what is expected of it.
struct History {
    keys: [FlowKey; 4],
    queue: FairQueue<usize>,
    last: u64,
    /// The waiting requests of each flow, in order.
    flows: [Vec<Ticket>; 4],
    /// How many requests of each flow were served since the first one of a flow was that.
    served: [[u32; 4]; 4],
}

impl History {
    fn new() -> Self {
        Self {
            keys: keys(),
            queue: FairQueue::default(),
            last: 0,
            flows: Default::default(),
            served: Default::default(),
        }
    }

    fn insert(&mut self, flow: usize) {
        self.last += 1;
        let ticket = Ticket(self.last);
        let request = waiting(self.keys[flow].clone());
        self.queue
            .insert(ticket, flow_of(&self.keys, flow), request);
        if self.flows[flow].is_empty() {
            self.served[flow] = [0; 4];
        }
        self.flows[flow].push(ticket);
    }

    fn remove(&mut self, flow: usize, index: usize) {
        let ticket = self.flows[flow].remove(index);
        assert!(self.queue.remove(ticket).is_some());
        assert!(self.queue.remove(ticket).is_none());
        if index == 0 {
            // Another request is the first of its flow now, which had a part of its wait.
            self.served[flow] = [0; 4];
        }
    }

    fn serve(&mut self) -> Result<(), TestCaseError> {
        let Some((ticket, _)) = self.queue.in_order().next() else {
            prop_assert!(self.flows.iter().all(Vec::is_empty));
            return Ok(());
        };
        self.queue.pop(ticket).unwrap();
        let flow = (self.flows.iter()).position(|flow| flow.first() == Some(&ticket));
        let Some(flow) = flow else {
            return Err(TestCaseError::fail("not the first of a flow"));
        };
        self.flows[flow].remove(0);
        self.served[flow] = [0; 4];
        for (other, served) in self.served.iter_mut().enumerate() {
            served[flow] += 1;
            prop_assert!(
                other == flow || self.flows[other].is_empty() || served[flow] <= WEIGHTS[flow],
                "flow {other} waits for more than one turn of flow {flow}"
            );
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let count: usize = self.flows.iter().map(Vec::len).sum();
        prop_assert_eq!(self.queue.len(), count);
        prop_assert_eq!(self.queue.in_order().count(), count);
        prop_assert_eq!(self.queue.has_unrestricted(), count > 0);
        prop_assert_eq!(
            self.queue.oldest(),
            self.flows.iter().flatten().min().copied()
        );
        let used = self.flows.iter().filter(|flow| !flow.is_empty()).count();
        prop_assert_eq!(self.queue.flows.len(), used);
        prop_assert_eq!(self.queue.turns.len(), used);
        Ok(())
    }

    /// A flow asks for room in a full queue.
    fn displaces(&mut self, flow: usize) -> Result<(), TestCaseError> {
        let weigh = |count: usize, flow: usize| count as f64 / f64::from(WEIGHTS[flow]);
        let after = weigh(self.flows[flow].len() + 1, flow);
        let most = (0..4)
            .map(|other| weigh(self.flows[other].len(), other))
            .fold(0.0, f64::max);
        let displaced = self.queue.displaced_by(flow_of(&self.keys, flow));
        prop_assert_eq!(displaced.is_some(), after < most - 1e-9);
        let Some(displaced) = displaced else {
            return Ok(());
        };
        let from = (self.flows.iter()).position(|flow| flow.last() == Some(&displaced));
        let Some(from) = from else {
            return Err(TestCaseError::fail("not the newest of a flow"));
        };
        prop_assert!((weigh(self.flows[from].len(), from) - most).abs() < 1e-9);
        self.remove(from, self.flows[from].len() - 1);
        self.insert(flow);
        // The other flow cannot take its place back.
        let back = self.queue.displaced_by(flow_of(&self.keys, from));
        let is_back = back.is_some_and(|back| self.flows[flow].contains(&back));
        prop_assert!(!is_back);
        Ok(())
    }

    /// The forecast of each waiting request is true if no other comes.
    fn forecasts_come_true(mut self) -> Result<(), TestCaseError> {
        let tickets: Vec<Ticket> = self.flows.iter().flatten().copied().collect();
        let forecast: HashMap<Ticket, usize> = tickets
            .into_iter()
            .map(|ticket| (ticket, self.queue.ahead_of(ticket)))
            .collect();
        for position in 0..forecast.len() {
            let (ticket, _) = self.queue.in_order().next().unwrap();
            prop_assert_eq!(forecast[&ticket], position);
            self.serve()?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(usize),
    Flood(usize),
    Remove(usize, Index),
    Serve,
    Displace(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..4_usize).prop_map(Step::Insert),
        1 => (0..4_usize).prop_map(Step::Flood),
        2 => (0..4_usize, any::<Index>()).prop_map(|(flow, index)| Step::Remove(flow, index)),
        8 => Just(Step::Serve),
        2 => (0..4_usize).prop_map(Step::Displace),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    /// A request that is the first of its flow waits for at most one turn of each other flow,
    /// however many requests that has. Within a flow the order is that of arrival. In a full queue
    /// only a flow with fewer requests than the largest, by weight, displaces its newest one.
    // spec: KEY-10, KEY-11
    #[test]
    fn flows_take_turns_in_every_history(steps in steps()) {
        let mut history = History::new();
        for step in steps {
            match step {
                Step::Insert(flow) => history.insert(flow),
                Step::Flood(flow) => (0..20).for_each(|_| history.insert(flow)),
                Step::Remove(flow, index) => {
                    let count = history.flows[flow].len();
                    if count > 0 {
                        history.remove(flow, index.index(count));
                    }
                }
                Step::Serve => history.serve()?,
                Step::Displace(flow) => history.displaces(flow)?,
            }
            history.check()?;
        }
        history.forecasts_come_true()?;
    }
}
