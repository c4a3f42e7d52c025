//! An owned server-sent event.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The last id of the stream: of this event or an earlier one.
    pub id: Option<String>,
    /// Its type; empty if it has none.
    pub event: String,
    /// Its data; several lines are joined by newlines.
    pub data: String,
}

impl From<sse::Event<'_>> for SseEvent {
    fn from(event: sse::Event<'_>) -> Self {
        Self {
            id: event.id.map(str::to_owned),
            event: event.name.to_owned(),
            data: event.data_text().into_owned(),
        }
    }
}
