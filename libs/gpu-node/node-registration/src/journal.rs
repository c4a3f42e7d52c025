//! What an operator reads: one line when something begins, one when it ends, nothing in between.

use std::time::Duration;

use pool_registry_types::{HttpUrl, NodeId};
use tracing::{debug, error, info, warn};

use crate::{
    control_plane::RequestError,
    fit::{Cut, Shortened},
    machine::{Failure, Request},
};

/// Writes the log and remembers what it has said.
pub(crate) struct Journal {
    node_id: NodeId,
    heartbeats_announced: bool,
    trouble: Option<Trouble>,
    /// What was last left out of heartbeats.
    shortened: Option<Cut>,
}

/// A trouble that was told and is not over.
struct Trouble {
    kind: Kind,
    since: Duration,
    attempts: u32,
}

/// Troubles are told apart by what helps against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unreachable,
    OwnLimit,
    Forgotten,
    Token,
    Conflict,
    Refused,
    TooLarge,
    Superseded,
}

impl Kind {
    fn of(error: &RequestError, failure: Failure) -> Self {
        match failure {
            _ if matches!(error, RequestError::OwnLimit(_)) => Self::OwnLimit,
            Failure::Unavailable { .. } => Self::Unreachable,
            Failure::UnknownNode => Self::Forgotten,
            Failure::Superseded => Self::Superseded,
            Failure::Conflict => Self::Conflict,
            Failure::TooLarge => Self::TooLarge,
            Failure::Refused if error.is_about_the_token() => Self::Token,
            Failure::Refused => Self::Refused,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "check that it runs and that its address is right; this node keeps trying"
            }
            Self::OwnLimit => {
                "raise the limit of open files of this process (ulimit -n); it keeps trying"
            }
            Self::Forgotten => {
                "it accepts registrations but does not keep them; check its state and replicas"
            }
            Self::Token => {
                "give this node the token orchestratord expects; this node keeps trying slowly"
            }
            Self::Conflict => {
                "another machine uses this node id: give one of them another, or stop the other; \
                 this node keeps trying slowly"
            }
            Self::Refused => {
                "check the address of orchestratord, its profile and both versions; this node \
                 keeps trying slowly"
            }
            Self::TooLarge => {
                "let the proxy before it, if there is one, take bodies of 4 MiB; this node leaves \
                 lists out of its report, and tries a whole one every ten minutes"
            }
            Self::Superseded => {
                "a later start of this node has registered, so this one stays silent: stop one of \
                 the two. When there is only one, its clock was set back: restart it once the \
                 clock has caught up"
            }
        }
    }
}

impl Journal {
    pub(crate) fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            heartbeats_announced: false,
            trouble: None,
            shortened: None,
        }
    }

    /// A registration was accepted. That alone ends no trouble: only an accepted heartbeat does.
    pub(crate) fn registered(&self, url: &HttpUrl) {
        info!(node_id = %self.node_id, %url, "Successfully registered with orchestratord");
    }

    /// From now on there are heartbeats, one each `interval`.
    pub(crate) fn heartbeats_begin(&mut self, interval: Duration) {
        if !self.heartbeats_announced {
            self.heartbeats_announced = true;
            info!(node_id = %self.node_id, ?interval, "Heartbeat task started");
        }
    }

    /// A heartbeat was accepted.
    pub(crate) fn heartbeat_accepted(&mut self, url: &HttpUrl, seq: u64, now: Duration) {
        debug!(node_id = %self.node_id, %url, seq, "Heartbeat accepted");
        let Some(trouble) = self.trouble.take() else {
            return;
        };
        // A forgotten node that is known again has said so by registering.
        if trouble.kind != Kind::Forgotten || trouble.attempts > 1 {
            let after = Duration::from_secs(now.saturating_sub(trouble.since).as_secs());
            let after = humantime::format_duration(after);
            info!(node_id = %self.node_id, %url, %after, failures = trouble.attempts, "orchestratord accepts heartbeats again");
        }
    }

    /// A heartbeat of more than `max_bytes` was cut, or is whole again.
    pub(crate) fn report_size(&mut self, shortened: Option<Shortened>, max_bytes: usize) {
        let cut = shortened.map(|shortened| shortened.cut);
        if std::mem::replace(&mut self.shortened, cut) == cut {
            return;
        }
        match shortened {
            Some(Shortened {
                cut,
                models_left_out,
                bytes,
            }) => warn!(
                node_id = %self.node_id, bytes, max_bytes, missing = cut.missing(), models_left_out,
                "This node's report is too large, so a part of it is left out; let its engines offer fewer models, or name \
                 those to offer in their handoffs"
            ),
            None => info!(node_id = %self.node_id, "This node's report is whole again"),
        }
    }

    /// A later start of this node has taken over, so there was nothing to take back.
    pub(crate) fn replaced(&self, url: &HttpUrl) {
        info!(node_id = %self.node_id, %url, "A later start of this node has registered at orchestratord, and stays");
    }

    /// The registration was taken back.
    pub(crate) fn deregistered(&self, url: &HttpUrl) {
        info!(node_id = %self.node_id, %url, "Deregistered from orchestratord");
    }

    /// A request failed.
    pub(crate) fn failed(
        &mut self,
        request: Request,
        url: &HttpUrl,
        error: &RequestError,
        now: Duration,
    ) {
        let failure = error.failure(request);
        if request == Request::Deregister {
            // Nothing for a person to do.
            info!(node_id = %self.node_id, %url, %error, "Could not deregister from orchestratord; it notices by the missing heartbeats");
            return;
        }
        let kind = Kind::of(error, failure);
        let attempts = self.count(kind, now);
        if attempts > 1 && !(attempts == 2 && kind == Kind::Forgotten) {
            debug!(node_id = %self.node_id, %url, %error, ?request, attempts, "orchestratord still does not accept this node");
            return;
        }
        let (node_id, advice) = (&self.node_id, kind.advice());
        match kind {
            // After a restart of the control plane this is how things get going again.
            Kind::Forgotten if attempts == 1 => {
                info!(%node_id, %url, "orchestratord does not know this node; registering again");
            }
            Kind::Superseded => {
                error!(%node_id, %url, %error, advice, "This node has been superseded")
            }
            Kind::Unreachable => {
                warn!(%node_id, %url, %error, advice, "orchestratord cannot be reached")
            }
            Kind::OwnLimit => {
                warn!(%node_id, %url, %error, advice, "orchestratord cannot be asked")
            }
            _ => warn!(%node_id, %url, %error, advice, "orchestratord refuses this node"),
        }
    }

    /// How many times in a row this kind of trouble has happened, with this one.
    fn count(&mut self, kind: Kind, now: Duration) -> u32 {
        match &mut self.trouble {
            Some(trouble) if trouble.kind == kind => {
                trouble.attempts = trouble.attempts.saturating_add(1);
                trouble.attempts
            }
            trouble => {
                let since = trouble.as_ref().map_or(now, |earlier| earlier.since);
                *trouble = Some(Trouble {
                    kind,
                    since,
                    attempts: 1,
                });
                1
            }
        }
    }
}
