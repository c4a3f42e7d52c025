//! What holds for every connection while it is served: its deadline, its permit, and a stop.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    Limits, PeerAddr,
    control::{Stage, StageWatcher},
    phase::{ConnectionState, Interruption, Overdue},
    quiet_waker::QuietWaker,
};

/// A part of the life of a connection: a handshake, or its requests.
pub(crate) trait Driven {
    /// What it ends with.
    type Output;

    /// Makes progress.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// The server drains: what runs may finish.
    fn finish(&mut self);

    /// The connection is overdue. Returns false if it was told to finish first, and wakes the task.
    fn is_over(&mut self, _: Overdue, _: &Context<'_>) -> bool {
        true
    }
}

/// How a part of a connection ended.
pub(crate) enum ConnectionEnd<T> {
    Closed(T),
    Interrupted(Interruption),
    /// It was not authenticated, and was displaced by a new one.
    Displaced,
    Overdue(Overdue),
    Killed,
}

/// The parts of a connection that outlive its protocols.
pub(crate) struct Driver {
    pub(crate) state: Arc<ConnectionState>,
    watcher: StageWatcher,
    timer: Timer,
}

impl Driver {
    pub(crate) fn new(
        state: Arc<ConnectionState>,
        limits: Arc<Limits>,
        watcher: StageWatcher,
    ) -> Self {
        Self {
            timer: Timer::new(Arc::clone(&state), limits),
            state,
            watcher,
        }
    }

    /// Drives `driven` until it ends, a deadline passes, or the server is killed.
    pub(crate) async fn drive<D: Driven>(&mut self, driven: &mut D) -> ConnectionEnd<D::Output> {
        let Self {
            state,
            watcher,
            timer,
        } = self;
        let mut draining = false;
        let mut waker = QuietWaker::default();
        poll_fn(|cx| {
            let cx = &mut Context::from_waker(waker.of(cx));
            match watcher.poll_stage(cx) {
                Stage::Killed => return Poll::Ready(ConnectionEnd::Killed),
                Stage::Draining if !draining => {
                    draining = true;
                    driven.finish();
                }
                _ => {}
            }
            if let Poll::Ready(output) = driven.poll(cx) {
                return Poll::Ready(ConnectionEnd::Closed(output));
            }
            if let Some(why) = state.interruption() {
                return Poll::Ready(ConnectionEnd::Interrupted(why));
            }
            // After its request was read, if there is one: it may hold a token.
            if state.permit().poll_displaced(cx) {
                return Poll::Ready(ConnectionEnd::Displaced);
            }
            // Polled last, because progress moves the deadline.
            while let Poll::Ready(overdue) = timer.poll_overdue(cx) {
                if driven.is_over(overdue, cx) {
                    return Poll::Ready(ConnectionEnd::Overdue(overdue));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<T> ConnectionEnd<T> {
    /// The same for another output.
    pub(crate) fn map<U>(self, map: impl FnOnce(T) -> U) -> ConnectionEnd<U> {
        match self {
            Self::Closed(output) => ConnectionEnd::Closed(map(output)),
            Self::Interrupted(why) => ConnectionEnd::Interrupted(why),
            Self::Displaced => ConnectionEnd::Displaced,
            Self::Overdue(overdue) => ConnectionEnd::Overdue(overdue),
            Self::Killed => ConnectionEnd::Killed,
        }
    }
}

impl<E: std::error::Error + 'static> ConnectionEnd<Result<(), E>> {
    /// Logs the end at DEBUG: clients come and go, and no line here asks an operator to act.
    pub(crate) fn log(&self, peer: PeerAddr) {
        let peer = peer.0;
        match self {
            Self::Closed(Ok(())) | Self::Interrupted(Interruption::TlsBegins) => {}
            Self::Closed(Err(error)) => {
                let error = error as &dyn std::error::Error;
                tracing::debug!(%peer, error, "a connection broke off");
            }
            Self::Interrupted(Interruption::ClientGone) => {
                tracing::debug!(%peer, "a client left before its response ended");
            }
            Self::Displaced => {
                tracing::debug!(
                    %peer,
                    "an unauthenticated connection was displaced by a new one"
                );
            }
            Self::Overdue(overdue) => {
                tracing::debug!(%peer, ?overdue, "a connection made no progress");
            }
            Self::Killed => {
                tracing::debug!(%peer, "a connection was dropped at shutdown");
            }
        }
    }
}

/// The timer of a connection.
///
/// It is reset only when it fires, or when a deadline is earlier than it. While a response streams
/// there is no deadline, so the timer of the header or of the idle time just stays set.
pub(crate) struct Timer {
    state: Arc<ConnectionState>,
    limits: Arc<Limits>,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(crate) fn new(state: Arc<ConnectionState>, limits: Arc<Limits>) -> Self {
        let first = Instant::now() + limits.first_byte;
        Self {
            state,
            limits,
            sleep: Box::pin(sleep_until(first)),
        }
    }

    /// Ready when the deadline of the state has passed. Otherwise the task is woken at that time or
    /// earlier.
    pub(crate) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let Some((deadline, overdue)) = self.state.deadline(&self.limits) else {
            return Poll::Pending;
        };
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(overdue);
            }
            // It was set for an earlier deadline.
            self.sleep.as_mut().reset(deadline);
        }
    }
}
