//! This node for a gateway in the same process: what goes over HTTP as headers is handed over as it
//! is.

use futures_util::future::BoxFuture;
use node_transport::{NoAnswer, NodeAnswer, NodeRefusal, NodeReport, NodeRequest, NodeTransport};
use pool_registry_types::ErrorCode;
use stream_proxy::ForwardError;
use tracing::Span;

use crate::{
    Dispatcher,
    dispatch::{Shared, Wanted},
    not_served::NotServed,
};

impl NodeTransport for Dispatcher {
    fn send<'a>(&'a self, request: NodeRequest<'a>) -> BoxFuture<'a, Result<NodeAnswer, NoAnswer>> {
        Box::pin(self.0.send(request))
    }
}

impl Shared {
    async fn send(&self, request: NodeRequest<'_>) -> Result<NodeAnswer, NoAnswer> {
        let NodeRequest {
            endpoint,
            model,
            outbound,
            clocks,
        } = request;
        let key = endpoint.key();
        let wanted = Wanted {
            pool: &key.pool,
            model: Some(model),
            hint: key.replica.as_ref(),
            clocks,
        };
        // The gateway's spans are around it.
        let served = self.serve(wanted, outbound, &Span::none()).await;
        self.metrics
            .count(&key.pool, served.as_ref().err().map(NotServed::code));
        let served = served.map_err(|why| no_answer(why, endpoint.target()))?;
        let lease = served.lease();
        // In one process every request is counted by the gateway already, and what else takes slots
        // is reported at once. So the slots are told only of a replica that the gateway did
        // not choose.
        let is_as_chosen = key.replica.as_ref() == Some(lease.replica_id());
        let slots = || {
            lease.replica_slots().map(|slots| node_transport::Slots {
                free: slots.free,
                total: slots.total,
            })
        };
        let report = NodeReport {
            replica: (!is_as_chosen).then(|| lease.replica_id().clone()),
            slots: if is_as_chosen { None } else { slots() },
        };
        Ok(NodeAnswer {
            report,
            response: served.into_response(),
        })
    }
}

/// The same that a gateway reads from a node's answer over TCP, but for what only this process can
/// know of itself.
fn no_answer(why: NotServed, target: &pool_registry_types::HttpUrl) -> NoAnswer {
    let refused = |code, executed| {
        NoAnswer::Refused(NodeRefusal {
            code: Some(code),
            pause: None,
            executed,
            replica: None,
        })
    };
    match why {
        NotServed::NoSlot { error, executions } => refused(error.code(), executions > 0),
        NotServed::StillAsleep { is_callers: true } => NoAnswer::failed(ForwardError::Deadline {
            target: target.clone(),
        }),
        NotServed::StillAsleep { is_callers: false } => refused(ErrorCode::DeadlineExceeded, false),
        NotServed::Unanswered(unanswered) => NoAnswer::Failed {
            error: unanswered.error,
            replica: Some(unanswered.replica_id),
        },
    }
}
