//! What becomes of a request at its endpoint: an answer, which may come from another replica, and
//! its end.

use std::{sync::Arc, time::Duration};

use pool_registry_types::ReplicaId;
use routing_table::{Endpoint, EndpointKey};

use super::{Core, Grant, serving::Helped};
use crate::{Failure, slot::Slot};

/// How a request at an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The endpoint answered.
    Served,
    /// It failed.
    Failed(Failure),
    /// It had no slot after all, or takes no new work; maybe it said for how long.
    Refused { pause: Option<Duration> },
    /// Nothing was learnt: the client left.
    Untold,
}

/// Whether what a request shows counts for the engine that is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Counts,
    /// It is about an engine that was there before.
    IsOld,
}

impl<W> Core<W> {
    /// A request is over, and its slot is free. `jitter` is a random number from -1 to 1.
    pub(crate) fn release(&mut self, grant: &Grant, ending: Ending, now: Duration, jitter: f64) {
        if grant.is_released {
            return;
        }
        let held = (ending == Ending::Served).then(|| now.saturating_sub(grant.since));
        self.update(grant, now, |slot, evidence| {
            slot.release(held, now);
            if evidence == Evidence::Counts {
                judge(slot, grant, ending, now, jitter);
            }
        });
        if ending == Ending::Failed(Failure::NodeUnreachable) {
            self.eject_others(&grant.endpoint, now, jitter);
        }
    }

    /// A node cannot be reached for one of its endpoints, and so for none of the others. It happens
    /// once for each start of a node that is lost, so it may look at all endpoints.
    fn eject_others(&mut self, of: &Endpoint, now: Duration, jitter: f64) {
        let is_other = |endpoint: &Endpoint| {
            endpoint.key().node == of.key().node
                && endpoint.incarnation() == of.incarnation()
                && endpoint.key() != of.key()
        };
        let others = self
            .table
            .iter()
            .filter(|(_, endpoint, _)| is_other(endpoint));
        let others: Vec<_> = others
            .map(|(index, endpoint, _)| (index, Arc::clone(endpoint)))
            .collect();
        for (index, endpoint) in others {
            let Some(slot) = self.slot_mut(index) else {
                continue;
            };
            let before = slot.health.lost_by();
            slot.health
                .failed(Failure::NodeUnreachable, None, now, jitter);
            let after = slot.health.lost_by();
            self.note_trust(endpoint.key(), before, after);
            // It has less room than before, so that nobody is helped by it.
            self.reload(index, now);
        }
    }

    /// An answer has begun, maybe with the replica that the node used, and with its `(free, total)`
    /// slots.
    ///
    /// Where the node used another replica of the pool than the one it was given, the slot, the
    /// conversation and all that the request shows from now on are that one's. The other one
    /// counts as full for a moment.
    pub(crate) fn answered(
        &mut self,
        grant: &mut Grant,
        replica: Option<&ReplicaId>,
        load: Option<(u32, u32)>,
        now: Duration,
    ) {
        self.moved(grant, replica, now);
        if grant.is_released {
            return;
        }
        self.update(grant, now, |slot, evidence| {
            if let Some((free, total)) = load {
                slot.observed(free, total, now);
            }
            slot.accepted();
            if evidence == Evidence::Counts {
                slot.health.answered(grant.probe);
            }
        });
    }

    /// A request is with this replica, maybe another one of the pool than the one it was given.
    pub(crate) fn moved(&mut self, grant: &mut Grant, replica: Option<&ReplicaId>, now: Duration) {
        if let (Some(hinted), Some(used)) = (&grant.endpoint.key().replica, replica)
            && hinted != used
            && !grant.is_released
        {
            // What has become free by time alone is given to those who wait for it: a claim would
            // hide it.
            self.refresh(now);
            self.move_to(grant, used, now);
        }
    }

    /// Moves a request to the replica of the same pool that serves it.
    fn move_to(&mut self, grant: &mut Grant, replica: &ReplicaId, now: Duration) {
        self.update(grant, now, |slot, evidence| {
            slot.release(None, now);
            slot.refused(None, now);
            // The node may have found it broken, or not have tried it.
            if evidence == Evidence::Counts {
                slot.health.told_nothing(grant.probe, now);
            }
        });
        grant.is_released = true;
        let key = EndpointKey {
            replica: Some(replica.clone()),
            ..grant.endpoint.key().clone()
        };
        let Some(index) = self.table.find(&key) else {
            return;
        };
        let Some(used) = self.table.endpoint(index).map(Arc::clone) else {
            return;
        };
        // A node that has started again since knows nothing of this request.
        if used.incarnation() != grant.endpoint.incarnation() {
            return;
        }
        let Some(slot) = self.slot_mut(index) else {
            return;
        };
        grant.probe = slot.claim(now);
        grant.endpoint = used;
        grant.index = index;
        grant.is_released = false;
        self.remember(grant, now);
        self.reload(index, now);
    }

    /// Changes what is known of the endpoint that `grant` is for, and serves waiting requests if it
    /// has room now.
    fn update(&mut self, grant: &Grant, now: Duration, change: impl FnOnce(&mut Slot, Evidence)) {
        let evidence_for = |slot: &Slot| {
            if slot.is_judged_by(&grant.endpoint) {
                Evidence::Counts
            } else {
                Evidence::IsOld
            }
        };
        let key = grant.endpoint.key();
        let Some(index) = self.locate(grant) else {
            if let Some(slot) = self.departed.get_mut(key) {
                if slot.counts(&grant.endpoint) {
                    let evidence = evidence_for(slot);
                    change(slot, evidence);
                }
                if slot.own == 0 {
                    self.departed.remove(key);
                }
            }
            return;
        };
        if let Some(slot) = self.slot_mut(index) {
            let before = slot.health.lost_by();
            let evidence = evidence_for(slot);
            change(slot, evidence);
            let after = slot.health.lost_by();
            self.note_trust(key, before, after);
        }
        if self.reload(index, now)
            && let Some(endpoint) = self.table.endpoint(index)
        {
            // Its models may be others than when the request was sent.
            let mut helped = Helped::default();
            helped.by(endpoint);
            self.serve(&helped, now);
        }
    }

    /// The index of the endpoint that `grant` holds a slot of; `None` where it is gone, or another
    /// incarnation.
    fn locate(&self, grant: &Grant) -> Option<u32> {
        let is_there = (self.table.endpoint(grant.index)).is_some_and(|known| {
            Arc::ptr_eq(known, &grant.endpoint) || known.key() == grant.endpoint.key()
        });
        let index = if is_there {
            grant.index
        } else {
            self.table.index_of(&grant.endpoint)?
        };
        self.slot(index)?.counts(&grant.endpoint).then_some(index)
    }
}

/// What the end of a request shows of its endpoint.
fn judge(slot: &mut Slot, grant: &Grant, ending: Ending, now: Duration, jitter: f64) {
    match ending {
        Ending::Served => {
            slot.accepted();
            slot.health.succeeded(grant.probe);
        }
        Ending::Failed(failure) => {
            slot.health.failed(failure, grant.probe, now, jitter);
        }
        Ending::Refused { pause } => {
            slot.refused(pause, now);
            // It answered, if only to refuse: it is not dead.
            slot.health.answered(grant.probe);
        }
        Ending::Untold => slot.health.told_nothing(grant.probe, now),
    }
}
