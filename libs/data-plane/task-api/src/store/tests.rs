//! What is kept, what is forgotten first, and that the sums stay correct.

use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const S: Duration = Duration::from_secs(1);

fn id(number: usize) -> TaskId {
    TaskId::new(&format!("t{number}")).unwrap()
}

fn store(tasks: usize, bytes: usize) -> TaskStore<usize> {
    TaskStore::new(StoreLimits {
        tasks,
        bytes,
        age: 10 * S,
    })
}

#[test]
fn a_task_is_kept_for_its_time_after_its_end() {
    let mut store = store(10, 1000);
    store.insert(id(1), 1, 10, S).unwrap();
    assert_eq!(store.next_expiry(), None);
    assert_eq!(store.get(&id(1), 100 * S), Some(&1));
    store.end(&id(1), 10, 100 * S);
    assert_eq!(store.next_expiry(), Some(110 * S));
    assert_eq!(store.get(&id(1), 109 * S), Some(&1));
    assert_eq!(store.get(&id(1), 110 * S), None);
    assert_eq!((store.bytes, store.next_expiry()), (0, None));
}

#[test]
fn the_task_that_ended_first_is_forgotten_first() {
    let mut store = store(3, 1000);
    for number in 1..=3 {
        store.insert(id(number), number, 10, S).unwrap();
    }
    assert_eq!(store.insert(id(4), 4, 10, S), Err(StoreFull));
    store.end(&id(2), 10, 2 * S);
    store.end(&id(1), 10, 3 * S);
    store.insert(id(4), 4, 10, 4 * S).unwrap();
    assert_eq!(store.get(&id(2), 4 * S), None);
    assert_eq!(store.get(&id(1), 4 * S), Some(&1));
}

#[test]
fn a_lack_of_bytes_forgets_ended_tasks_and_never_running_ones() {
    let mut store = store(10, 100);
    store.insert(id(1), 1, 40, S).unwrap();
    store.insert(id(2), 2, 40, S).unwrap();
    assert_eq!(store.insert(id(3), 3, 40, S), Err(StoreFull));
    store.end(&id(1), 40, S);
    store.grow(&id(2), 50).unwrap();
    assert_eq!(store.get(&id(1), S), None);
    assert_eq!(store.grow(&id(2), 20), Err(StoreFull));
    assert_eq!(store.bytes, 90);
    store.end(&id(2), 30, S);
    assert_eq!(store.bytes, 30);
}

#[test]
fn a_task_that_ends_too_large_is_kept() {
    let mut store = store(10, 100);
    for number in 1..=2 {
        store.insert(id(number), number, 10, S).unwrap();
        store.end(&id(number), 200, S);
    }
    assert_eq!(store.get(&id(1), S), None);
    assert_eq!(store.get(&id(2), S), Some(&2));
    assert_eq!(store.bytes, 200);
    store.insert(id(3), 3, 10, S).unwrap();
    assert_eq!(store.get(&id(2), S), None);
    assert_eq!(store.bytes, 10);
}

#[test]
fn only_a_matching_task_is_removed() {
    let mut store = store(10, 100);
    store.insert(id(1), 1, 10, S).unwrap();
    store.remove(&id(1), |stored| *stored == 2);
    assert_eq!(store.get(&id(1), S), Some(&1));
    store.remove(&id(1), |stored| *stored == 1);
    assert_eq!(store.get(&id(1), S), None);
    assert_eq!(store.bytes, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(usize, usize),
    Grow(usize, usize),
    End(usize, usize),
    Remove(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..8_usize;
    prop_oneof![
        (id.clone(), 0..50_usize).prop_map(|(id, bytes)| Step::Insert(id, bytes)),
        (id.clone(), 0..50_usize).prop_map(|(id, bytes)| Step::Grow(id, bytes)),
        (id.clone(), 0..50_usize).prop_map(|(id, bytes)| Step::End(id, bytes)),
        id.prop_map(Step::Remove),
        (0..5_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    // spec: TASK-9
    #[test]
    fn sums_are_correct_and_running_tasks_stay(steps in prop::collection::vec(step(), 0..80)) {
        let mut store = store(5, 100);
        let mut now = Duration::ZERO;
        let mut running = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                // As callers do: a known task is not inserted again.
                Step::Insert(number, bytes) => {
                    if store.get(&id(number), now).is_none()
                        && store.insert(id(number), number, bytes, now).is_ok()
                    {
                        running.insert(number);
                    }
                }
                Step::Grow(number, bytes) => {
                    let _ = store.grow(&id(number), bytes);
                }
                Step::End(number, bytes) => {
                    // A task ends with at most its counted bytes.
                    let counted = store.tasks.get(&id(number)).map_or(0, |stored| stored.bytes);
                    store.end(&id(number), bytes.min(counted), now);
                    running.remove(&number);
                }
                Step::Remove(number) => {
                    store.remove(&id(number), |stored| *stored == number);
                    running.remove(&number);
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    store.expire(now);
                    prop_assert!(store.next_expiry().is_none_or(|at| at > now));
                }
            }
            let bytes: usize = store.tasks.values().map(|stored| stored.bytes).sum();
            prop_assert_eq!(store.bytes, bytes);
            prop_assert!(store.bytes <= 100 && store.tasks.len() <= 5);
            let ended: Vec<_> = store.tasks.values().filter_map(|stored| stored.ended).collect();
            prop_assert_eq!(ended.len(), store.ended.len());
            let stored_running: std::collections::BTreeSet<_> = store.running().copied().collect();
            prop_assert_eq!(&stored_running, &running);
        }
    }
}
