//! The core between threads and under a late timer: no request waits for ever, no slot is given
//! twice, none is lost.
//!
//! The threads do what `runtime` does: decide under the lock, then, without it, wake the requests
//! that were granted a slot. Time is a number behind the same lock. A clock thread moves it, past
//! several deadlines at once if need be. A task thread ticks when something is due; the schedule
//! decides how much later that is, and one test keeps the task from running at all for a while.
//! After each event, no request may wait beside a free slot unless the task is due.
//!
//! Shuttle runs the threads in thousands of orders on a single thread, reports a deadlock (a lost
//! wake-up), and prints the schedule of a failure, to be run again.

use routing_table::State as Readiness;
use shuttle::{
    rand::{Rng as _, thread_rng},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{
    fixture::{Fake, S, ask, replica},
    *,
};
use crate::Priority;

/// Runs per test: a second or two in a debug build.
const ORDERS: usize = 2000;
/// How many unlikely switches an order has at most in the tests that look for rare ones. Most known
/// bugs between threads need two or three.
const DEPTH: usize = 3;
const SLOTS: [u32; 2] = [1, 2];
/// How often the clock moves by itself. After that it moves only to where something is due.
const MOVES: usize = 3;
/// The most it moves by at a time: past the end of most pauses and of some backoffs.
const LONGEST_MOVE_MS: u64 = 1500;
/// A pause that engines ask for here.
const PAUSE: Duration = Duration::from_millis(400);

type Wake = Sender<Grant>;

/// What is behind the lock.
struct State {
    core: Core<Wake>,
    now: Duration,
    /// The task does not run before.
    task_runs_from: Duration,
    /// Requests that hold a slot, by the index of its endpoint.
    held: [u32; 2],
    /// Requests that are not over.
    open: usize,
    served: usize,
    left: usize,
}

struct Shared {
    state: Mutex<State>,
    /// Time, the state or the next deadline has changed. `runtime` has a timer and a `Notify` for
    /// that.
    changed: Condvar,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It waits until it is served.
    Patient,
    /// Its time to wait ends.
    Hasty,
    /// Its client leaves.
    Fickle,
}

impl Shared {
    fn new(requests: usize, task_runs_from: Duration) -> Self {
        let mut core = Core::new(Config {
            queue_limit: 16,
            max_wait: S,
            warm_up: Duration::ZERO,
        });
        assert!(
            core.replaced(&replicas(Readiness::Ready), Duration::ZERO)
                .is_empty()
        );
        Self {
            state: Mutex::new(State {
                core,
                now: Duration::ZERO,
                task_runs_from,
                held: [0, 0],
                open: requests,
                served: 0,
                left: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the state, then wakes those who got a slot by it.
    fn decide<T>(&self, event: impl FnOnce(&mut Core<Wake>, Duration) -> T) -> T {
        let mut state = self.state();
        let now = state.now;
        let decided = event(&mut state.core, now);
        let granted = state.core.take_effects().granted;
        assert_eq!(state.core.forgotten(now), None, "waits beside a free slot");
        drop(state);
        self.changed.notify_all();
        for (wake, grant) in granted {
            if wake.send(grant.clone()).is_err() {
                // It has just left; the slot goes to the next.
                self.give_back(&grant);
            }
        }
        decided
    }

    fn give_back(&self, grant: &Grant) {
        self.decide(|core, now| core.release(grant, Ending::Untold, now, 0.0));
    }

    /// A request from its arrival to its end.
    fn serve(&self, number: usize, kind: Kind) {
        let mut receiver = None;
        let priority = if number.is_multiple_of(2) {
            Priority::Interactive
        } else {
            Priority::Batch
        };
        let ask = AcquireRequest {
            priority,
            ..ask("m")
        };
        let arrival = self.decide(|core, now| {
            core.arrive(&ask, now, || {
                let (sender, woken) = channel();
                receiver = Some(woken);
                sender
            })
        });
        let grant = match arrival {
            Arrival::Granted(grant) => Some(grant),
            Arrival::Waiting { ticket, .. } => self.wait(ticket, &receiver.unwrap(), kind),
            Arrival::Refused(refusal) => panic!("{refusal}"),
        };
        let is_served = grant.is_some();
        if let Some(grant) = grant {
            self.work(grant);
        }
        let mut state = self.state();
        state.open -= 1;
        if is_served {
            state.served += 1;
        } else {
            state.left += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    fn wait(&self, ticket: Ticket, woken: &Receiver<Grant>, kind: Kind) -> Option<Grant> {
        let is_granted = match kind {
            Kind::Patient => true,
            Kind::Hasty => {
                thread::yield_now();
                self.decide(|core, now| core.expire("m", ticket, true, now))
                    .is_none()
            }
            Kind::Fickle => {
                thread::yield_now();
                !self.decide(|core, _| core.leave("m", ticket))
            }
        };
        is_granted.then(|| {
            let grant = woken.recv().unwrap();
            assert_eq!(grant.ticket, ticket);
            grant
        })
    }

    fn work(&self, mut grant: Grant) {
        let place = grant.index as usize;
        let mut state = self.state();
        state.held[place] += 1;
        assert!(state.held[place] <= SLOTS[place], "a slot was given twice");
        drop(state);
        thread::yield_now();
        match thread_rng().gen_range(0..8) {
            0 => self.is_over(place, &grant, Ending::Refused { pause: Some(PAUSE) }),
            1 => self.is_over(place, &grant, Ending::Refused { pause: None }),
            2 => self.is_over(place, &grant, Ending::Failed(Failure::Unreachable)),
            3 => self.is_over(place, &grant, Ending::Untold),
            // Its node uses another replica, if there is one of that name.
            choice @ (4 | 5) => {
                let used = if choice == 4 { "unknown" } else { "r0" }.parse().unwrap();
                self.state().held[place] -= 1;
                self.decide(|core, now| core.answered(&mut grant, Some(&used), None, now));
                thread::yield_now();
                self.decide(|core, now| core.release(&grant, Ending::Served, now, 0.0));
            }
            _ => {
                self.decide(|core, now| core.answered(&mut grant, None, None, now));
                thread::yield_now();
                self.is_over(place, &grant, Ending::Served);
            }
        }
    }

    fn is_over(&self, place: usize, grant: &Grant, ending: Ending) {
        self.state().held[place] -= 1;
        self.decide(|core, now| core.release(grant, ending, now, 0.0));
    }

    /// The task of the admission: it ticks some time after something is due.
    fn run_task(&self) {
        loop {
            let mut state = self.state();
            while !state.is_task_due() {
                if state.open == 0 {
                    return;
                }
                state = self.changed.wait(state).unwrap();
            }
            drop(state);
            self.decide(Core::tick);
        }
    }

    /// Moves time by some steps, then to each deadline that a request waits for.
    fn run_clock(&self) {
        for _ in 0..MOVES {
            self.state().now += Duration::from_millis(thread_rng().gen_range(1..LONGEST_MOVE_MS));
            self.changed.notify_all();
            thread::yield_now();
        }
        let mut state = self.state();
        while state.open > 0 {
            match state
                .core
                .next_wakeup()
                .map(|at| at.max(state.task_runs_from))
            {
                Some(at) if at > state.now => {
                    state.now = at;
                    self.changed.notify_all();
                }
                _ => state = self.changed.wait(state).unwrap(),
            }
        }
    }

    fn assert_over(&self, requests: usize) {
        let state = self.state();
        assert_eq!(state.served + state.left, requests);
        let snapshot = state.core.snapshot(state.now);
        assert!(snapshot.waiting.is_empty(), "{snapshot:?}");
        assert!(
            snapshot
                .endpoints
                .iter()
                .all(|endpoint| endpoint.in_flight == 0),
            "{snapshot:?}"
        );
    }
}

impl State {
    fn is_task_due(&self) -> bool {
        self.now >= self.task_runs_from && self.core.next_wakeup().is_some_and(|at| at <= self.now)
    }
}

fn replicas(state: Readiness) -> [Fake; 2] {
    let replica = |name, slots| Fake {
        state,
        ..replica(name, slots)
    };
    [replica("r0", SLOTS[0]), replica("r1", SLOTS[1])]
}

/// Sends all requests at once, while time goes by and the calling thread does something else.
fn send(kinds: &[Kind], task_runs_from: Duration, meanwhile: impl FnOnce(&Shared)) {
    let shared = Arc::new(Shared::new(kinds.len(), task_runs_from));
    let mut threads: Vec<_> = kinds
        .iter()
        .copied()
        .enumerate()
        .map(|(number, kind)| {
            let shared = shared.clone();
            thread::spawn(move || shared.serve(number, kind))
        })
        .collect();
    for actor in [Shared::run_task, Shared::run_clock] {
        let shared = shared.clone();
        threads.push(thread::spawn(move || actor(&shared)));
    }
    meanwhile(&shared);
    for thread in threads {
        thread.join().unwrap();
    }
    shared.assert_over(kinds.len());
}

/// Half of the orders at random, half of those with few switches.
fn in_many_orders(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, ORDERS / 2);
    shuttle::check_pct(test, ORDERS / 2, DEPTH);
}

// spec: ADM-11
#[test]
fn every_request_is_served_and_no_slot_is_given_twice() {
    in_many_orders(|| send(&[Kind::Patient; 6], Duration::ZERO, |_| {}));
}

// spec: ADM-4, ADM-11
#[test]
fn leaving_just_when_the_turn_comes_loses_no_slot() {
    use Kind::{Fickle, Hasty, Patient};
    in_many_orders(|| {
        send(
            &[Patient, Hasty, Patient, Fickle, Patient, Hasty],
            Duration::ZERO,
            |_| {},
        );
    });
}

// spec: ADM-11, ADM-15
#[test]
fn a_task_that_does_not_run_for_a_while_leaves_no_request_waiting() {
    use Kind::{Hasty, Patient};
    in_many_orders(|| {
        send(
            &[Patient, Patient, Hasty, Patient, Patient, Patient],
            30 * S,
            |_| {},
        );
    });
}

// spec: ADM-11
#[test]
fn who_waits_for_nodes_to_come_back_is_woken() {
    use Kind::{Fickle, Patient};
    in_many_orders(|| {
        send(
            &[Patient, Patient, Fickle, Patient],
            Duration::ZERO,
            |shared| {
                for state in [Readiness::Draining, Readiness::Ready] {
                    let changes: Vec<_> = replicas(state).iter().map(Fake::set).collect();
                    shared.decide(|core, now| core.apply(&changes, now));
                    thread::yield_now();
                }
            },
        );
    });
}
