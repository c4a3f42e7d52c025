//! The core between threads and under a late timer: no request waits for ever, no slot is granted
//! twice, none is lost.
//!
//! The threads do what `shared` does: they decide under the lock, and wake the granted requests
//! without it. Time is a number behind the same lock. A clock thread advances it, sometimes past
//! several deadlines at once. A timer thread ticks when a deadline is due; the schedule decides how
//! late that is, and one test delays the timer thread for a while. After each event, no request may
//! wait beside a free slot unless the timer is due.
//!
//! Shuttle runs the threads in thousands of orders on a single thread, reports a deadlock (a lost
//! wake-up), and prints the schedule of a failure, which can be replayed.

use routing_table::EndpointState;
use shuttle::{
    rand::{Rng as _, thread_rng},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{
    super::{
        grant::{Grant, RequestEnd},
        *,
    },
    fixture::{S, TestEndpoint, replica, request},
};
use crate::request::Priority;

/// Runs per test: a second or two in a debug build.
const ORDERS: usize = 2000;
/// The largest number of unlikely switches in the orders that look for rare bugs. Most known
/// concurrency bugs need two or three.
const DEPTH: usize = 3;
const SLOTS: [u32; 2] = [1, 2];
/// How often the clock advances by itself. Afterwards it advances only to the next deadline.
const MOVES: usize = 3;
/// The longest advance: past the end of most pauses and of some backoffs.
const LONGEST_MOVE_MS: u64 = 1500;
/// The pause that engines ask for.
const PAUSE: Duration = Duration::from_millis(400);

type Waker = Sender<Grant>;

/// The state behind the lock.
struct SharedState {
    core: AdmissionCore<Waker>,
    now: Duration,
    /// The timer thread does not run before.
    timer_runs_from: Duration,
    /// Requests that hold a slot, by the endpoint's index.
    held: [u32; 2],
    /// Requests that have not ended.
    open: usize,
    served: usize,
    left: usize,
}

struct Shared {
    state: Mutex<SharedState>,
    /// Time, the state or the next deadline has changed. `shared` has a timer and a `Notify` for
    /// that.
    changed: Condvar,
}

/// What a request does while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behavior {
    /// It waits until it gets a slot.
    Waits,
    /// Its wait times out.
    TimesOut,
    /// Its client leaves.
    Leaves,
}

impl Shared {
    fn new(requests: usize, timer_runs_from: Duration) -> Self {
        let mut core = AdmissionCore::new(AdmissionConfig {
            queue_limit: 16,
            max_wait: S,
            warm_up: Duration::ZERO,
        });
        assert!(
            core.replaced(&replicas(EndpointState::Ready), Duration::ZERO)
                .is_empty()
        );
        Self {
            state: Mutex::new(SharedState {
                core,
                now: Duration::ZERO,
                timer_runs_from,
                held: [0, 0],
                open: requests,
                served: 0,
                left: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap()
    }

    /// Makes a decision, then wakes the requests that got a slot by it.
    fn decide<T>(&self, event: impl FnOnce(&mut AdmissionCore<Waker>, Duration) -> T) -> T {
        let mut state = self.state();
        let now = state.now;
        let decided = event(&mut state.core, now);
        let granted = state.core.take_effects().granted;
        assert_eq!(
            state.core.waiting_beside_free_slot(now),
            None,
            "waits beside a free slot"
        );
        drop(state);
        self.changed.notify_all();
        for (waker, grant) in granted {
            if waker.send(grant.clone()).is_err() {
                // The request has just left; its slot goes to the next one.
                self.give_back(&grant);
            }
        }
        decided
    }

    fn give_back(&self, grant: &Grant) {
        self.decide(|core, now| core.release(grant, RequestEnd::Abandoned, now, 0.0));
    }

    /// Runs one request from its arrival to its end.
    fn serve(&self, number: usize, behavior: Behavior) {
        let mut receiver = None;
        let priority = if number.is_multiple_of(2) {
            Priority::Interactive
        } else {
            Priority::Batch
        };
        let request = AcquireRequest {
            priority,
            ..request("m")
        };
        let decision = self.decide(|core, now| {
            core.acquire(&request, now, || {
                let (sender, woken) = channel();
                receiver = Some(woken);
                sender
            })
        });
        let grant = match decision {
            AcquireDecision::Granted(grant) => Some(grant),
            AcquireDecision::Queued { ticket, .. } => {
                self.wait(ticket, &receiver.unwrap(), behavior)
            }
            AcquireDecision::Refused(refusal) => panic!("{refusal}"),
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

    fn wait(&self, ticket: Ticket, woken: &Receiver<Grant>, behavior: Behavior) -> Option<Grant> {
        let is_granted = match behavior {
            Behavior::Waits => true,
            Behavior::TimesOut => {
                thread::yield_now();
                self.decide(|core, now| core.time_out("m", ticket, true, now))
                    .is_none()
            }
            Behavior::Leaves => {
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
        assert!(
            state.held[place] <= SLOTS[place],
            "a slot was granted twice"
        );
        drop(state);
        thread::yield_now();
        match thread_rng().gen_range(0..8) {
            0 => self.end(place, &grant, RequestEnd::Refused { pause: Some(PAUSE) }),
            1 => self.end(place, &grant, RequestEnd::Refused { pause: None }),
            2 => self.end(
                place,
                &grant,
                RequestEnd::Failed(EndpointFailure::Unreachable),
            ),
            3 => self.end(place, &grant, RequestEnd::Abandoned),
            // The node uses another replica, if there is one of that name.
            choice @ (4 | 5) => {
                let used = if choice == 4 { "unknown" } else { "r0" }.parse().unwrap();
                self.state().held[place] -= 1;
                self.decide(|core, now| core.response_started(&mut grant, Some(&used), None, now));
                thread::yield_now();
                self.decide(|core, now| core.release(&grant, RequestEnd::Served, now, 0.0));
            }
            _ => {
                self.decide(|core, now| core.response_started(&mut grant, None, None, now));
                thread::yield_now();
                self.end(place, &grant, RequestEnd::Served);
            }
        }
    }

    fn end(&self, place: usize, grant: &Grant, end: RequestEnd) {
        self.state().held[place] -= 1;
        self.decide(|core, now| core.release(grant, end, now, 0.0));
    }

    /// The timer thread: ticks some time after a deadline.
    fn run_timer(&self) {
        loop {
            let mut state = self.state();
            while !state.is_timer_due() {
                if state.open == 0 {
                    return;
                }
                state = self.changed.wait(state).unwrap();
            }
            drop(state);
            self.decide(AdmissionCore::tick);
        }
    }

    /// Advances time by some steps, then to each deadline that a request waits for.
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
                .map(|at| at.max(state.timer_runs_from))
            {
                Some(at) if at > state.now => {
                    state.now = at;
                    self.changed.notify_all();
                }
                _ => state = self.changed.wait(state).unwrap(),
            }
        }
    }

    fn assert_ended(&self, requests: usize) {
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

impl SharedState {
    fn is_timer_due(&self) -> bool {
        self.now >= self.timer_runs_from && self.core.next_wakeup().is_some_and(|at| at <= self.now)
    }
}

fn replicas(state: EndpointState) -> [TestEndpoint; 2] {
    let replica = |name, slots| TestEndpoint {
        state,
        ..replica(name, slots)
    };
    [replica("r0", SLOTS[0]), replica("r1", SLOTS[1])]
}

/// Sends all requests at once while time passes and the calling thread runs `meanwhile`.
fn send(behaviors: &[Behavior], timer_runs_from: Duration, meanwhile: impl FnOnce(&Shared)) {
    let shared = Arc::new(Shared::new(behaviors.len(), timer_runs_from));
    let mut threads: Vec<_> = behaviors
        .iter()
        .copied()
        .enumerate()
        .map(|(number, behavior)| {
            let shared = shared.clone();
            thread::spawn(move || shared.serve(number, behavior))
        })
        .collect();
    for actor in [Shared::run_timer, Shared::run_clock] {
        let shared = shared.clone();
        threads.push(thread::spawn(move || actor(&shared)));
    }
    meanwhile(&shared);
    for thread in threads {
        thread.join().unwrap();
    }
    shared.assert_ended(behaviors.len());
}

/// Half of the orders are random, half have few switches.
fn in_many_orders(test: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(test, ORDERS / 2);
    shuttle::check_pct(test, ORDERS / 2, DEPTH);
}

// spec: ADM-11
#[test]
fn every_request_is_served_and_no_slot_is_granted_twice() {
    in_many_orders(|| send(&[Behavior::Waits; 6], Duration::ZERO, |_| {}));
}

// spec: ADM-4, ADM-11
#[test]
fn leaving_at_the_moment_of_the_grant_loses_no_slot() {
    use Behavior::{Leaves, TimesOut, Waits};
    in_many_orders(|| {
        send(
            &[Waits, TimesOut, Waits, Leaves, Waits, TimesOut],
            Duration::ZERO,
            |_| {},
        );
    });
}

// spec: ADM-11, ADM-15
#[test]
fn a_delayed_timer_task_leaves_no_request_waiting() {
    use Behavior::{TimesOut, Waits};
    in_many_orders(|| {
        send(
            &[Waits, Waits, TimesOut, Waits, Waits, Waits],
            30 * S,
            |_| {},
        );
    });
}

// spec: ADM-11
#[test]
fn requests_that_wait_for_nodes_to_return_are_woken() {
    use Behavior::{Leaves, Waits};
    in_many_orders(|| {
        send(&[Waits, Waits, Leaves, Waits], Duration::ZERO, |shared| {
            for state in [EndpointState::Draining, EndpointState::Ready] {
                let changes: Vec<_> = replicas(state).iter().map(TestEndpoint::set).collect();
                shared.decide(|core, now| core.apply(&changes, now));
                thread::yield_now();
            }
        });
    });
}
