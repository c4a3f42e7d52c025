//! Exports the spans of requests as OTLP over HTTP. Only in builds with the feature `otlp`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        TracerProvider as _,
    },
};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{
    init_error::InitError,
    service::Service,
    span_target::REQUEST,
    trace_context::{TRACEPARENT, TraceContext},
};

/// The endpoint: the first of these variables that is set; without one, nothing is exported. The
/// names and their meaning (only the second is the base of a path) come from OpenTelemetry, like
/// all others that begin with `OTEL_`.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// How long a collector may take for a batch: half of the time that a stop allows for all tasks.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes that are read of a collector's response, which is a few bytes long.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// The provider of the export, if one is configured.
pub(crate) fn provider(service: &Service<'_>) -> Result<Option<SdkTracerProvider>, InitError> {
    let endpoint = ENDPOINTS.iter().find_map(|variable| {
        let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
        Some((*variable, value.to_string_lossy().into_owned()))
    });
    let Some((variable, endpoint)) = endpoint else {
        return Ok(None);
    };
    if !endpoint.starts_with("http://") {
        // TLS is not built in; the collector usually runs on the same machine. The URL may have a
        // password in it, so the error does not repeat it.
        let reason = "must begin with http://, such as http://127.0.0.1:4318".to_owned();
        return Err(InitError::Export { variable, reason });
    }
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(variable))
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| InitError::Export {
            variable,
            reason: error.to_string(),
        })?;
    let mut resource = Resource::builder()
        .with_service_name(service.name.to_owned())
        .with_attribute(KeyValue::new("service.version", service.version.to_owned()));
    if let Some(instance) = service.instance {
        resource =
            resource.with_attribute(KeyValue::new("service.instance.id", instance.to_owned()));
    }
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(provider))
}

/// Passes only the spans of requests to `provider`. Log lines stay in the log.
pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("llorch"))
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(REQUEST, LevelFilter::DEBUG))
}

/// Sends the batches. A thread of the provider sends one after the other, so this may block.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    /// The variable that holds the endpoint.
    variable: &'static str,
    /// The last batch did not arrive, which was logged.
    failing: AtomicBool,
}

impl Client {
    fn new(variable: &'static str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            variable,
            failing: AtomicBool::new(false),
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.agent.run(request.map(Vec::from))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }

    /// Logs once when spans begin to be lost, and once when they arrive again.
    fn tell(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let problem = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        match (problem, was_failing) {
            (Some(problem), false) => tracing::warn!(
                %problem,
                "spans do not reach the collector and are lost; start it, or correct \
                    {}", self.variable
            ),
            (None, true) => tracing::info!("spans reach the collector again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request);
        self.tell(&sent);
        sent
    }
}

/// See [`crate::continue_trace`].
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let header = headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    let Some(theirs) = header.and_then(TraceContext::parse) else {
        return;
    };
    let (trace_id, parent_id, flags) = theirs.parts();
    let parent = SpanContext::new(
        TraceId::from(trace_id),
        SpanId::from(parent_id),
        TraceFlags::new(flags),
        true,
        TraceState::NONE,
    );
    // Without the layer nothing can be set. The span is not entered yet.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// See [`crate::trace_of`].
pub(crate) fn trace_of(span: &Span) -> Option<TraceContext> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        TraceContext::from_parts(
            u128::from_be_bytes(context.trace_id().to_bytes()),
            u64::from_be_bytes(context.span_id().to_bytes()),
            context.trace_flags().to_u8(),
        )
    })
}
