//! Case by case, and against an engine whose tasks are known.

use proptest::prelude::*;

use super::*;

/// No slot is free.
const NOBODY: [u32; 0] = [];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn busy(tasks: &[i64]) -> Found {
    Found::Busy(tasks.iter().map(|task| (0, *task)).collect())
}

/// An engine with `old` requests that somebody waits for, all surely there.
fn engine(old: usize) -> (Engine<u32>, Vec<TrackedRequestId>) {
    let mut engine = Engine::default();
    let visits = (0..old).map(|_| engine.sent(ms(0))).collect();
    (engine, visits)
}

/// Looks when it is due, and answers at once.
fn look(engine: &mut Engine<u32>, found: Found) -> (Duration, Vec<u32>) {
    let at = engine.next_look().expect("a look is due");
    engine.look(at);
    assert_eq!(engine.next_look(), None, "one at a time");
    (at, engine.looked(found, at))
}

// spec: SLOT-11
#[test]
fn a_slot_comes_back_when_its_task_has_ended_and_not_before() {
    let (mut engine, visits) = engine(3);
    engine.given_up(visits[0], 0, ms(1000));
    engine.given_up(visits[1], 1, ms(1000));
    assert_eq!(look(&mut engine, busy(&[1, 2, 3])), (ms(1020), vec![]));
    assert_eq!(look(&mut engine, busy(&[2, 3])).1, [0]);
    assert_eq!(look(&mut engine, busy(&[2, 3])).1, NOBODY);
    assert_eq!(look(&mut engine, busy(&[3])).1, [1]);
    assert_eq!(engine.next_look(), None, "nobody is left to look for");
    assert!(!engine.is_forgotten());
    engine.done(visits[2]);
    assert!(engine.is_forgotten());
}

// spec: SLOT-12
#[test]
fn a_request_that_is_still_on_its_way_is_not_taken_for_one_of_the_tasks() {
    let (mut engine, visits) = engine(1);
    engine.given_up(visits[0], 0, ms(1000));
    let fresh = engine.sent(ms(1010));
    // The one task is the given-up one: the other has not come there yet.
    assert_eq!(look(&mut engine, busy(&[1])).1, NOBODY);
    // It has come, and the given-up one has ended.
    engine.answered(fresh, ms(1100));
    assert_eq!(look(&mut engine, busy(&[2])).1, [0]);
}

#[test]
fn who_came_later_does_not_keep_a_slot() {
    let (mut engine, visits) = engine(1);
    engine.given_up(visits[0], 0, ms(1000));
    assert_eq!(look(&mut engine, busy(&[1])).1, NOBODY);
    // As busy as before, by requests that are never there for long: the task that was seen is not
    // among theirs.
    let at = engine.next_look().unwrap();
    engine.sent(at - ms(1));
    assert_eq!(look(&mut engine, busy(&[2])).1, [0]);
}

// spec: SLOT-12
#[test]
fn a_newcomer_has_a_look_of_its_own() {
    let (mut engine, visits) = engine(3);
    engine.given_up(visits[0], 0, ms(1000));
    assert_eq!(look(&mut engine, busy(&[1, 2, 3])).0, ms(1020));
    assert_eq!(engine.next_look(), Some(ms(3020)), "nobody new, no hurry");
    engine.answered(visits[1], ms(1100));
    engine.given_up(visits[1], 1, ms(1100));
    // The engine may need silence to hear of the first, but there was some before the last look.
    assert_eq!(look(&mut engine, busy(&[1, 3])), (ms(1120), vec![0]));
    engine.answered(visits[2], ms(1130));
    engine.given_up(visits[2], 2, ms(1130));
    assert_eq!(engine.next_look(), Some(ms(1150)), "streams hear at once");
}

#[test]
fn where_somebody_may_be_deaf_every_other_pause_is_long() {
    let (mut engine, visits) = engine(50);
    let tasks: Vec<i64> = (0..50).collect();
    let mut looks = Vec::new();
    for (number, visit) in visits.into_iter().enumerate() {
        let now = ms(1000 + 100 * number as u64);
        while engine.next_look().is_some_and(|at| at <= now) {
            looks.push(look(&mut engine, busy(&tasks)).0);
        }
        engine.given_up(visit, 0, now);
    }
    for pauses in looks.windows(3) {
        let long = (pauses[1] - pauses[0]).max(pauses[2] - pauses[1]);
        assert!(long >= QUIET, "{looks:?}");
    }
    assert!(looks.len() >= 6, "{looks:?}");
}

#[test]
fn a_young_request_is_looked_for_when_it_must_be_there() {
    let mut engine = Engine::default();
    let visit = engine.sent(ms(0));
    engine.given_up(visit, 0, ms(10));
    assert_eq!(engine.next_look(), Some(SETTLE));
}

#[test]
fn silence_is_waited_out_for_a_while_and_an_end_is_an_end() {
    let (mut engine, visits) = engine(2);
    engine.given_up(visits[0], 0, ms(1000));
    for _ in 1..LOOKS_WITHOUT_ANSWER {
        assert_eq!(look(&mut engine, Found::Unanswered).1, NOBODY);
        assert_eq!(
            look(&mut engine, Found::NotAsked).1,
            NOBODY,
            "that says nothing of the engine"
        );
    }
    assert_eq!(look(&mut engine, Found::Unanswered).1, [0]);
    engine.given_up(visits[1], 1, ms(90_000));
    assert_eq!(
        look(&mut engine, Found::Unanswered).1,
        NOBODY,
        "counted anew"
    );
    assert_eq!(look(&mut engine, Found::Over).1, [1]);
}

// spec: SLOT-12
#[test]
fn who_left_first_and_is_shown_last_stays() {
    const OTHER: i64 = 2;
    const YOUNG: i64 = 4;
    const PASSING: i64 = 5;
    let mut engine = Engine::default();
    let old = engine.sent(ms(0));
    engine.sent(ms(1000));
    // One is given up on its way and will run on; then one that has long been there, and ends at
    // once.
    let young = engine.sent(ms(2000));
    engine.given_up(young, 1, ms(2000));
    let passing = engine.sent(ms(2000));
    engine.given_up(old, 0, ms(2000));
    // What passes is there already, though nobody could be sure of it: it is taken for the old one.
    assert_eq!(look(&mut engine, busy(&[OTHER, PASSING])).1, NOBODY);
    assert_eq!(look(&mut engine, busy(&[OTHER, YOUNG, PASSING])).1, [0]);
    // And it ends: of the first look, in which the young one was not, nothing follows for that.
    engine.done(passing);
    assert_eq!(look(&mut engine, busy(&[OTHER, YOUNG])).1, NOBODY);
    assert_eq!(look(&mut engine, busy(&[OTHER])).1, [1]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request is sent; it is at the engine so many milliseconds later.
    Send {
        travels: u8,
    },
    /// The engine is done with a request, and whoever waits for it hears of it.
    Finish(prop::sample::Index),
    /// Somebody leaves; the engine goes on for so long.
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
        3 => (any::<prop::sample::Index>(), 0..9000_u16).prop_map(|(which, runs_on_ms)| Step::Leave { which, runs_on_ms }),
        4 => (0..1500_u16).prop_map(Step::Pause),
    ]
}

/// An engine as it is, beside what is thought of it.
#[derive(Default)]
struct World {
    now: Duration,
    engine: Engine<u32>,
    /// From when to when each task runs, by its number.
    tasks: Vec<(Duration, Option<Duration>)>,
    /// Requests that somebody waits for: ours, and the task.
    wanted: Vec<(TrackedRequestId, usize)>,
    /// The tasks of those that were given up.
    given_up: Vec<usize>,
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
                let visit = self.engine.sent(self.now);
                self.tasks.push((self.now + ms(travels.into()), None));
                self.wanted.push((visit, self.tasks.len() - 1));
            }
            Step::Finish(which) if !self.wanted.is_empty() => {
                let (visit, task) = self.wanted.swap_remove(which.index(self.wanted.len()));
                // Nothing is finished before it has come there.
                let at = self.now.max(self.tasks[task].0);
                self.tasks[task].1 = Some(at);
                self.pass_until(at);
                self.engine.done(visit);
            }
            Step::Leave { which, runs_on_ms } if !self.wanted.is_empty() => {
                let (visit, task) = self.wanted.swap_remove(which.index(self.wanted.len()));
                self.tasks[task].1 = Some(self.now.max(self.tasks[task].0) + ms(runs_on_ms.into()));
                self.given_up.push(task);
                self.kept += 1;
                self.engine.given_up(visit, 0, self.now);
            }
            Step::Pause(pause) => self.pass_until(self.now + ms(pause.into())),
            Step::Finish(_) | Step::Leave { .. } => {}
        }
    }

    /// Lets time pass; whoever looks meanwhile is answered at once.
    fn pass_until(&mut self, until: Duration) {
        while let Some(at) = self.engine.next_look().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.look(self.now);
            let tasks = (0..self.tasks.len()).filter(|task| self.runs(*task));
            let found = Found::Busy(tasks.map(|task| (0, task as i64)).collect());
            self.kept -= self.engine.looked(found, self.now).len();
            let run_on = self
                .given_up
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
    fn no_slot_is_given_away_while_its_task_runs_and_all_come_back(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        // Those that are waited for run on; everybody else ends at last.
        world.pass_until(world.now + ms(30_000));
        prop_assert_eq!(world.kept, 0);
    }
}
