//! This node as a transport for a gateway in the same process. Values replace the headers of HTTP.

use futures_util::future::BoxFuture;
use node_transport::{
    NodeRefusal, NodeReport, NodeRequest, NodeResponse, NodeTransport, TransportError,
};
use pool_registry_types::{ErrorCode, HttpUrl};
use stream_proxy::ForwardError;
use tracing::Span;

use crate::{
    dispatch::{Dispatcher, EngineRequest, Shared},
    dispatch_error::DispatchError,
};

impl NodeTransport for Dispatcher {
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>> {
        Box::pin(self.0.send(request))
    }
}

impl Shared {
    async fn send(&self, request: NodeRequest<'_>) -> Result<NodeResponse, TransportError> {
        let NodeRequest {
            endpoint,
            is_bound,
            model,
            outbound,
            timeouts,
        } = request;
        let key = endpoint.key();
        let request = EngineRequest {
            pool: &key.pool,
            model: Some(model),
            hint: key.replica.as_ref(),
            is_bound,
            timeouts,
        };
        // The gateway's spans cover the request.
        let result = self.dispatch(request, outbound, &Span::none()).await;
        self.metrics
            .count(&key.pool, result.as_ref().err().map(DispatchError::code));
        let served = result.map_err(|error| transport_error(error, endpoint.target()))?;
        let lease = served.lease();
        // In one process the gateway counts every request itself, and other changes of the slots
        // are reported at once. So report slots only of a replica that the gateway did not choose.
        let is_chosen = key.replica.as_ref() == Some(lease.replica_id());
        let report = if is_chosen {
            NodeReport::default()
        } else {
            NodeReport {
                replica: Some(lease.replica_id().clone()),
                slots: lease.replica_slots().map(|slots| node_transport::Slots {
                    free: slots.free,
                    total: slots.total,
                }),
            }
        };
        Ok(NodeResponse {
            report,
            response: served.into_response(),
        })
    }
}

/// The error that a gateway would read from this node's response over TCP. Only the node's own
/// limits and deadlines are reported more precisely.
fn transport_error(error: DispatchError, target: &HttpUrl) -> TransportError {
    let refused = |code, executed| {
        TransportError::Refused(NodeRefusal {
            code: Some(code),
            pause: None,
            executed,
            replica: None,
        })
    };
    match error {
        DispatchError::NoSlot { error, executions } => refused(error.code(), executions > 0),
        DispatchError::StillAsleep { is_deadline: true } => {
            TransportError::failed(ForwardError::Deadline {
                target: target.clone(),
            })
        }
        DispatchError::StillAsleep { is_deadline: false } => {
            refused(ErrorCode::DeadlineExceeded, false)
        }
        DispatchError::Engine(failure) => TransportError::Failed {
            error: failure.error,
            replica: Some(failure.replica_id),
        },
    }
}
