//! The service manager that started the process: notifications to systemd, and the socket that it
//! hands over.
//!
//! Without a service manager all of this does nothing: without `$NOTIFY_SOCKET` no message is sent,
//! without `$WATCHDOG_USEC` no watchdog beat, and without `$LISTEN_FDS` there is no socket. A
//! message that cannot be sent is only logged.

use std::{io, net::TcpListener, time::Duration};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::sync::oneshot;

use crate::{Shutdown, Tasks};

/// Watchdog beats per timeout. systemd recommends two; with three, one beat may be late on a busy
/// machine.
const BEATS_PER_TIMEOUT: u32 = 3;

/// Notifies the service manager that the environment names.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceManager;

impl ServiceManager {
    /// Start-up is complete, and dependent services may start. Also ends a
    /// [`reloading`](Self::reloading).
    pub fn ready(self) {
        tell(&[NotifyState::Ready]);
    }

    /// The settings are being reloaded. Call [`ready`](Self::ready) afterwards, whatever the
    /// result.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            // systemd identifies the reload by this time.
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => {
                tracing::debug!(%error, "no monotonic time for the service manager");
                tell(&[NotifyState::Reloading]);
            }
        }
    }

    /// The stop has begun and may take `within`. The manager waits that long, whatever its own
    /// limit is, so that a unit file does not cut short a drain that an operator allowed.
    pub fn stopping(self, within: Duration) {
        let within = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
        tell(&[NotifyState::Stopping, NotifyState::Custom(&within)]);
    }

    /// One line for people, shown by `systemctl status`. Line breaks become blanks.
    pub fn status(self, text: &str) {
        let line = text.replace(['\n', '\r'], " ");
        tell(&[NotifyState::Status(&line)]);
    }

    /// The watchdog timeout, after which the manager kills the process; `None` without a watchdog.
    #[must_use]
    pub fn watchdog_timeout(self) -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
    }

    /// Feeds the watchdog until `until` is requested; returns at once without a watchdog.
    ///
    /// The watchdog is fed only after real progress: a new task must have run, and `progress` must
    /// have returned. `progress` should wait for an essential part of the process. A timer alone
    /// would keep beating in a process that hangs.
    pub fn beat<F>(self, tasks: &Tasks, until: Shutdown, progress: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(timeout) = self.watchdog_timeout() else {
            return;
        };
        tracing::debug!(?timeout, "the service manager watches");
        let beats = beats(tasks.clone(), timeout, progress, || {
            tell(&[NotifyState::Watchdog]);
        });
        tasks.spawn("watchdog", async move {
            tokio::select! {
                () = until.requested() => {}
                () = beats => {}
            }
        });
    }
}

/// Calls `beat` while there is progress; never returns.
async fn beats<F>(tasks: Tasks, timeout: Duration, progress: impl Fn() -> F, beat: impl Fn())
where
    F: Future<Output = ()> + Send + 'static,
{
    let interval = timeout / BEATS_PER_TIMEOUT;
    loop {
        let (done, mut is_done) = oneshot::channel();
        let progress = progress();
        tasks.spawn_isolated("progress", async move {
            progress.await;
            // The other end is gone when the process stops.
            let _ = done.send(());
        });
        let answer = match tokio::time::timeout(interval, &mut is_done).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::warn!(
                    ?timeout,
                    "no progress; the service manager ends the process when there is none within \
                     its timeout"
                );
                is_done.await
            }
        };
        // A `progress` that panicked or was aborted does not count.
        if answer.is_ok() {
            beat();
        }
        tokio::time::sleep(interval).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager does not hear us");
    }
}

/// Why a socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Only one socket can be served.
    #[error(
        "the service manager handed over {0} sockets; exactly one can be served: give the socket \
         unit one ListenStream="
    )]
    TooMany(usize),
    /// A pipe, a datagram socket, a Unix socket or the like.
    #[error("the socket that the service manager handed over is no TCP listener: {0}")]
    NotTcp(#[source] io::Error),
}

/// The listening TCP socket that the process was started with, if any. Call it once, before threads
/// are started.
///
/// Connections that arrived while the process was not running wait in it.
///
/// # Errors
/// When there are several sockets, or it is not a TCP listener.
pub fn inherited_listener() -> Result<Option<TcpListener>, SocketError> {
    let mut sockets = ListenFd::from_env();
    match sockets.len() {
        0 => Ok(None),
        1 => sockets.take_tcp_listener(0).map_err(SocketError::NotTcp),
        several => Err(SocketError::TooMany(several)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn counted(progress: Shutdown) -> (Arc<AtomicU32>, impl Future<Output = ()>) {
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let progress = move || {
            let progress = progress.clone();
            async move { progress.requested().await }
        };
        let beat = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        (
            count,
            beats(Tasks::new(Shutdown::new()), TIMEOUT, progress, beat),
        )
    }

    // spec: STOP-8
    #[tokio::test(start_paused = true)]
    async fn it_beats_three_times_within_the_timeout_while_there_is_progress() {
        let progress = Shutdown::new();
        progress.request();
        let (count, beats) = counted(progress);
        assert!(tokio::time::timeout(TIMEOUT * 10, beats).await.is_err());
        let beats = count.load(Ordering::Relaxed);
        assert!((29..=31).contains(&beats), "{beats}");
    }

    // spec: STOP-8
    #[tokio::test(start_paused = true)]
    async fn without_progress_there_is_no_beat_until_it_comes_back() {
        let progress = Shutdown::new();
        let (count, beats) = counted(progress.clone());
        tokio::pin!(beats);
        assert!(
            tokio::time::timeout(TIMEOUT * 10, &mut beats)
                .await
                .is_err()
        );
        assert_eq!(count.load(Ordering::Relaxed), 0);
        progress.request();
        assert!(tokio::time::timeout(TIMEOUT, &mut beats).await.is_err());
        assert!(count.load(Ordering::Relaxed) >= 2);
    }
}
