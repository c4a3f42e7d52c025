//! A slot on an endpoint, from the moment it is granted until it is given back.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use pool_registry_types::ReplicaId;
use routing_table::Endpoint;

use crate::{
    Admission, Failure, Ticket,
    core::{Ending, Grant},
};

/// How a request went, as far as the endpoint is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; a 4xx is an answer.
    Served,
    /// It failed.
    Failed(Failure),
    /// It had no slot after all, or takes no new work. Not a failure, but it is left alone for a
    /// moment.
    Refused {
        /// For how long, where it said so.
        pause: Option<std::time::Duration>,
    },
}

/// A slot on an endpoint. Dropping it gives the slot back; [`Lease::ended`] says before how it
/// went.
pub struct Lease {
    admission: Admission,
    grant: Grant,
    has_waited: bool,
    outcome: OnceLock<Outcome>,
}

impl Lease {
    pub(crate) fn new(admission: Admission, grant: Grant, has_waited: bool) -> Self {
        Self {
            admission,
            grant,
            has_waited,
            outcome: OnceLock::new(),
        }
    }

    /// Where the request goes: the replica that serves it, once [`answered`](Self::answered) has
    /// said which.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.grant.endpoint
    }

    /// The request's place in the order of arrival, to be kept when it is tried again.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.grant.ticket
    }

    /// Whether it stood in line for the slot. Most requests find one free, and need no clock to
    /// know how long they waited.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Says how the request went; the first word counts. Unsaid means that the client left before
    /// anything was learnt, or that the request was never sent.
    pub fn ended(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }

    /// The node has used this replica, and nothing is known yet of how it went. See
    /// [`answered`](Self::answered).
    pub fn used(&mut self, replica: Option<&ReplicaId>) {
        let grant = &mut self.grant;
        self.admission
            .decide(|core, now| core.moved(grant, replica, now));
    }

    /// The endpoint's answer has begun. `replica` is the one that the node used, and `slots` are
    /// its `(free, total)` slots, or the pool's where the node does not tell its replicas
    /// apart; each where the node says so.
    ///
    /// When that is another replica than the endpoint's, the lease, its conversation and all that
    /// the request shows from now on are that one's.
    pub fn answered(&mut self, replica: Option<&ReplicaId>, slots: Option<(u32, u32)>) {
        let grant = &mut self.grant;
        self.admission
            .decide(|core, now| core.answered(grant, replica, slots, now));
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", self.endpoint().key())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let ending = match self.outcome.get() {
            Some(Outcome::Served) => Ending::Served,
            Some(Outcome::Failed(failure)) => Ending::Failed(*failure),
            Some(Outcome::Refused { pause }) => Ending::Refused { pause: *pause },
            None => Ending::Untold,
        };
        let jitter = fastrand::f64() * 2.0 - 1.0;
        self.admission
            .decide(|core, now| core.release(&self.grant, ending, now, jitter));
    }
}
