//! A waker of a connection that can suppress one wake-up.
//!
//! hyper passes the body of a request to its reader over a channel. Taking a piece wakes the
//! connection, so that it reads the next one. After the last piece there is nothing to read, and
//! the wake-up would cost a round through the scheduler with each request that has a body. So the
//! reader takes its pieces [quietly](take): a wake-up of the connection by the same thread is
//! delivered afterwards, unless nothing is left to read.

use std::{
    cell::Cell,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

thread_local! {
    static TAKING: Cell<Taking> = const { Cell::new(Taking::No) };
}

/// Whether a thread takes a piece, and which waker was called meanwhile.
#[derive(Default)]
enum Taking {
    #[default]
    No,
    Yes,
    Overheard(Waker),
}

/// Passes wake-ups on to the task, except those that are suppressed.
struct Overhearing(Waker);

impl Wake for Overhearing {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match TAKING.take() {
            Taking::No => self.0.wake_by_ref(),
            Taking::Yes => TAKING.set(Taking::Overheard(self.0.clone())),
            Taking::Overheard(earlier) => {
                if !earlier.will_wake(&self.0) {
                    self.0.wake_by_ref();
                }
                TAKING.set(Taking::Overheard(earlier));
            }
        }
    }
}

/// The waker of one connection: that of the task and the wrapper around it, made once per task.
/// stays the same.
#[derive(Default)]
pub(crate) struct QuietWaker(Option<(Waker, Waker)>);

impl QuietWaker {
    /// The context for polling the connection in a task with this context.
    pub(crate) fn of(&mut self, cx: &Context<'_>) -> &Waker {
        let is_stale = |(task, _): &(Waker, Waker)| !task.will_wake(cx.waker());
        if self.0.as_ref().is_some_and(is_stale) {
            self.0 = None;
        }
        let make = || {
            let task = cx.waker().clone();
            (task.clone(), Waker::from(Arc::new(Overhearing(task))))
        };
        &self.0.get_or_insert_with(make).1
    }
}

/// Polls for a piece with `take`, which also returns whether it is the last one. The wake-up of the
/// connection is suppressed after the last piece, and delivered after any other.
pub(crate) fn take<T>(
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut Context<'_>) -> Poll<(T, bool)>,
) -> Poll<T> {
    /// Resets the thread's state even if `take` panics: the thread continues with other
    /// connections.
    struct Listening;
    impl Drop for Listening {
        fn drop(&mut self) {
            TAKING.set(Taking::No);
        }
    }
    TAKING.set(Taking::Yes);
    let listening = Listening;
    let taken = take(cx);
    let overheard = TAKING.take();
    drop(listening);
    let is_last = matches!(taken, Poll::Ready((_, true)));
    if let Taking::Overheard(connection) = overheard
        && !is_last
    {
        connection.wake();
    }
    taken.map(|(piece, _)| piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counting_waker::CountingWakers;

    /// How often the task was woken by its connection's waker while a piece was taken.
    fn woken(piece: Poll<((), bool)>) -> usize {
        let wakes = CountingWakers::default();
        let mut connection = QuietWaker::default();
        let waker = connection.of(&Context::from_waker(&wakes.waker())).clone();
        let reader = Waker::noop();
        let _ = take(&mut Context::from_waker(reader), |_| {
            waker.wake_by_ref();
            waker.wake_by_ref();
            piece
        });
        let during = wakes.count();
        waker.wake();
        assert_eq!(wakes.count(), during + 1, "awake again afterwards");
        during
    }

    // spec: DOOR-15
    #[test]
    fn only_the_wake_up_of_the_last_piece_is_suppressed() {
        assert_eq!(woken(Poll::Ready(((), true))), 0);
        assert_eq!(woken(Poll::Ready(((), false))), 1);
        assert_eq!(woken(Poll::Pending), 1);
    }

    #[test]
    fn other_wake_ups_are_delivered() {
        let wakes = [CountingWakers::default(), CountingWakers::default()];
        let mut wakers = [QuietWaker::default(), QuietWaker::default()];
        let [ours, other] = [0, 1].map(|n| {
            wakers[n]
                .of(&Context::from_waker(&wakes[n].waker()))
                .clone()
        });
        let _ = take(&mut Context::from_waker(Waker::noop()), |_| {
            ours.wake_by_ref();
            other.wake_by_ref();
            Poll::Ready(((), true))
        });
        assert_eq!(wakes.map(|wakes| wakes.count()), [0, 1]);
    }
}
