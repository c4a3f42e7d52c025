//! The answer for a connection too many.

use std::{
    io,
    sync::{Arc, LazyLock},
    time::Duration,
};

use pool_registry_types::{ErrorCode, ErrorEnvelope};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::Semaphore,
    time::timeout,
};

/// How many connections may be refused politely at a time; beyond that they are just closed,
/// because a flood must not be able to fill the memory with refusals either.
pub(crate) const MAX_POLITE_REFUSALS: usize = 64;

/// How long a refused client has to read its refusal.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// When a refused client may come again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is wrong.
pub(crate) const FULL: &str = "the server holds as many connections as it may; try again later";

/// The whole answer, made once.
static REFUSAL: LazyLock<String> = LazyLock::new(|| {
    let mut envelope = ErrorEnvelope::new(ErrorCode::TooManyConnections, FULL);
    envelope.error.retry_after_ms = u64::try_from(RETRY_AFTER.as_millis()).ok();
    // Serialising strings and numbers does not fail; an empty body would still carry the status.
    let body = serde_json::to_string(&envelope).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: \
         {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        RETRY_AFTER.as_secs(),
        body.len(),
    )
});

/// Refuses connections, a bounded number at a time.
#[derive(Clone)]
pub(crate) struct Refusals {
    places: Arc<Semaphore>,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_POLITE_REFUSALS)),
        }
    }

    /// The future that refuses `io`; `None` when too many are being refused already, and `io` is
    /// closed.
    pub(crate) fn refuse<Io>(&self, io: Io) -> Option<impl Future<Output = ()> + Send + use<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(async move {
            // A client that does not take its refusal is closed on; there is nobody to tell.
            let _ = timeout(REFUSAL_DEADLINE, say(io)).await;
            drop(place);
        })
    }
}

/// Says it, closes our side, and reads what the client has sent: closing on unread bytes would
/// reset the connection, and the reset would overtake the answer.
async fn say<Io: AsyncRead + AsyncWrite + Unpin>(mut io: Io) -> io::Result<()> {
    io.write_all(REFUSAL.as_bytes()).await?;
    io.shutdown().await?;
    let mut discarded = [0; 1024];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}
