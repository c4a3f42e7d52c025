//! What happens to a granted request: its response begins, maybe on another replica, and it ends.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{ModelName, ReplicaId};
use routing_table::{Endpoint, EndpointKey};

use super::{
    AdmissionCore,
    grant::{Grant, RequestEnd},
    serve::FreedModels,
};
use crate::{
    circuit_breaker::EndpointFailure,
    slots::{BusyPeriod, Slots},
};

/// Whether the result of a request counts for the present engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Current,
    /// The request was sent to an earlier generation of the engine.
    Outdated,
}

impl<W> AdmissionCore<W> {
    /// A request is over and gives its slot back. `jitter` is a random number from -1 to 1.
    pub(crate) fn release(&mut self, grant: &Grant, end: RequestEnd, now: Duration, jitter: f64) {
        if grant.is_released {
            return;
        }
        let end = match end {
            RequestEnd::Failed(EndpointFailure::BadResponse)
                if self.is_last_routable(&grant.endpoint) =>
            {
                RequestEnd::Answered
            }
            end => end,
        };
        let held = (end == RequestEnd::Served).then(|| now.saturating_sub(grant.since));
        let mut pool_is_busy = None;
        self.update_slots(grant, now, |slots, evidence| {
            slots.release(held, now);
            if evidence == Evidence::Current {
                pool_is_busy = apply_end(slots, grant, end, now, jitter);
            }
        });
        if let Some(period) = pool_is_busy {
            self.set_pool_busy(&grant.endpoint, period, now);
        }
        if end == RequestEnd::Failed(EndpointFailure::NodeUnreachable) {
            self.open_other_breakers(&grant.endpoint, now, jitter);
        }
    }

    /// Whether no other endpoint can serve one of this endpoint's models. An endpoint that lists no
    /// models may be the last one for any.
    fn is_last_routable(&self, endpoint: &Endpoint) -> bool {
        let is_other = |index: u32| {
            let is_routable = self
                .table
                .report(index)
                .is_some_and(|report| report.state.is_routable());
            is_routable
                && self
                    .table
                    .endpoint(index)
                    .is_some_and(|other| other.key() != endpoint.key())
                && self
                    .slots_at(index)
                    .is_some_and(|slots| slots.breaker.opened_by().is_none())
        };
        let has_other =
            |model: &ModelName| self.table.candidates(model).iter().any(|i| is_other(*i));
        !endpoint
            .models()
            .is_some_and(|models| models.iter().all(has_other))
    }

    /// Marks the endpoints of the pool as busy that serve one of the refused endpoint's models: the
    /// node has searched all of them for a free slot.
    fn set_pool_busy(&mut self, refused: &Endpoint, period: BusyPeriod, now: Duration) {
        let peers: Vec<_> = self.table.pool_peers(refused).collect();
        for index in peers {
            if let Some(slots) = self.slots_mut(index)
                && slots.is_incarnation_of(refused)
            {
                slots.set_busy(period, now);
                // The endpoint has less room than before, so no waiting request is helped.
                self.update_load(index, now);
            }
        }
    }

    /// Opens the breakers of the node's other endpoints: the node is unreachable for all of them.
    ///
    /// This happens once for each incarnation of a node that is lost, so it may visit all endpoints
    /// of the table.
    fn open_other_breakers(&mut self, endpoint: &Endpoint, now: Duration, jitter: f64) {
        let is_other = |other: &Endpoint| {
            other.key().node == endpoint.key().node
                && other.incarnation() == endpoint.incarnation()
                && other.key() != endpoint.key()
        };
        let others = self.table.iter().filter(|(_, other, _)| is_other(other));
        let others: Vec<_> = others
            .map(|(index, other, _)| (index, Arc::clone(other)))
            .collect();
        for (index, other) in others {
            let Some(slots) = self.slots_mut(index) else {
                continue;
            };
            let before = slots.breaker.opened_by();
            slots
                .breaker
                .failed(EndpointFailure::NodeUnreachable, None, now, jitter);
            let after = slots.breaker.opened_by();
            self.note_breaker_change(other.key(), before, after);
            // The endpoint has less room than before, so no waiting request is helped.
            self.update_load(index, now);
        }
    }

    /// A response has begun, maybe with the replica that the node used and its `(free, total)`
    /// slots.
    ///
    /// When the node used another replica of the pool than the granted one, the slot, the
    /// conversation, the prompt prefix and all further evidence move to that replica. The granted
    /// one counts as full for a moment.
    pub(crate) fn response_started(
        &mut self,
        grant: &mut Grant,
        replica: Option<&ReplicaId>,
        slots: Option<(u32, u32)>,
        now: Duration,
    ) {
        self.reassign(grant, replica, now);
        if grant.is_released {
            return;
        }
        let reported = slots;
        self.update_slots(grant, now, |slots, evidence| {
            if let Some((free, total)) = reported {
                slots.apply_response(free, total, now);
            }
            slots.accepted();
            if evidence == Evidence::Current {
                slots.breaker.response_started(grant.probe);
            }
        });
    }

    /// Moves a request to the replica that the node used, if it is another one than the granted.
    pub(crate) fn reassign(
        &mut self,
        grant: &mut Grant,
        replica: Option<&ReplicaId>,
        now: Duration,
    ) {
        if let (Some(granted), Some(used)) = (&grant.endpoint.key().replica, replica)
            && granted != used
            && !grant.is_released
        {
            // Slots that time alone has freed go to waiting requests first: the claim below would
            // hide them.
            self.apply_deadlines(now);
            self.move_to(grant, used, now);
        }
    }

    /// Moves a request to another replica of its pool.
    fn move_to(&mut self, grant: &mut Grant, replica: &ReplicaId, now: Duration) {
        self.update_slots(grant, now, |slots, evidence| {
            slots.release(None, now);
            let period = slots.refused(None);
            slots.set_busy(period, now);
            // The node may have found the granted replica broken, or not have tried it.
            if evidence == Evidence::Current {
                slots.breaker.abandoned(grant.probe, now);
            }
        });
        grant.is_released = true;
        self.forget_prompt(grant);
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
        // A later incarnation of the node does not have this request.
        if used.incarnation() != grant.endpoint.incarnation() {
            return;
        }
        let Some(slots) = self.slots_mut(index) else {
            return;
        };
        grant.probe = slots.claim(now);
        grant.endpoint = used;
        grant.index = index;
        grant.is_released = false;
        self.record_affinity(grant, now);
        self.update_load(index, now);
    }

    /// Changes the slots of the granted endpoint, and serves waiting requests if it has room then.
    fn update_slots(
        &mut self,
        grant: &Grant,
        now: Duration,
        change: impl FnOnce(&mut Slots, Evidence),
    ) {
        let evidence_for = |slots: &Slots| {
            if slots.is_generation_of(&grant.endpoint) {
                Evidence::Current
            } else {
                Evidence::Outdated
            }
        };
        let key = grant.endpoint.key();
        let Some(index) = self.current_index(grant) else {
            if let Some(slots) = self.departed.get_mut(key) {
                if slots.is_incarnation_of(&grant.endpoint) {
                    let evidence = evidence_for(slots);
                    change(slots, evidence);
                }
                if slots.in_flight == 0 {
                    self.departed.remove(key);
                }
            }
            return;
        };
        if let Some(slots) = self.slots_mut(index) {
            let before = slots.breaker.opened_by();
            let evidence = evidence_for(slots);
            change(slots, evidence);
            let after = slots.breaker.opened_by();
            self.note_breaker_change(key, before, after);
        }
        if self.update_load(index, now)
            && let Some(endpoint) = self.table.endpoint(index)
        {
            // Its models may have changed since the request was sent.
            let mut freed = FreedModels::default();
            freed.add(endpoint);
            self.serve_queues(&freed, now);
        }
    }

    /// The present index of the granted endpoint; `None` if it is gone, or another incarnation.
    fn current_index(&self, grant: &Grant) -> Option<u32> {
        let has_kept_index = (self.table.endpoint(grant.index)).is_some_and(|known| {
            Arc::ptr_eq(known, &grant.endpoint) || known.key() == grant.endpoint.key()
        });
        let index = if has_kept_index {
            grant.index
        } else {
            self.table.index_of(&grant.endpoint)?
        };
        self.slots_at(index)?
            .is_incarnation_of(&grant.endpoint)
            .then_some(index)
    }
}

/// Applies the end of a request as evidence about its endpoint. Returns the busy period of the
/// whole pool, if the node refused the request for it.
fn apply_end(
    slots: &mut Slots,
    grant: &Grant,
    end: RequestEnd,
    now: Duration,
    jitter: f64,
) -> Option<BusyPeriod> {
    match end {
        RequestEnd::Served => {
            slots.accepted();
            slots.breaker.succeeded(grant.probe);
        }
        RequestEnd::Failed(failure) => {
            slots.breaker.failed(failure, grant.probe, now, jitter);
        }
        RequestEnd::Answered => slots.breaker.response_started(grant.probe),
        RequestEnd::Refused { pause } => {
            let period = slots.refused(pause);
            slots.set_busy(period, now);
            // A refusal is a response: the endpoint is alive.
            slots.breaker.response_started(grant.probe);
        }
        RequestEnd::PoolRefused { pause } => {
            let period = slots.refused(pause).of_pool();
            slots.set_busy(period, now);
            slots.breaker.response_started(grant.probe);
            return Some(period);
        }
        RequestEnd::Abandoned => slots.breaker.abandoned(grant.probe, now),
    }
    None
}
