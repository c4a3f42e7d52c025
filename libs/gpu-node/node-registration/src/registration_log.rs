//! The log of a registration: one line when a problem begins and one when it ends.

use std::time::Duration;

use pool_registry_types::{HttpUrl, NodeId};
use tracing::{debug, error, info, warn};

use crate::{
    control_plane::RequestError,
    machine::{ControlPlaneRequest, RequestFailure},
    report_limit::{Omission, ShortenedReport},
};

/// Writes the log, and keeps which problems it has logged.
pub(crate) struct RegistrationLog {
    node_id: NodeId,
    heartbeats_announced: bool,
    problem: Option<OngoingProblem>,
    /// What was last omitted from heartbeats.
    shortened: Option<Omission>,
}

/// A problem that was logged and still lasts.
struct OngoingProblem {
    kind: ProblemKind,
    since: Duration,
    attempts: u32,
}

/// The kinds of problems, by what solves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProblemKind {
    Unreachable,
    OwnLimit,
    Forgotten,
    Token,
    Conflict,
    Refused,
    TooLarge,
    Superseded,
}

impl ProblemKind {
    fn of(error: &RequestError, failure: RequestFailure) -> Self {
        match failure {
            _ if matches!(error, RequestError::OwnLimit(_)) => Self::OwnLimit,
            RequestFailure::Unavailable { .. } => Self::Unreachable,
            RequestFailure::UnknownNode => Self::Forgotten,
            RequestFailure::Superseded => Self::Superseded,
            RequestFailure::Conflict => Self::Conflict,
            RequestFailure::TooLarge => Self::TooLarge,
            RequestFailure::Refused if error.is_about_the_token() => Self::Token,
            RequestFailure::Refused => Self::Refused,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "check that it runs and that its address is right; this node retries"
            }
            Self::OwnLimit => {
                "raise the limit of open files of this process (ulimit -n); it retries"
            }
            Self::Forgotten => {
                "it accepts registrations but does not keep them; check its state and replicas"
            }
            Self::Token => {
                "give this node the token orchestratord expects; this node retries slowly"
            }
            Self::Conflict => {
                "another machine uses this node id: give one of them another id, or stop the \
                 other; this node retries slowly"
            }
            Self::Refused => {
                "check the address of orchestratord, its profile and both versions; this node \
                 retries slowly"
            }
            Self::TooLarge => {
                "let the proxy before it, if there is one, accept bodies of 4 MiB; this node omits \
                 lists from its report, and tries a complete one every ten minutes"
            }
            Self::Superseded => {
                "a later start of this node has registered, so this one sends nothing more: stop \
                 one of the two. If there is only one, its clock was set back: restart it when the \
                 clock has caught up"
            }
        }
    }
}

impl RegistrationLog {
    pub(crate) fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            heartbeats_announced: false,
            problem: None,
            shortened: None,
        }
    }

    /// A registration was accepted. Only an accepted heartbeat ends a problem.
    pub(crate) fn registered(&self, url: &HttpUrl) {
        info!(node_id = %self.node_id, %url, "Successfully registered with orchestratord");
    }

    /// Heartbeats begin, one per `interval`.
    pub(crate) fn heartbeats_begin(&mut self, interval: Duration) {
        if !self.heartbeats_announced {
            self.heartbeats_announced = true;
            info!(node_id = %self.node_id, ?interval, "Heartbeat task started");
        }
    }

    /// A heartbeat was accepted.
    pub(crate) fn heartbeat_accepted(&mut self, url: &HttpUrl, seq: u64, now: Duration) {
        debug!(node_id = %self.node_id, %url, seq, "Heartbeat accepted");
        let Some(problem) = self.problem.take() else {
            return;
        };
        // A single forgotten registration was logged when the node registered again.
        if problem.kind != ProblemKind::Forgotten || problem.attempts > 1 {
            let after = Duration::from_secs(now.saturating_sub(problem.since).as_secs());
            let after = humantime::format_duration(after);
            info!(
                node_id = %self.node_id, %url, %after, failures = problem.attempts,
                "orchestratord accepts heartbeats again"
            );
        }
    }

    /// A heartbeat of more than `max_bytes` was shortened, or is complete again.
    pub(crate) fn report_size(&mut self, shortened: Option<ShortenedReport>, max_bytes: usize) {
        let omission = shortened.map(|shortened| shortened.omission);
        if std::mem::replace(&mut self.shortened, omission) == omission {
            return;
        }
        match shortened {
            Some(ShortenedReport {
                omission,
                models_left_out,
                bytes,
            }) => warn!(
                node_id = %self.node_id, bytes, max_bytes, missing = omission.missing(),
                models_left_out,
                "This node's report is too large, so a part of it is omitted; let its engines \
                 offer fewer models, or name those to offer in their handoffs"
            ),
            None => info!(node_id = %self.node_id, "This node's report is complete again"),
        }
    }

    /// A later incarnation has registered, so there was nothing to deregister.
    pub(crate) fn replaced(&self, url: &HttpUrl) {
        info!(
            node_id = %self.node_id, %url,
            "A later start of this node has registered at orchestratord, and stays"
        );
    }

    /// The node was deregistered.
    pub(crate) fn deregistered(&self, url: &HttpUrl) {
        info!(node_id = %self.node_id, %url, "Deregistered from orchestratord");
    }

    /// A request failed.
    pub(crate) fn failed(
        &mut self,
        request: ControlPlaneRequest,
        url: &HttpUrl,
        error: &RequestError,
        now: Duration,
    ) {
        let failure = error.failure(request);
        if request == ControlPlaneRequest::Deregister {
            // No action is needed.
            info!(
                node_id = %self.node_id, %url, %error,
                "Could not deregister from orchestratord; it notices by the missing heartbeats"
            );
            return;
        }
        let kind = ProblemKind::of(error, failure);
        let attempts = self.count(kind, now);
        if attempts > 1 && !(attempts == 2 && kind == ProblemKind::Forgotten) {
            debug!(
                node_id = %self.node_id, %url, %error, ?request, attempts,
                "orchestratord still does not accept this node"
            );
            return;
        }
        let (node_id, advice) = (&self.node_id, kind.advice());
        match kind {
            // This is normal after a restart of the control plane.
            ProblemKind::Forgotten if attempts == 1 => {
                info!(%node_id, %url, "orchestratord does not know this node; registering again");
            }
            ProblemKind::Superseded => {
                error!(%node_id, %url, %error, advice, "This node has been superseded");
            }
            ProblemKind::Unreachable => {
                warn!(%node_id, %url, %error, advice, "orchestratord cannot be reached");
            }
            ProblemKind::OwnLimit => {
                warn!(%node_id, %url, %error, advice, "orchestratord cannot be asked");
            }
            _ => warn!(%node_id, %url, %error, advice, "orchestratord refuses this node"),
        }
    }

    /// How often this kind of problem has happened in a row, including this time.
    fn count(&mut self, kind: ProblemKind, now: Duration) -> u32 {
        match &mut self.problem {
            Some(problem) if problem.kind == kind => {
                problem.attempts = problem.attempts.saturating_add(1);
                problem.attempts
            }
            problem => {
                let since = problem.as_ref().map_or(now, |earlier| earlier.since);
                *problem = Some(OngoingProblem {
                    kind,
                    since,
                    attempts: 1,
                });
                1
            }
        }
    }
}
