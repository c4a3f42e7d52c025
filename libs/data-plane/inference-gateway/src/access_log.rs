//! The access log: one line per request.

use std::time::Duration;

use telemetry::TraceContext;

use crate::log_context::LogContext;

/// The target of the access log: `RUST_LOG=info,access=off` leaves it out.
const ACCESS: &str = "access";

/// One request, when it is over. Neither prompt nor completion is part of it.
pub(crate) struct AccessLogEntry<'a> {
    pub(crate) context: LogContext<'a>,
    pub(crate) trace: Option<TraceContext>,
    /// The route.
    pub(crate) endpoint: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) tokens: u64,
    pub(crate) queue_time: Duration,
    pub(crate) first_token: Option<Duration>,
    pub(crate) total: Duration,
}

impl AccessLogEntry<'_> {
    pub(crate) fn log(&self) {
        tracing::info!(
            target: ACCESS,
            request_id = self.context.request_id(),
            trace_id = self.trace.as_ref().map(|trace| tracing::field::display(trace.trace_id())),
            endpoint = self.endpoint,
            model = self.context.model,
            node = self.context.node(),
            pool = self.context.pool(),
            replica = self.context.replica(),
            outcome = self.outcome,
            code = self.code,
            tokens = self.tokens,
            queue_ms = millis(self.queue_time),
            first_token_ms = self.first_token.map(millis),
            total_ms = millis(self.total),
            "request"
        );
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
