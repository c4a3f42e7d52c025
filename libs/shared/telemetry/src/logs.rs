//! The destination and the format of log lines.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _,
    registry::LookupSpan,
};

use crate::{audit_file::AuditFile, init_error::InitError, lossy::Lossy, service::Service};

/// The variable that overrides the default filter, in the syntax of
/// `tracing_subscriber::EnvFilter`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// A text that is not a [`LogFormat`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be text or json, not {0:?}")]
pub struct LogFormatError(String);

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Flushes exported spans at the end of the process.
#[derive(Debug, Default)]
pub struct ExportGuard {
    #[cfg(feature = "otlp")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl ExportGuard {
    /// Sends the remaining spans, and waits at most as long as a batch may take.
    pub fn finish(self) {
        #[cfg(feature = "otlp")]
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown_with_timeout(crate::otlp::TIMEOUT)
        {
            tracing::warn!(%error, "the last spans may be lost; look whether the collector is \
                slow");
        }
    }
}

/// As [`init`]. The events of the target of `audit` also go to its file, from level DEBUG on, as
/// JSON and whatever the filter says. In builds with the feature `otlp`, the spans of requests are
/// also exported as those of `service`, to the URL in `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
/// `OTEL_EXPORTER_OTLP_ENDPOINT`, if one is set.
///
/// # Errors
/// As [`init`], and when that variable does not hold a usable URL.
pub fn init_for(
    service: &Service<'_>,
    format: LogFormat,
    log_filter: &str,
    audit: Option<AuditFile>,
) -> Result<ExportGuard, InitError> {
    #[cfg(feature = "otlp")]
    let provider = crate::otlp::provider(service)?;
    #[cfg(not(feature = "otlp"))]
    let provider: Option<()> = None;
    let _ = service;
    let filter = parse_filter(FILTER_VARIABLE, log_filter)?;
    // One layer costs less than two.
    if audit.is_none() && provider.is_none() {
        init_with(format, filter)?;
        return Ok(ExportGuard::default());
    }
    let subscriber = tracing_subscriber::registry();
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(provider.as_ref().map(crate::otlp::layer));
    let lines = lines(format, io::stderr().is_terminal(), io::stderr);
    let subscriber = subscriber
        .with(audit.map(audit_lines))
        .with(lines.with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)?;
    Ok(ExportGuard {
        #[cfg(feature = "otlp")]
        provider,
    })
}

/// The layer of log lines, for use with other layers; the lines are those of [`subscriber`].
fn lines<S>(
    format: LogFormat,
    ansi: bool,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(Lossy(writer));
    match format {
        LogFormat::Text => Box::new(layer.with_ansi(ansi)),
        LogFormat::Json => Box::new(layer.json().flatten_event(true).with_current_span(false)),
    }
}

/// The layer of the audit log. Its events say everything themselves.
fn audit_lines<S>(file: AuditFile) -> impl Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let target = Targets::new().with_target(file.target(), tracing::Level::DEBUG);
    tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(Lossy(file))
        .with_filter(target)
}

/// Sends the process's events to stderr in `format`, filtered by `RUST_LOG`, or by `default_filter`
/// if that is unset or empty.
///
/// A line that cannot be written is dropped and counted in `llorch_log_lines_dropped`.
///
/// # Errors
/// When a filter does not parse, or when logging is set up already.
pub fn init(format: LogFormat, default_filter: &str) -> Result<(), InitError> {
    init_with(format, filter(default_filter)?)
}

fn init_with(format: LogFormat, filter: EnvFilter) -> Result<(), InitError> {
    let subscriber = subscriber(format, filter, io::stderr().is_terminal(), io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySet)
}

fn filter(default: &str) -> Result<EnvFilter, InitError> {
    let from_environment = std::env::var_os(FILTER_VARIABLE).filter(|value| !value.is_empty());
    match &from_environment {
        // A value that is not Unicode fails to parse; the message shows replacement characters.
        Some(value) => parse_filter(FILTER_VARIABLE, &value.to_string_lossy()),
        None => parse_filter("the default filter", default),
    }
}

fn parse_filter(variable: &'static str, text: &str) -> Result<EnvFilter, InitError> {
    EnvFilter::try_new(text).map_err(|source| InitError::Filter { variable, source })
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    ansi: bool,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Box<dyn tracing::Subscriber + Send + Sync> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // By default it would report on stderr that stderr cannot be written, and panic.
        .log_internal_errors(false)
        .with_writer(Lossy(writer));
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(ansi).finish()),
        LogFormat::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .finish(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let filter = parse_filter("test", filter).unwrap();
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("task", name = "demo").entered();
            tracing::info!(answer = 42, "shown");
            tracing::debug!("hidden");
        });
        let bytes = captured.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines() {
        let line = logged(LogFormat::Text, "info");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(
            line.contains("INFO") && line.contains("shown answer=42"),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }

    #[test]
    fn json_lines() {
        let line = logged(LogFormat::Json, "info");
        assert_eq!(line.lines().count(), 1, "{line}");
        for part in [
            r#""level":"INFO""#,
            r#""message":"shown""#,
            r#""answer":42"#,
            r#""name":"demo""#,
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    // spec: AUTH-50
    #[test]
    fn the_audit_log_has_its_target_from_debug_on_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let file = AuditFile::open("audit", &path).unwrap();
        let lines = lines(LogFormat::Text, false, Captured::default);
        let subscriber = tracing_subscriber::registry()
            .with(audit_lines(file))
            .with(lines.with_filter(parse_filter("test", "warn").unwrap()));
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::error_span!("node", node_id = "a").entered();
            tracing::info!(target: "audit", what = "drain", "change");
            tracing::debug!(target: "audit", code = "FORBIDDEN", "request refused");
            tracing::error!("something else");
        });
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        for part in [
            r#""what":"drain""#,
            r#""code":"FORBIDDEN""#,
            r#""timestamp""#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_filter_decides() {
        assert_eq!(logged(LogFormat::Text, "warn"), "");
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 2);
        let error = parse_filter("RUST_LOG", "info,=,=").unwrap_err();
        assert!(error.to_string().starts_with("RUST_LOG "), "{error}");
    }

    #[test]
    fn formats_by_name() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(
            "xml".parse::<LogFormat>().unwrap_err().to_string(),
            "must be text or json, not \"xml\""
        );
    }
}
