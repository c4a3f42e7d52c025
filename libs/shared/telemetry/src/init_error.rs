//! Why telemetry could not be set up.

/// Why logging or the export of spans could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The log filter is invalid.
    #[error("{variable} is not a log filter such as info or info,hyper=warn")]
    Filter {
        /// The variable or argument that holds it.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The export of spans is misconfigured.
    #[cfg(feature = "otlp")]
    #[error("{variable} {reason}")]
    Export {
        /// The variable that holds the endpoint.
        variable: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Another subscriber is installed already.
    #[error("logging is already set up")]
    AlreadySet,
}
