//! A connection's waker that can be told to overhear one wake-up.
//!
//! hyper hands the body of a request to its reader over a channel, and whoever takes a piece out
//! wakes the connection, so that it reads the next one. After the last piece there is no next one,
//! and to be woken then means a whole turn through the scheduler and a look at everything for
//! nothing, with each request that has a body. So the reader of a body takes its pieces
//! [quietly](take): what the connection is woken for meanwhile, by that thread, is told afterwards,
//! unless nothing is left to read.

use std::{
    cell::Cell,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

thread_local! {
    static TAKING: Cell<Taking> = const { Cell::new(Taking::No) };
}

/// Whether a thread takes a piece, and whom that was to wake.
#[derive(Default)]
enum Taking {
    #[default]
    No,
    Yes,
    Overheard(Waker),
}

/// Passes wake-ups on to the task, but for those that are overheard.
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

/// The waker of one connection: the task's own and ours around it, made once as long as the task
/// stays the same.
#[derive(Default)]
pub(crate) struct QuietWaker(Option<(Waker, Waker)>);

impl QuietWaker {
    /// What the connection is to be polled with in a task with this context.
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

/// Polls for a piece by `take`, which says with it whether it is the last one. The connection that
/// this wakes stays asleep after the last piece, and is woken after any other one.
pub(crate) fn take<T>(
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut Context<'_>) -> Poll<(T, bool)>,
) -> Poll<T> {
    /// Undone even when `take` panics: the thread goes on with other connections.
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
    use crate::counted::Wakes;

    /// How often the task was woken when its connection's waker was, while a piece was taken.
    fn woken(piece: Poll<((), bool)>) -> usize {
        let wakes = Wakes::default();
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
    fn only_the_wake_up_of_the_last_piece_is_overheard() {
        assert_eq!(woken(Poll::Ready(((), true))), 0);
        assert_eq!(woken(Poll::Ready(((), false))), 1);
        assert_eq!(woken(Poll::Pending), 1);
    }

    #[test]
    fn nobody_else_is_kept_asleep() {
        let wakes = [Wakes::default(), Wakes::default()];
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
