//! Schemas of types of other crates, for the description of the API.

/// The name of a scope.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes `Scope` of another crate")]
pub(crate) enum ScopeName {
    Client,
    Node,
    Observer,
    Operator,
}

/// How much of the service a key may use. What is left out is not limited.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes `KeyLimits` of another crate")]
pub(crate) struct KeyLimits {
    /// The only models that it may use, by their names or by aliases.
    #[schema(min_items = 1, max_items = 64)]
    models: Option<Vec<pool_registry_types::ModelName>>,
    /// Requests in any minute.
    #[schema(minimum = 1, maximum = 1_000_000)]
    requests_per_minute: Option<u64>,
    /// Tokens, read and generated, in any minute.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    tokens_per_minute: Option<u64>,
    /// The same in a day of UTC.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_u64)]
    tokens_per_day: Option<u64>,
    /// Requests at once.
    #[schema(minimum = 1, maximum = 100_000)]
    concurrent_requests: Option<u64>,
    /// The highest priority; a request with a higher one has this one instead.
    highest_priority: Option<PriorityName>,
    /// How many of its requests are served in one turn, beside those of other keys; 1 by default.
    #[schema(minimum = 1, maximum = 100)]
    weight: Option<u32>,
}

/// The name of a priority.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes `HighestPriority` of another crate")]
pub(crate) enum PriorityName {
    Interactive,
    Batch,
}
