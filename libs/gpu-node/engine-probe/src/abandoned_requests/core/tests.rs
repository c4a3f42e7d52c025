//! Tests of single cases, and property tests against a model of an engine.

use proptest::prelude::*;

use super::*;

/// No slot is released.
const NONE: [u32; 0] = [];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn busy(tasks: &[i64]) -> PollResult {
    PollResult::Busy(tasks.iter().map(|task| (0, *task)).collect())
}

/// An engine with `old` wanted requests that are certainly there.
fn engine(old: usize) -> (EngineTracker<u32>, Vec<TrackedRequestId>) {
    let mut engine = EngineTracker::default();
    let in_flight = (0..old).map(|_| engine.sent(ms(0))).collect();
    (engine, in_flight)
}

/// Polls when a poll is due, and finishes it at once.
fn poll(engine: &mut EngineTracker<u32>, found: PollResult) -> (Duration, Vec<u32>) {
    let at = engine.next_poll().expect("a poll is due");
    engine.begin_poll(at);
    assert_eq!(engine.next_poll(), None, "one at a time");
    (at, engine.poll_finished(found, at))
}

// spec: SLOT-11
#[test]
fn a_slot_is_released_when_its_task_has_ended() {
    let (mut engine, in_flight) = engine(3);
    engine.abandon(in_flight[0], 0, ms(1000));
    engine.abandon(in_flight[1], 1, ms(1000));
    assert_eq!(poll(&mut engine, busy(&[1, 2, 3])), (ms(1020), vec![]));
    assert_eq!(poll(&mut engine, busy(&[2, 3])).1, [0]);
    assert_eq!(poll(&mut engine, busy(&[2, 3])).1, NONE);
    assert_eq!(poll(&mut engine, busy(&[3])).1, [1]);
    assert_eq!(engine.next_poll(), None, "no request is abandoned");
    assert!(!engine.is_unused());
    engine.done(in_flight[2]);
    assert!(engine.is_unused());
}

// spec: SLOT-12
#[test]
fn a_request_on_its_way_is_not_counted_as_a_task() {
    let (mut engine, in_flight) = engine(1);
    engine.abandon(in_flight[0], 0, ms(1000));
    let fresh = engine.sent(ms(1010));
    // The only task is the abandoned one: the other request has not arrived yet.
    assert_eq!(poll(&mut engine, busy(&[1])).1, NONE);
    // It has arrived, and the abandoned one has ended.
    engine.answered(fresh, ms(1100));
    assert_eq!(poll(&mut engine, busy(&[2])).1, [0]);
}

#[test]
fn a_later_request_does_not_keep_a_slot() {
    let (mut engine, in_flight) = engine(1);
    engine.abandon(in_flight[0], 0, ms(1000));
    assert_eq!(poll(&mut engine, busy(&[1])).1, NONE);
    // As busy as before, with short requests: the task of the first poll is not among theirs.
    let at = engine.next_poll().unwrap();
    engine.sent(at - ms(1));
    assert_eq!(poll(&mut engine, busy(&[2])).1, [0]);
}

// spec: SLOT-12
#[test]
fn a_newly_abandoned_request_gets_a_poll_of_its_own() {
    let (mut engine, in_flight) = engine(3);
    engine.abandon(in_flight[0], 0, ms(1000));
    assert_eq!(poll(&mut engine, busy(&[1, 2, 3])).0, ms(1020));
    assert_eq!(
        engine.next_poll(),
        Some(ms(3020)),
        "no further request was abandoned"
    );
    engine.answered(in_flight[1], ms(1100));
    engine.abandon(in_flight[1], 1, ms(1100));
    // The engine may need a quiet period to notice the first; there was one before the last poll.
    assert_eq!(poll(&mut engine, busy(&[1, 3])), (ms(1120), vec![0]));
    engine.answered(in_flight[2], ms(1130));
    engine.abandon(in_flight[2], 2, ms(1130));
    assert_eq!(engine.next_poll(), Some(ms(1150)), "streams notice at once");
}

#[test]
fn every_other_pause_is_long_while_an_unstreamed_request_is_abandoned() {
    let (mut engine, in_flight) = engine(50);
    let tasks: Vec<i64> = (0..50).collect();
    let mut polls = Vec::new();
    for (number, request) in in_flight.into_iter().enumerate() {
        let now = ms(1000 + 100 * number as u64);
        while engine.next_poll().is_some_and(|at| at <= now) {
            polls.push(poll(&mut engine, busy(&tasks)).0);
        }
        engine.abandon(request, 0, now);
    }
    for pauses in polls.windows(3) {
        let long = (pauses[1] - pauses[0]).max(pauses[2] - pauses[1]);
        assert!(long >= QUIET_PERIOD, "{polls:?}");
    }
    assert!(polls.len() >= 6, "{polls:?}");
}

#[test]
fn a_new_request_is_polled_when_it_must_have_arrived() {
    let mut engine = EngineTracker::default();
    let request = engine.sent(ms(0));
    engine.abandon(request, 0, ms(10));
    assert_eq!(engine.next_poll(), Some(SETTLE));
}

#[test]
fn unanswered_polls_are_tolerated_for_a_while() {
    let (mut engine, in_flight) = engine(2);
    engine.abandon(in_flight[0], 0, ms(1000));
    for _ in 1..UNANSWERED_POLLS {
        assert_eq!(poll(&mut engine, PollResult::Unanswered).1, NONE);
        assert_eq!(
            poll(&mut engine, PollResult::NotAsked).1,
            NONE,
            "not asking says nothing about the engine"
        );
    }
    assert_eq!(poll(&mut engine, PollResult::Unanswered).1, [0]);
    engine.abandon(in_flight[1], 1, ms(90_000));
    assert_eq!(
        poll(&mut engine, PollResult::Unanswered).1,
        NONE,
        "the count starts again"
    );
    assert_eq!(poll(&mut engine, PollResult::Idle).1, [1]);
}

// spec: SLOT-12
#[test]
fn the_request_that_became_visible_last_keeps_its_slot() {
    const OTHER: i64 = 2;
    const YOUNG: i64 = 4;
    const PASSING: i64 = 5;
    let mut engine = EngineTracker::default();
    let old = engine.sent(ms(0));
    engine.sent(ms(1000));
    // One request is abandoned on its way and runs on. Then one that has long been at the engine is
    // abandoned and ends at once.
    let young = engine.sent(ms(2000));
    engine.abandon(young, 1, ms(2000));
    let passing = engine.sent(ms(2000));
    engine.abandon(old, 0, ms(2000));
    // `passing` has arrived already, but not certainly, so it is taken for the old one.
    assert_eq!(poll(&mut engine, busy(&[OTHER, PASSING])).1, NONE);
    assert_eq!(poll(&mut engine, busy(&[OTHER, YOUNG, PASSING])).1, [0]);
    // It ends. The first poll did not show the young one, so it says nothing about it.
    engine.done(passing);
    assert_eq!(poll(&mut engine, busy(&[OTHER, YOUNG])).1, NONE);
    assert_eq!(poll(&mut engine, busy(&[OTHER])).1, [1]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request is sent; it is at the engine so many milliseconds later.
    Send {
        travels: u8,
    },
    /// The engine finishes a request, and its client gets the answer.
    Finish(prop::sample::Index),
    /// A client leaves; the engine runs on for so long.
    Leave {
        which: prop::sample::Index,
        runs_on_ms: u16,
    },
    Pause(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..250_u8).prop_map(|travels| Step::Send { travels }),
        2 => any::<prop::sample::Index>().prop_map(Step::Finish),
        3 => (any::<prop::sample::Index>(), 0..9000_u16)
            .prop_map(|(which, runs_on_ms)| Step::Leave { which, runs_on_ms }),
        4 => (0..1500_u16).prop_map(Step::Pause),
    ]
}

/// A model of an engine beside its tracker.
#[derive(Default)]
struct World {
    now: Duration,
    engine: EngineTracker<u32>,
    /// From when to when each task runs, by its number.
    tasks: Vec<(Duration, Option<Duration>)>,
    /// Requests whose client waits: their id and their task.
    wanted: Vec<(TrackedRequestId, usize)>,
    /// The tasks of abandoned requests.
    abandoned: Vec<usize>,
    kept: usize,
}

impl World {
    fn runs(&self, task: usize) -> bool {
        let (from, until) = self.tasks[task];
        from <= self.now && until.is_none_or(|until| self.now < until)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send { travels } => {
                let request = self.engine.sent(self.now);
                self.tasks.push((self.now + ms(travels.into()), None));
                self.wanted.push((request, self.tasks.len() - 1));
            }
            Step::Finish(which) if !self.wanted.is_empty() => {
                let (request, task) = self.wanted.swap_remove(which.index(self.wanted.len()));
                // No request finishes before it has arrived.
                let at = self.now.max(self.tasks[task].0);
                self.tasks[task].1 = Some(at);
                self.pass_until(at);
                self.engine.done(request);
            }
            Step::Leave { which, runs_on_ms } if !self.wanted.is_empty() => {
                let (request, task) = self.wanted.swap_remove(which.index(self.wanted.len()));
                self.tasks[task].1 = Some(self.now.max(self.tasks[task].0) + ms(runs_on_ms.into()));
                self.abandoned.push(task);
                self.kept += 1;
                self.engine.abandon(request, 0, self.now);
            }
            Step::Pause(pause) => self.pass_until(self.now + ms(pause.into())),
            Step::Finish(_) | Step::Leave { .. } => {}
        }
    }

    /// Lets time pass; polls that are due are answered at once.
    fn pass_until(&mut self, until: Duration) {
        while let Some(at) = self.engine.next_poll().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.begin_poll(self.now);
            let tasks = (0..self.tasks.len()).filter(|task| self.runs(*task));
            let found = PollResult::Busy(tasks.map(|task| (0, task as i64)).collect());
            self.kept -= self.engine.poll_finished(found, self.now).len();
            let run_on = self
                .abandoned
                .iter()
                .filter(|task| self.runs(**task))
                .count();
            assert!(
                self.kept >= run_on,
                "{run_on} run on, and {} slots are kept",
                self.kept
            );
        }
        self.now = self.now.max(until);
    }
}

proptest! {
    // spec: SLOT-11, SLOT-12
    #[test]
    fn no_slot_is_released_while_its_task_runs_and_all_are_released(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        // Wanted requests run on; all others end.
        world.pass_until(world.now + ms(30_000));
        prop_assert_eq!(world.kept, 0);
    }
}
