//! Redirects of engines. They name an address of the engine, so no client gets one.

use http::StatusCode;
use node_transport::NodeResponse;
use pool_registry_types::ErrorCode;

use crate::{
    attempt::FailedAttempt,
    attribution::Signal,
    log_context::{LogContext, log_request},
};

/// Refuses a redirect. Another endpoint may serve the request then.
#[expect(
    clippy::result_large_err,
    reason = "a failed attempt is returned once a try, and a box would be an allocation"
)]
pub(crate) fn refuse_redirect(
    response: &NodeResponse,
    context: LogContext<'_>,
) -> Result<(), FailedAttempt> {
    let status = response.response.status();
    // 304 answers a conditional request and names no address.
    if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    log_request!(
        warn,
        context,
        status = status.as_u16(),
        "an engine redirects requests, which is not followed: check the URL in its handoff"
    );
    let mut failed = FailedAttempt::with(
        Signal::Redirect,
        ErrorCode::WorkerReset,
        "the engine redirects this request to another address, which is not followed: it may not \
         have this path",
    );
    failed.replica = response.report.replica.clone();
    Err(failed)
}
