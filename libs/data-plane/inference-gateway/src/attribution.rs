//! What a failure means: a pure function from what was observed to what follows from it.
//!
//! `.docs/FAILURES.md` has the same table for people, and a test compares the two.

use std::time::Duration;

use admission::{EndpointFailure, LeaseOutcome};

/// What was observed of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The engine refused the connection, or its machine did not answer.
    EngineUnreachable,
    /// The node refused the connection, or its machine did not answer.
    NodeUnreachable,
    /// What answered is not the node's data path.
    NotANode,
    /// No room for a new connection, at an upstream that works.
    AcceptQueueFull,
    /// A reused connection ended without a byte. `stream_proxy` has dealt with it before anybody
    /// else learns of it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the table is complete with it"))]
    ReusedConnectionClosed,
    /// The connection ended before the first byte of the answer.
    ConnectionClosed,
    /// The answer is not HTTP.
    MalformedAnswer,
    /// No first byte of a stream within its time limit.
    SilentStream,
    /// No unstreamed answer within its time limit.
    UnstreamedTooLong,
    /// The client's deadline.
    Deadline,
    /// This process lacks descriptors, ports or memory.
    LocalLimit,
    /// This process noticed a time limit late.
    OwnDelay,
    /// The node does not accept this request, and no other one would.
    RequestRejected,
    /// 429, or 503 with a JSON body.
    Busy { pause: Option<Duration> },
    /// The node has no free slot, or takes no new requests.
    PoolBusy { pause: Option<Duration> },
    /// The node cannot serve with this engine now.
    EngineUnavailable,
    /// An engine that was asleep did not wake in time.
    StillAsleep,
    /// 502 or 503 without a JSON body: a proxy in front of the engine answered.
    ProxyError,
    /// 504 without a JSON body: the engine may still be at work behind the proxy.
    ProxyTimeout,
    /// The engine redirects the request to another address.
    Redirect,
    /// Any other answer with an error status, or an error event in a stream.
    EngineError,
    /// An unstreamed answer that broke off before the client got any of it.
    AnswerCut,
    /// A stream whose connection ended in its middle.
    StreamCut,
    /// A stream that stopped in its middle.
    StreamStalled,
    /// A stream that ended properly as HTTP, without the end that its API has.
    StreamUnfinished,
}

/// Where a request goes after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nowhere: the client gets the answer or an error.
    Never,
    /// To the same endpoint, once.
    Same,
    /// Back to its place in the queue, and to any endpoint.
    Any,
    /// To an endpoint that has not failed it.
    Other,
}

/// What an attempt says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Nothing.
    None,
    /// It works.
    Works,
    /// It works and is busy.
    Busy,
    /// One of three failures in a row that open the breaker.
    Counts,
    /// The same, unless it is the last endpoint of a model.
    CountsUnlessLast,
    /// Opens the breaker.
    Opens,
    /// Opens the breakers of all endpoints of the node.
    OpensNode,
}

/// How a request is labelled in metrics and log when nothing better follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    /// The client got an error of the gateway.
    Refused,
    /// The engine answered with an error.
    Failed,
    /// The answer broke off.
    Broken,
}

/// What follows from a [`Signal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribution {
    pub(crate) retry: Retry,
    /// An engine may have begun with the request, so a retry costs a part of the budget.
    pub(crate) executed: bool,
    /// The connection carries no further request.
    pub(crate) new_connection: bool,
    pub(crate) evidence: Evidence,
    pub(crate) label: Label,
}

/// What follows from `signal`.
pub(crate) fn attribute(signal: Signal) -> Attribution {
    use Evidence::{Busy, Counts, CountsUnlessLast, None, Opens, OpensNode, Works};
    use Label::{Broken, Failed, Refused};
    use Retry::{Any, Never, Other, Same};

    let (retry, executed, new_connection, evidence, label) = match signal {
        Signal::EngineUnreachable => (Any, false, true, Opens, Refused),
        Signal::NodeUnreachable => (Any, false, true, OpensNode, Refused),
        Signal::NotANode => (Other, false, false, OpensNode, Refused),
        Signal::AcceptQueueFull => (Any, false, true, Busy, Refused),
        Signal::ReusedConnectionClosed => (Same, true, true, None, Refused),
        Signal::ConnectionClosed | Signal::MalformedAnswer | Signal::AnswerCut => {
            (Other, true, true, Counts, Refused)
        }
        Signal::SilentStream => (Never, true, true, Counts, Refused),
        Signal::UnstreamedTooLong | Signal::Deadline | Signal::OwnDelay => {
            (Never, true, true, None, Refused)
        }
        Signal::RequestRejected => (Never, false, false, None, Refused),
        Signal::LocalLimit => (Never, false, true, None, Refused),
        Signal::Busy { .. } | Signal::PoolBusy { .. } => (Any, false, false, Busy, Refused),
        Signal::EngineUnavailable => (Other, true, false, Counts, Refused),
        Signal::StillAsleep => (Other, true, false, None, Refused),
        Signal::ProxyError => (Other, true, false, CountsUnlessLast, Refused),
        Signal::ProxyTimeout => (Never, true, false, CountsUnlessLast, Refused),
        Signal::Redirect => (Other, false, false, Works, Refused),
        Signal::EngineError => (Never, true, false, Works, Failed),
        Signal::StreamCut | Signal::StreamStalled => (Never, true, true, Counts, Broken),
        Signal::StreamUnfinished => (Never, true, false, CountsUnlessLast, Broken),
    };
    Attribution {
        retry,
        executed,
        new_connection,
        evidence,
        label,
    }
}

impl Signal {
    /// What `admission` is told; `None` when there is nothing to tell.
    pub(crate) fn lease_outcome(self) -> Option<LeaseOutcome> {
        let failed = |failure| Some(LeaseOutcome::Failed(failure));
        match (attribute(self).evidence, self) {
            (Evidence::None, _) => None,
            (Evidence::Works, _) => Some(LeaseOutcome::Served),
            (Evidence::Busy, Self::PoolBusy { pause }) => Some(LeaseOutcome::PoolRefused { pause }),
            (Evidence::Busy, Self::Busy { pause }) => Some(LeaseOutcome::Refused { pause }),
            (Evidence::Busy, _) => Some(LeaseOutcome::Refused { pause: None }),
            (Evidence::Counts, _) => failed(EndpointFailure::Broken),
            (Evidence::CountsUnlessLast, _) => failed(EndpointFailure::BadResponse),
            (Evidence::Opens, _) => failed(EndpointFailure::Unreachable),
            (Evidence::OpensNode, _) => failed(EndpointFailure::NodeUnreachable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every signal, as the document names it.
    const SIGNALS: [(&str, Signal); 25] = [
        ("engine unreachable", Signal::EngineUnreachable),
        ("node unreachable", Signal::NodeUnreachable),
        ("not a node", Signal::NotANode),
        ("accept queue full", Signal::AcceptQueueFull),
        ("reused connection closed", Signal::ReusedConnectionClosed),
        ("connection closed", Signal::ConnectionClosed),
        ("malformed answer", Signal::MalformedAnswer),
        ("silent stream", Signal::SilentStream),
        ("unstreamed too long", Signal::UnstreamedTooLong),
        ("deadline", Signal::Deadline),
        ("local limit", Signal::LocalLimit),
        ("own delay", Signal::OwnDelay),
        ("request rejected", Signal::RequestRejected),
        ("busy", Signal::Busy { pause: None }),
        ("pool busy", Signal::PoolBusy { pause: None }),
        ("engine unavailable", Signal::EngineUnavailable),
        ("still asleep", Signal::StillAsleep),
        ("proxy error", Signal::ProxyError),
        ("proxy timeout", Signal::ProxyTimeout),
        ("redirect", Signal::Redirect),
        ("engine error", Signal::EngineError),
        ("answer cut", Signal::AnswerCut),
        ("stream cut", Signal::StreamCut),
        ("stream stalled", Signal::StreamStalled),
        ("stream unfinished", Signal::StreamUnfinished),
    ];

    /// The cells of the row of `signal`, without what is observed.
    fn row(attribution: Attribution) -> [&'static str; 4] {
        [
            match attribution.retry {
                Retry::Never => "no",
                Retry::Same => "same, once",
                Retry::Any => "any",
                Retry::Other => "other",
            },
            if attribution.new_connection {
                "new"
            } else {
                "kept"
            },
            match attribution.evidence {
                Evidence::None => "—",
                Evidence::Works => "works",
                Evidence::Busy => "busy",
                Evidence::Counts => "counts",
                Evidence::CountsUnlessLast => "counts, unless last",
                Evidence::Opens => "opens",
                Evidence::OpensNode => "opens, whole node",
            },
            match attribution.label {
                Label::Refused => "`refused`",
                Label::Failed => "`failed`",
                Label::Broken => "`broken`",
            },
        ]
    }

    // spec: PATH-82
    #[test]
    fn the_document_has_the_same_table() {
        let document = include_str!("../../../../.docs/FAILURES.md");
        let rows: Vec<Vec<&str>> = document
            .lines()
            .filter(|line| line.starts_with("| **"))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows.len(), SIGNALS.len());
        for (name, signal) in SIGNALS {
            let expected = row(attribute(signal));
            let found = rows
                .iter()
                .find(|row| row[0].starts_with(&format!("**{name}**")))
                .unwrap_or_else(|| panic!("no row {name:?}"));
            assert_eq!(found[1..], expected, "{name}");
        }
    }

    // spec: PATH-83
    #[test]
    fn what_is_not_the_engines_fault_is_not_attributed_to_it() {
        for signal in [
            Signal::Deadline,
            Signal::LocalLimit,
            Signal::OwnDelay,
            Signal::UnstreamedTooLong,
            Signal::ReusedConnectionClosed,
        ] {
            assert_eq!(signal.lease_outcome(), None, "{signal:?}");
        }
        for (_, signal) in SIGNALS {
            let attribution = attribute(signal);
            let opens = matches!(
                attribution.evidence,
                Evidence::Counts | Evidence::Opens | Evidence::OpensNode
            );
            let is_answer = !attribution.new_connection;
            assert!(
                !(opens && is_answer)
                    || matches!(signal, Signal::NotANode | Signal::EngineUnavailable),
                "an answer of an engine opens a breaker: {signal:?}"
            );
        }
    }
}
