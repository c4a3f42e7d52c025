//! The core between threads: whatever the order in which they come to the lock, nobody waits for ever, no slot is
//! given twice, and none is lost.
//!
//! The threads do what `runtime` does: decide under the lock, then, without it, wake those who were granted a slot.
//! Shuttle runs them in thousands of orders on a single thread, tells when all of them wait (a lost wake-up), and
//! prints the schedule of a failure, to be run again.

use routing_table::Availability;
use shuttle::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{
    tests::{S, ask, idle, table},
    *,
};
use crate::Priority;

/// Runs per test: a second or two in a debug build.
const ORDERS: usize = 5000;
/// How many unlikely switches an order has at most in the tests that look for rare ones. Most known bugs between
/// threads need two or three.
const DEPTH: usize = 3;
const SLOTS: [u32; 2] = [1, 1];

/// The shared state, as in `runtime`.
struct Shared {
    core: Mutex<Core<Sender<Grant>>>,
    /// Requests that hold a slot, by the index of its endpoint.
    held: [AtomicUsize; 2],
    served: AtomicUsize,
    left: AtomicUsize,
}

impl Shared {
    fn new() -> Self {
        let mut core = Core::new(Config {
            queue_limit: 16,
            max_wait: S,
            warm_up: Duration::ZERO,
        });
        assert!(
            core.replace_table(nodes(&Availability::Ready), Duration::ZERO)
                .is_empty()
        );
        Self {
            core: Mutex::new(core),
            held: [AtomicUsize::new(0), AtomicUsize::new(0)],
            served: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
        }
    }

    /// Changes the state, then wakes those who got a slot by it.
    fn change(&self, event: impl FnOnce(&mut Core<Sender<Grant>>) -> Vec<(Sender<Grant>, Grant)>) {
        let granted = event(&mut self.core.lock().unwrap());
        for (wake, grant) in granted {
            if wake.send(grant.clone()).is_err() {
                // It has just left; the slot goes to the next.
                self.give_back(&grant);
            }
        }
    }

    fn give_back(&self, grant: &Grant) {
        self.change(|core| core.release(grant, Ending::Served, Duration::ZERO, 0.0));
    }

    /// A request from its arrival to its end.
    fn serve(&self, number: usize, is_patient: bool) {
        let (grant, waiting) = self.arrive(number);
        match (grant, waiting) {
            (Some(grant), _) => self.work(&grant),
            (None, Some((ticket, woken))) if is_patient => {
                let grant = woken.recv().unwrap();
                assert_eq!(grant.ticket, ticket);
                self.work(&grant);
            }
            (None, Some((ticket, woken))) => self.give_up(ticket, &woken),
            (None, None) => panic!("neither served nor waiting"),
        }
    }

    fn arrive(&self, number: usize) -> (Option<Grant>, Option<(Ticket, Receiver<Grant>)>) {
        let mut receiver = None;
        let ask = Ask {
            priority: if number.is_multiple_of(2) {
                Priority::Interactive
            } else {
                Priority::Batch
            },
            ..ask("m")
        };
        let arrival = self.core.lock().unwrap().arrive(&ask, Duration::ZERO, || {
            let (sender, woken) = channel();
            receiver = Some(woken);
            sender
        });
        match arrival {
            Arrival::Granted(grant) => (Some(grant), None),
            Arrival::Waiting { ticket, .. } => (None, Some((ticket, receiver.unwrap()))),
            Arrival::Refused(refusal) => panic!("{refusal}"),
        }
    }

    /// Its time is over: it leaves the line, unless it was granted a slot meanwhile.
    fn give_up(&self, ticket: Ticket, woken: &Receiver<Grant>) {
        thread::yield_now();
        let stood_there = self.core.lock().unwrap().leave("m", ticket);
        if stood_there {
            self.left.fetch_add(1, Ordering::SeqCst);
        } else {
            let grant = woken.recv().unwrap();
            self.work(&grant);
        }
    }

    fn work(&self, grant: &Grant) {
        let place = grant.index as usize;
        let before = self.held[place].fetch_add(1, Ordering::SeqCst);
        assert!(before < SLOTS[place] as usize, "a slot was given twice");
        thread::yield_now();
        self.held[place].fetch_sub(1, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
        self.give_back(grant);
    }

    fn assert_over(&self, requests: usize) {
        let (served, left) = (
            self.served.load(Ordering::SeqCst),
            self.left.load(Ordering::SeqCst),
        );
        assert_eq!(served + left, requests);
        let snapshot = self.core.lock().unwrap().snapshot(Duration::ZERO);
        assert!(snapshot.waiting.is_empty(), "{snapshot:?}");
        assert!(
            snapshot.endpoints.iter().all(|endpoint| endpoint.in_flight == 0),
            "{snapshot:?}"
        );
    }
}

fn nodes(availability: &Availability) -> std::sync::Arc<RoutingTable> {
    let endpoints = ["a", "b"].into_iter().zip(SLOTS).map(|(node, slots)| Endpoint {
        availability: availability.clone(),
        ..idle(node, slots)
    });
    table(endpoints.collect())
}

/// Sends all requests at once, each as patient as is said, while the calling thread does something else.
fn send(patience: &[bool], meanwhile: impl FnOnce(&Shared)) {
    let shared = Arc::new(Shared::new());
    let threads: Vec<_> = patience
        .iter()
        .copied()
        .enumerate()
        .map(|(number, is_patient)| {
            let shared = shared.clone();
            thread::spawn(move || shared.serve(number, is_patient))
        })
        .collect();
    meanwhile(&shared);
    for thread in threads {
        thread.join().unwrap();
    }
    shared.assert_over(patience.len());
}

/// Half of the orders at random, half of those with few switches.
fn in_many_orders(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, ORDERS / 2);
    shuttle::check_pct(test, ORDERS / 2, DEPTH);
}

// spec: ADM-11
#[test]
fn every_request_is_served_and_no_slot_is_given_twice() {
    in_many_orders(|| send(&[true; 5], |_| {}));
}

// spec: ADM-4, ADM-11
#[test]
fn leaving_just_when_the_turn_comes_loses_no_slot() {
    in_many_orders(|| send(&[true, false, true, false, true], |_| {}));
}

// spec: ADM-11
#[test]
fn who_waits_for_nodes_to_come_back_is_woken() {
    in_many_orders(|| {
        send(&[true, true, false, true], |shared| {
            for availability in [Availability::Draining, Availability::Ready] {
                shared.change(|core| core.replace_table(nodes(&availability), Duration::ZERO));
                thread::yield_now();
            }
        });
    });
}
