//! Owns virtual time: a clock that jumps to the next moment at which something waits, and runs what is
//! ready in between, one thing at a time and always in the same order.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_executor::{LocalPool, LocalSpawner};
use futures_util::task::LocalSpawnExt;
use jiff::{SignedDuration, Timestamp};

/// A virtual clock. Clones show the same time. It may be handed to code that wants to be `Send`.
#[derive(Debug, Clone)]
pub struct Timeline(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    now: Timestamp,
    next_timer: u64,
    /// Who waits, by moment and then in the order in which they began to wait.
    waiting: BTreeMap<(Timestamp, u64), Waker>,
}

/// Why a run on a timeline came to no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// Nothing is ready and nobody waits for a moment.
    #[error("at {0} everything waits for something that will never come")]
    Deadlock(Timestamp),
    /// The horizon was reached.
    #[error("it is still going on at {0}")]
    Endless(Timestamp),
}

impl Timeline {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Hands { now: start, next_timer: 0, waiting: BTreeMap::new() })))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.hands().now
    }

    /// Waits. Time that nobody waits for does not pass.
    pub fn sleep(&self, duration: SignedDuration) -> Sleep {
        let until = self.now().checked_add(duration).unwrap_or(Timestamp::MAX);
        Sleep { timeline: self.clone(), until, timer: None }
    }

    /// Runs what `main` returns to its end, and whatever it spawned until then. What is not finished by
    /// then is dropped.
    ///
    /// # Errors
    /// [`Stalled`] if everything waits for ever, or if `horizon` is reached.
    pub fn run<T, F>(&self, horizon: Timestamp, main: impl FnOnce(LocalSpawner) -> F) -> Result<T, Stalled>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let mut pool = LocalPool::new();
        let ended = Rc::new(RefCell::new(None));
        let (slot, future) = (Rc::clone(&ended), main(pool.spawner()));
        let root = async move {
            let output = future.await;
            slot.replace(Some(output));
        };
        // A pool that has just been made takes what it is given.
        let _spawned = pool.spawner().spawn_local(root);
        loop {
            pool.run_until_stalled();
            if let Some(output) = ended.take() {
                return Ok(output);
            }
            let waker = self.step(horizon)?;
            waker.wake();
        }
    }

    /// Moves the hands to the next moment that somebody waits for.
    fn step(&self, horizon: Timestamp) -> Result<Waker, Stalled> {
        let mut hands = self.hands();
        let Some(((moment, _), waker)) = hands.waiting.pop_first() else { return Err(Stalled::Deadlock(hands.now)) };
        if moment > horizon {
            return Err(Stalled::Endless(hands.now));
        }
        hands.now = moment.max(hands.now);
        Ok(waker)
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        // Whoever panicked left the map whole: nothing is done under the lock but look, insert, remove.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for a moment. Dropping it is forgetting it.
#[derive(Debug)]
pub struct Sleep {
    timeline: Timeline,
    until: Timestamp,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let until = self.until;
        let (timer, done) = {
            let mut hands = self.timeline.hands();
            let timer = self.timer.unwrap_or_else(|| {
                hands.next_timer += 1;
                hands.next_timer
            });
            let done = hands.now >= until;
            if done {
                hands.waiting.remove(&(until, timer));
            } else {
                hands.waiting.insert((until, timer), context.waker().clone());
            }
            (timer, done)
        };
        self.timer = Some(timer);
        if done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let until = self.until;
            self.timeline.hands().waiting.remove(&(until, timer));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{Either, join_all, select};

    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn timeline() -> Timeline {
        Timeline::new(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn waiting_moves_the_clock_and_takes_no_time() {
        let timeline = timeline();
        let clock = timeline.clone();
        let ended = timeline.run(Timestamp::MAX, |_| async move {
            clock.sleep(HOUR * 1_000).await;
            clock.now()
        });
        assert_eq!(ended, Ok(Timestamp::UNIX_EPOCH + HOUR * 1_000));
    }

    #[test]
    fn who_waits_shorter_goes_first_and_equals_go_in_the_order_in_which_they_began() {
        let timeline = timeline();
        let clock = timeline.clone();
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&order);
        let ended = timeline.run(Timestamp::MAX, |_| async move {
            let waits = [(3, 'a'), (1, 'b'), (2, 'c'), (1, 'd')].map(|(hours, name)| {
                let (sleep, seen) = (clock.sleep(HOUR * hours), Rc::clone(&seen));
                async move {
                    sleep.await;
                    seen.borrow_mut().push(name);
                }
            });
            join_all(waits).await;
        });
        assert_eq!(ended, Ok(()));
        assert_eq!(*order.borrow(), ['b', 'd', 'c', 'a']);
    }

    #[test]
    fn a_wait_that_nobody_needs_any_more_does_not_move_the_clock() {
        let timeline = timeline();
        let clock = timeline.clone();
        let ended = timeline.run(Timestamp::MAX, |_| async move {
            let first = select(clock.sleep(HOUR), clock.sleep(HOUR * 5)).await;
            assert!(matches!(first, Either::Left(_)));
            drop(first);
            clock.sleep(HOUR).await;
            clock.now()
        });
        assert_eq!(ended, Ok(Timestamp::UNIX_EPOCH + HOUR * 2));
    }

    #[test]
    fn what_waits_for_ever_is_found_out() {
        let deadlock = timeline().run(Timestamp::MAX, |_| std::future::pending::<()>());
        assert_eq!(deadlock, Err(Stalled::Deadlock(Timestamp::UNIX_EPOCH)));

        let timeline = timeline();
        let clock = timeline.clone();
        let endless = timeline.run(Timestamp::UNIX_EPOCH + HOUR * 3, |_| async move {
            loop {
                clock.sleep(HOUR).await;
            }
            #[expect(unreachable_code, reason = "it says of which type the loop is")]
            ()
        });
        assert_eq!(endless, Err(Stalled::Endless(Timestamp::UNIX_EPOCH + HOUR * 3)));
    }

    #[test]
    fn what_was_spawned_goes_on_beside_and_ends_with_the_run() {
        let timeline = timeline();
        let clock = timeline.clone();
        let count = Rc::new(RefCell::new(0));
        let seen = Rc::clone(&count);
        let ended = timeline.run(Timestamp::MAX, |spawner| async move {
            let other = clock.clone();
            let spawned = spawner.spawn_local(async move {
                loop {
                    other.sleep(HOUR).await;
                    *seen.borrow_mut() += 1;
                }
            });
            assert!(spawned.is_ok());
            clock.sleep(HOUR * 3 + SignedDuration::from_mins(1)).await;
        });
        assert_eq!((ended, *count.borrow()), (Ok(()), 3));
    }
}
