//! What is kept, what goes first, and that the sums are right whatever happens.

use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const S: Duration = Duration::from_secs(1);

fn id(number: usize) -> TaskId {
    TaskId::new(&format!("t{number}")).unwrap()
}

fn shelf(tasks: usize, bytes: usize) -> Shelf<usize> {
    Shelf::new(Limits {
        tasks,
        bytes,
        age: 10 * S,
    })
}

#[test]
fn a_task_is_kept_for_its_time_after_its_end() {
    let mut shelf = shelf(10, 1000);
    shelf.put(id(1), 1, 10, S).unwrap();
    assert_eq!(shelf.next_expiry(), None);
    assert_eq!(shelf.get(&id(1), 100 * S), Some(&1));
    shelf.end(&id(1), 10, 100 * S);
    assert_eq!(shelf.next_expiry(), Some(110 * S));
    assert_eq!(shelf.get(&id(1), 109 * S), Some(&1));
    assert_eq!(shelf.get(&id(1), 110 * S), None);
    assert_eq!((shelf.bytes, shelf.next_expiry()), (0, None));
}

#[test]
fn the_first_to_end_makes_room() {
    let mut shelf = shelf(3, 1000);
    for number in 1..=3 {
        shelf.put(id(number), number, 10, S).unwrap();
    }
    assert_eq!(shelf.put(id(4), 4, 10, S), Err(Full));
    shelf.end(&id(2), 10, 2 * S);
    shelf.end(&id(1), 10, 3 * S);
    shelf.put(id(4), 4, 10, 4 * S).unwrap();
    assert_eq!(shelf.get(&id(2), 4 * S), None);
    assert_eq!(shelf.get(&id(1), 4 * S), Some(&1));
}

#[test]
fn bytes_make_room_too_but_never_of_what_runs() {
    let mut shelf = shelf(10, 100);
    shelf.put(id(1), 1, 40, S).unwrap();
    shelf.put(id(2), 2, 40, S).unwrap();
    assert_eq!(shelf.put(id(3), 3, 40, S), Err(Full));
    shelf.end(&id(1), 40, S);
    shelf.grow(&id(2), 50).unwrap();
    assert_eq!(shelf.get(&id(1), S), None);
    assert_eq!(shelf.grow(&id(2), 20), Err(Full));
    assert_eq!(shelf.bytes, 90);
    shelf.end(&id(2), 30, S);
    assert_eq!(shelf.bytes, 30);
}

#[test]
fn who_ends_too_large_is_still_heard() {
    let mut shelf = shelf(10, 100);
    for number in 1..=2 {
        shelf.put(id(number), number, 10, S).unwrap();
        shelf.end(&id(number), 200, S);
    }
    assert_eq!(shelf.get(&id(1), S), None);
    assert_eq!(shelf.get(&id(2), S), Some(&2));
    assert_eq!(shelf.bytes, 200);
    shelf.put(id(3), 3, 10, S).unwrap();
    assert_eq!(shelf.get(&id(2), S), None);
    assert_eq!(shelf.bytes, 10);
}

#[test]
fn only_the_one_that_is_meant_is_removed() {
    let mut shelf = shelf(10, 100);
    shelf.put(id(1), 1, 10, S).unwrap();
    shelf.remove(&id(1), |kept| *kept == 2);
    assert_eq!(shelf.get(&id(1), S), Some(&1));
    shelf.remove(&id(1), |kept| *kept == 1);
    assert_eq!(shelf.get(&id(1), S), None);
    assert_eq!(shelf.bytes, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, usize),
    Grow(usize, usize),
    End(usize, usize),
    Remove(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..8_usize;
    prop_oneof![
        (id.clone(), 0..50_usize).prop_map(|(id, bytes)| Step::Put(id, bytes)),
        (id.clone(), 0..50_usize).prop_map(|(id, bytes)| Step::Grow(id, bytes)),
        (id.clone(), 0..50_usize).prop_map(|(id, bytes)| Step::End(id, bytes)),
        id.prop_map(Step::Remove),
        (0..5_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    // spec: TASK-9
    #[test]
    fn sums_are_right_and_what_runs_stays(steps in prop::collection::vec(step(), 0..80)) {
        let mut shelf = shelf(5, 100);
        let mut now = Duration::ZERO;
        let mut running = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                // As callers do: one that is known is not put again.
                Step::Put(number, bytes) => {
                    if shelf.get(&id(number), now).is_none() && shelf.put(id(number), number, bytes, now).is_ok() {
                        running.insert(number);
                    }
                }
                Step::Grow(number, bytes) => {
                    let _ = shelf.grow(&id(number), bytes);
                }
                Step::End(number, bytes) => {
                    // A task ends with no more than it was counted for.
                    let counted = shelf.kept.get(&id(number)).map_or(0, |kept| kept.bytes);
                    shelf.end(&id(number), bytes.min(counted), now);
                    running.remove(&number);
                }
                Step::Remove(number) => {
                    shelf.remove(&id(number), |kept| *kept == number);
                    running.remove(&number);
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    shelf.expire(now);
                    prop_assert!(shelf.next_expiry().is_none_or(|at| at > now));
                }
            }
            prop_assert_eq!(shelf.bytes, shelf.kept.values().map(|kept| kept.bytes).sum::<usize>());
            prop_assert!(shelf.bytes <= 100 && shelf.kept.len() <= 5);
            let ended: Vec<_> = shelf.kept.values().filter_map(|kept| kept.ended).collect();
            prop_assert_eq!(ended.len(), shelf.ended.len());
            let kept_running: std::collections::BTreeSet<_> = shelf.running().copied().collect();
            prop_assert_eq!(&kept_running, &running);
        }
    }
}
