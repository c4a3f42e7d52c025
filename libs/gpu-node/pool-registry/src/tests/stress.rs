//! Stress test: with many threads an engine never gets more requests than slots.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
};

use super::support::{handoff, pool, replica};
use crate::{ClaimError, PoolRegistry};

const THREADS: usize = 16;
const CLAIMS_PER_THREAD: usize = 2_000;
const SLOTS: u32 = 3;
const ENGINES: u16 = 2;

// spec: SLOT-1
#[test]
fn claims_of_many_threads_never_overdraw_an_engine() {
    let registry = PoolRegistry::new(vec![]);
    for port in 0..ENGINES {
        registry
            .upsert(handoff("p", &format!("r{port}"), 1000 + port, SLOTS))
            .unwrap();
    }
    let running: Vec<AtomicU32> = (0..ENGINES).map(|_| AtomicU32::new(0)).collect();
    let served = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..CLAIMS_PER_THREAD {
                    match registry.claim(&pool("p"), None) {
                        Ok(lease) => {
                            let engine = &running[usize::from(lease.url().port() - 1000)];
                            assert!(engine.fetch_add(1, Ordering::SeqCst) < SLOTS);
                            thread::yield_now();
                            engine.fetch_sub(1, Ordering::SeqCst);
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert!(matches!(error, ClaimError::Busy | ClaimError::NotReady(_)))
                        }
                    }
                }
            });
        }
        // Meanwhile the handoff of one engine is removed and added.
        scope.spawn(|| {
            for _ in 0..200 {
                registry.remove(&pool("p"), &replica("r0"));
                thread::yield_now();
                registry.upsert(handoff("p", "r0", 1000, SLOTS)).unwrap();
            }
        });
    });
    assert!(served.into_inner() > 0);
    assert_eq!(registry.in_flight(), 0);
    let slots = registry.pool_slots(&pool("p")).unwrap();
    assert_eq!(
        (slots.free, slots.total),
        (SLOTS * u32::from(ENGINES), SLOTS * u32::from(ENGINES))
    );
}
