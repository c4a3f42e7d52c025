//! The response to a connection beyond the limit.

use std::{
    io,
    sync::{Arc, LazyLock},
    time::Duration,
};

use pool_registry_types::{ErrorCode, ErrorEnvelope, millis};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::Semaphore,
    time::timeout,
};

/// The most connections that get a refusal at a time. Further ones are closed without one, so that
/// a flood cannot fill the memory with refusals.
pub(crate) const MAX_POLITE_REFUSALS: usize = 64;

/// How long a refused client may take to read its refusal.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// When a refused client may return.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The message of the refusal.
pub(crate) const FULL: &str = "the server holds as many connections as it may; try again later";

/// The complete response, made once.
static REFUSAL: LazyLock<String> = LazyLock::new(|| {
    let mut envelope = ErrorEnvelope::new(ErrorCode::TooManyConnections, FULL);
    envelope.error.retry_after_ms = Some(millis(RETRY_AFTER));
    // Serialising strings and numbers cannot fail. An empty body would still carry the status.
    let body = serde_json::to_string(&envelope).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: \
         {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        RETRY_AFTER.as_secs(),
        body.len(),
    )
});

/// Refuses connections, a limited number at a time.
#[derive(Clone)]
pub(crate) struct Refusals {
    permits: Arc<Semaphore>,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_POLITE_REFUSALS)),
        }
    }

    /// The future that refuses `io`; `None` if too many refusals are in progress, and `io` is
    /// closed.
    pub(crate) fn refuse<Io>(&self, io: Io) -> Option<impl Future<Output = ()> + Send + use<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(async move {
            // A client that does not read its refusal is disconnected.
            let _ = timeout(REFUSAL_DEADLINE, say(io)).await;
            drop(permit);
        })
    }
}

/// Sends the refusal, closes the sending side, and reads what the client has sent: closing with
/// unread bytes would reset the connection, and the reset would overtake the response.
async fn say<Io: AsyncRead + AsyncWrite + Unpin>(mut io: Io) -> io::Result<()> {
    io.write_all(REFUSAL.as_bytes()).await?;
    io.shutdown().await?;
    let mut discarded = [0; 1024];
    while io.read(&mut discarded).await? > 0 {}
    Ok(())
}
