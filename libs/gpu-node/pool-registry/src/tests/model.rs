//! Property tests: under any sequence of events no slot is lost, given twice, or given beyond those
//! of its engine.

use std::collections::BTreeMap;

use super::support::{handoff, pool, replica, with_models};
use crate::{Claim, ClaimError, DrainTarget, PoolRegistry, ProbeOutcome, SlotLease};
use pool_registry_types::{Handoff, HttpUrl, PoolStatus, ReplicaId, ReplicaStatus};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Upsert {
        pool: u8,
        replica: u8,
        moved: bool,
        slots: u32,
        model: Option<u8>,
    },
    Remove {
        pool: u8,
        replica: u8,
    },
    Claim {
        pool: u8,
        model: Option<u8>,
        hint: Option<u8>,
    },
    Release {
        which: prop::sample::Index,
    },
    Drain {
        pool: Option<u8>,
        on: bool,
    },
    Probe {
        which: prop::sample::Index,
        ready: bool,
        model: Option<u8>,
        slots: Option<u32>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let model = || prop::option::of(0..2_u8);
    prop_oneof![
        3 => (0..2_u8, 0..3_u8, any::<bool>(), 1..5_u32, model())
            .prop_map(|(pool, replica, moved, slots, model)| {
                Step::Upsert { pool, replica, moved, slots, model }
            }),
        1 => (0..2_u8, 0..3_u8).prop_map(|(pool, replica)| Step::Remove { pool, replica }),
        8 => (0..3_u8, model(), prop::option::of(0..4_u8))
            .prop_map(|(pool, model, hint)| Step::Claim { pool, model, hint }),
        4 => any::<prop::sample::Index>().prop_map(|which| Step::Release { which }),
        1 => (prop::option::of(0..2_u8), any::<bool>())
            .prop_map(|(pool, on)| Step::Drain { pool, on }),
        3 => (any::<prop::sample::Index>(), any::<bool>(), model(), prop::option::of(0..5_u32))
            .prop_map(|(which, ready, model, slots)| Step::Probe { which, ready, model, slots }),
    ]
}

/// The registry beside a model of it.
struct World {
    registry: PoolRegistry,
    handoffs: BTreeMap<(String, String), Handoff>,
    /// The slots that the engines of live replicas last reported.
    engine_slots: BTreeMap<(String, String), u32>,
    leases: Vec<SlotLease>,
}

impl World {
    fn on_engine(&self, url: &HttpUrl) -> u32 {
        let count = self
            .leases
            .iter()
            .filter(|lease| lease.url() == url)
            .count();
        u32::try_from(count).unwrap()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Upsert {
                pool,
                replica,
                moved,
                slots,
                model,
            } => {
                let port =
                    1000 + u16::from(pool) * 100 + u16::from(replica) * 10 + u16::from(moved);
                let (pool, replica) = (format!("p{pool}"), format!("r{replica}"));
                let mut handoff = handoff(&pool, &replica, port, slots);
                if let Some(model) = model {
                    handoff = with_models(handoff, &[&format!("m{model}")]);
                }
                self.registry.upsert(handoff.clone()).unwrap();
                let key = (pool, replica);
                let url = handoff.url.clone();
                let before = self.handoffs.insert(key.clone(), handoff);
                if before.is_none_or(|before| before.url != url) {
                    self.engine_slots.remove(&key);
                }
            }
            Step::Remove {
                pool: p,
                replica: r,
            } => {
                let (p, r) = (format!("p{p}"), format!("r{r}"));
                self.registry.remove(&pool(&p), &replica(&r));
                let key = (p, r);
                self.handoffs.remove(&key);
                self.engine_slots.remove(&key);
            }
            Step::Claim {
                pool: p,
                model,
                hint,
            } => {
                let hint = hint.map(|r| replica(&format!("r{r}")));
                let model = model.map(|m| format!("m{m}"));
                self.claim(&format!("p{p}"), model.as_deref(), hint.as_ref());
            }
            Step::Release { which } => {
                if !self.leases.is_empty() {
                    drop(self.leases.swap_remove(which.index(self.leases.len())));
                }
            }
            Step::Drain {
                pool: None,
                on: true,
            } => self.registry.drain_all(),
            Step::Drain {
                pool: None,
                on: false,
            } => self.registry.undrain(&DrainTarget::Node).unwrap(),
            Step::Drain { pool: Some(p), on } => {
                let target = DrainTarget::Pool(pool(&format!("p{p}")));
                let known = self.registry.pool_slots(&pool(&format!("p{p}"))).is_some();
                let done = if on {
                    self.registry.drain(&target)
                } else {
                    self.registry.undrain(&target)
                };
                assert_eq!(done.is_ok(), known);
            }
            Step::Probe {
                which,
                ready,
                model,
                slots,
            } => {
                let targets = self.registry.replicas();
                if !targets.is_empty() {
                    let target = &targets[which.index(targets.len())];
                    let outcome = ProbeOutcome {
                        ready,
                        models: model.map(|m| vec![format!("m{m}")]),
                        slots,
                        ..ProbeOutcome::default()
                    };
                    self.registry.probed(
                        &target.pool_id,
                        &target.replica_id,
                        target.generation,
                        outcome,
                    );
                    if let Some(slots) = slots.filter(|slots| *slots > 0) {
                        let key = (target.pool_id.to_string(), target.replica_id.to_string());
                        self.engine_slots.insert(key, slots);
                    }
                }
            }
        }
    }

    /// How many requests a replica may get at once.
    fn slots(&self, pool: &str, replica: &str) -> u32 {
        let key = (pool.to_owned(), replica.to_owned());
        let promised = self.handoffs[&key].slots();
        self.engine_slots
            .get(&key)
            .map_or(promised, |has| promised.min(*has))
    }

    fn claim(&mut self, id: &str, model: Option<&str>, hint: Option<&ReplicaId>) {
        let before = self
            .registry
            .statuses()
            .into_iter()
            .find(|status| status.pool_id.as_str() == id);
        match self.registry.claim_or_start(&pool(id), model, hint, &[]) {
            Ok(Claim::Pending(slot)) => panic!("no replica is scaled to zero: {slot:?}"),
            Ok(Claim::Slot(lease)) => {
                let before = before.unwrap();
                assert!(before.ready && !before.draining);
                let can_follow = before.replicas.iter().flatten().any(|shown| {
                    let names =
                        |model: &str| shown.models.iter().flatten().any(|name| name == model);
                    Some(&shown.replica_id) == hint
                        && shown.slots_free() > 0
                        && model.is_none_or(names)
                });
                assert!(
                    !can_follow || Some(lease.replica_id()) == hint,
                    "the hint was good"
                );
                let handoff = &self.handoffs[&(id.to_owned(), lease.replica_id().to_string())];
                assert_eq!(lease.url(), &handoff.url);
                let (slots, url) = (
                    self.slots(id, lease.replica_id().as_str()),
                    handoff.url.clone(),
                );
                self.leases.push(lease);
                assert!(self.on_engine(&url) <= slots, "more requests than slots");
            }
            Err(ClaimError::UnknownPool) => assert!(before.is_none()),
            Err(ClaimError::Draining) => assert!(before.unwrap().draining),
            // Without a model every ready replica can take the request.
            Err(ClaimError::Busy) if model.is_none() => assert_eq!(before.unwrap().slots_free(), 0),
            Err(ClaimError::NotReady(_)) if model.is_none() => assert!(!before.unwrap().ready),
            Err(ClaimError::ModelNotAvailable) => assert!(model.is_some()),
            Err(_) => {}
        }
    }

    fn check(&self) {
        assert_eq!(self.registry.in_flight(), self.leases.len());
        for status in self.registry.statuses() {
            let text = serde_json::to_string(&status).unwrap();
            assert_eq!(
                serde_json::from_str::<PoolStatus>(&text).unwrap(),
                status,
                "a heartbeat can carry it"
            );
            let replicas = status.replicas.as_deref().unwrap();
            for shown in replicas.iter().filter(|shown| shown.ready) {
                let handoff =
                    &self.handoffs[&(status.pool_id.to_string(), shown.replica_id.to_string())];
                let slots = self.slots(status.pool_id.as_str(), shown.replica_id.as_str());
                assert_eq!(shown.slots_total(), slots);
                assert_eq!(shown.slots_promised.unwrap_or(slots), handoff.slots());
                assert_eq!(
                    shown.slots_free(),
                    slots.saturating_sub(self.on_engine(&handoff.url))
                );
            }
            let ready = || replicas.iter().filter(|shown| shown.ready);
            assert_eq!(
                status.slots_free(),
                ready().map(|shown| shown.slots_free()).sum::<u32>()
            );
            let serves = |url: &HttpUrl| {
                let of = |shown: &&ReplicaStatus| {
                    let name = (status.pool_id.to_string(), shown.replica_id.to_string());
                    self.handoffs[&name].url == *url
                };
                ready().any(|shown| of(&shown))
            };
            let finishing = (self.leases.iter())
                .filter(|lease| *lease.pool_id() == status.pool_id && !serves(lease.url()))
                .count();
            assert_eq!(
                status.slots_total(),
                ready().map(|shown| shown.slots_total()).sum::<u32>()
                    + u32::try_from(finishing).unwrap()
            );
            assert_eq!(status.ready, ready().count() > 0);
        }
    }

    fn finish(mut self) {
        self.leases.clear();
        self.check();
        let mut live = 0;
        for status in self.registry.statuses() {
            assert_eq!(
                status.slots_free(),
                status.slots_total(),
                "every slot was released"
            );
            live += status.replicas.map_or(0, |replicas| replicas.len());
        }
        assert_eq!(live, self.handoffs.len(), "no retired replica is left");
    }
}

proptest! {
    // spec: SLOT-1
    #[test]
    fn slots_are_conserved(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World {
            registry: PoolRegistry::new(vec![pool("p0")]),
            handoffs: BTreeMap::new(),
            engine_slots: BTreeMap::new(),
            leases: vec![],
        };
        for step in steps {
            world.take(step);
            world.check();
        }
        world.finish();
    }
}
