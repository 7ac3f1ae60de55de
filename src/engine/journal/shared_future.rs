//! A piece of work that several may wait for, and that goes on whenever one of them is polled.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;

use super::lock;

/// Work that several wait for, all of one task, which polls the work itself last whenever it is polled
/// ([`SharedFuture::poll_for_others`]): only the last one who polled is woken to go on with it. A clone is the same work. Unlike `futures_util`'s `Shared`, whoever sees it end is not woken by
/// that: a run would be polled once more for nothing after each of its appends, and another thread be woken to do that.
#[derive(Clone)]
pub(super) struct SharedFuture<T>(Arc<Mutex<FutureProgress<T>>>);

enum FutureProgress<T> {
    UnderWay { work: BoxFuture<'static, T>, waiting: Vec<Waker> },
    Over(T),
}

impl<T: Clone> SharedFuture<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(FutureProgress::UnderWay { work: Box::pin(work), waiting: Vec::new() })))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Goes on with the work for all who wait, who are woken when it ends: for one who does not wait for it.
    pub(super) fn poll_for_others(&self, context: &mut Context<'_>) -> Poll<T> {
        self.go_on(context, |_| true)
    }

    /// `wakes` is asked of each who waits whether the end wakes it.
    fn go_on(&self, context: &mut Context<'_>, wakes: impl Fn(&Waker) -> bool) -> Poll<T> {
        let mut progress = lock(&self.0);
        let (outcome, waiting) = match &mut *progress {
            FutureProgress::Over(outcome) => return Poll::Ready(outcome.clone()),
            FutureProgress::UnderWay { work, waiting } => match work.as_mut().poll(context) {
                Poll::Ready(outcome) => (outcome, std::mem::take(waiting)),
                Poll::Pending => {
                    if !waiting.iter().any(|known| known.will_wake(context.waker())) {
                        waiting.push(context.waker().clone());
                    }
                    return Poll::Pending;
                }
            },
        };
        *progress = FutureProgress::Over(outcome.clone());
        drop(progress);
        waiting.into_iter().filter(|waker| wakes(waker)).for_each(Waker::wake);
        Poll::Ready(outcome)
    }
}

impl<T: Clone> Future for SharedFuture<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let own = context.waker().clone();
        self.go_on(context, |waker| !waker.will_wake(&own))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct WakeCounter(AtomicUsize);

    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiter() -> (Arc<WakeCounter>, Waker) {
        let wakes = Arc::new(WakeCounter::default());
        (wakes.clone(), wakes.into())
    }

    fn poll(work: &SharedFuture<u8>, waker: &Waker) -> Poll<u8> {
        Pin::new(&mut work.clone()).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn the_end_wakes_all_who_wait_but_the_one_who_sees_it() {
        let (end, ended) = oneshot::channel();
        let work = SharedFuture::new(async { ended.await.unwrap() });
        let ((one, one_waker), (other, other_waker)) = (waiter(), waiter());
        assert!(poll(&work, &one_waker).is_pending());
        assert!(poll(&work, &other_waker).is_pending());
        end.send(7).unwrap();
        // What the work itself waited for wakes whoever polled it last.
        assert_eq!((one.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(poll(&work, &other_waker), Poll::Ready(7));
        assert_eq!((one.0.load(Ordering::Relaxed), other.0.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(poll(&work, &one_waker), Poll::Ready(7));
    }

    #[test]
    fn one_who_does_not_wait_wakes_even_the_task_that_it_belongs_to() {
        let (end, ended) = oneshot::channel();
        let work = SharedFuture::new(async { ended.await.unwrap() });
        let (wakes, waker) = waiter();
        assert!(poll(&work, &waker).is_pending());
        end.send(7).unwrap();
        assert_eq!(work.poll_for_others(&mut Context::from_waker(&waker)), Poll::Ready(7));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    }
}
