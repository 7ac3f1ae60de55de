//! The jobs of several consumers for one caller, who takes one at a time. A request to a consumer cannot be taken back: what comes to one of
//! them while nobody waits any more, as another has brought a job, goes back to the queue at once, so that a busy worker keeps
//! nothing that an idle one could do.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::broker::{AnyDelivery, Result};

/// How long after a caller had a job another one may wait for the caller to come back.
const UNWANTED_FOR: Duration = Duration::from_secs(1);

/// Jobs as they come.
pub(super) type JobStream = BoxStream<'static, Result<AnyDelivery>>;

/// A caller that waits for a job.
type WaitingCaller = oneshot::Sender<Result<AnyDelivery>>;

/// Whether somebody waits for a job: nothing is asked for else.
pub(super) struct Demand(watch::Sender<bool>);

impl Demand {
    /// Nobody waits yet.
    pub(super) fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// How a consumer that is pulled from learns of it.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    fn set(&self, is_wanted: bool) {
        self.0.send_replace(is_wanted);
    }
}

/// Both streams as one, each in its turn. Both know `demand`, and ask for nothing without.
pub(super) fn merged(one: JobStream, other: JobStream, demand: Demand) -> JobStream {
    let (callers, waiting) = mpsc::channel(1);
    let mut task = JoinSet::new();
    task.spawn(hand_over(stream::select(one, other).boxed(), waiting, demand));
    // The task ends with the stream that holds it.
    let taking = stream::unfold((callers, task), |(callers, task)| async move {
        let (caller, job) = oneshot::channel();
        callers.send(caller).await.ok()?;
        Some((job.await.ok()?, (callers, task)))
    });
    taking.boxed()
}

async fn hand_over(mut jobs: JobStream, mut waiting: mpsc::Receiver<WaitingCaller>, demand: Demand) {
    let mut last_served = Instant::now();
    loop {
        let caller = tokio::select! {
            biased;
            caller = waiting.recv() => caller,
            job = jobs.next() => {
                let Some(job) = job else { return };
                match tokio::time::timeout_at(last_served + UNWANTED_FOR, waiting.recv()).await {
                    Ok(Some(caller)) => {
                        give(caller, job).await;
                        last_served = Instant::now();
                    }
                    Ok(None) | Err(_) => give_back(job).await,
                }
                continue;
            }
        };
        let Some(mut caller) = caller else { return };
        demand.set(true);
        let job = tokio::select! {
            job = jobs.next() => job,
            () = caller.closed() => {
                demand.set(false);
                continue;
            }
        };
        demand.set(false);
        let Some(job) = job else { return };
        give(caller, job).await;
        last_served = Instant::now();
    }
}

async fn give(caller: WaitingCaller, job: Result<AnyDelivery>) {
    if let Err(job) = caller.send(job) {
        give_back(job).await;
    }
}

/// Lets another worker have the job. What fails here is given to another one a little later.
async fn give_back(job: Result<AnyDelivery>) {
    match job {
        Ok(delivery) => {
            if let Err(error) = delivery.retry_after(Duration::ZERO).await {
                tracing::debug!("a job that nobody waits for was not given back: {error}");
            }
        }
        // The call after it meets it again, if it is still so.
        Err(error) => tracing::debug!("no jobs for now, and nobody waits for one: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::broker::{Delivery, Job, JobReason};
    use crate::ids::RunId;

    type Returned = Arc<Mutex<Vec<RunId>>>;

    struct TestDelivery {
        job: Job,
        returned: Returned,
    }

    #[async_trait]
    impl Delivery for TestDelivery {
        fn job(&self) -> &Job {
            &self.job
        }
        fn attempt(&self) -> u64 {
            1
        }
        async fn working(&self) -> Result<()> {
            Ok(())
        }
        async fn ack(self: Box<Self>) -> Result<()> {
            Ok(())
        }
        async fn retry_after(self: Box<Self>, _delay: Duration) -> Result<()> {
            self.returned.lock().push(self.job.run);
            Ok(())
        }
    }

    /// A stream of what is sent into it.
    fn jobs(returned: &Returned) -> (mpsc::UnboundedSender<RunId>, JobStream) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let returned = returned.clone();
        let jobs = stream::unfold(receiver, move |mut receiver| {
            let returned = returned.clone();
            async move {
                let job = Job { run: receiver.recv().await?, reason: JobReason::Start };
                Some((Ok(Box::new(TestDelivery { job, returned }) as AnyDelivery), receiver))
            }
        });
        (sender, jobs.boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_nobody_waits_goes_back_soon_and_what_comes_to_a_caller_does_not() {
        let returned = Returned::default();
        let ((one, these), (other, those)) = (jobs(&returned), jobs(&returned));
        let demand = Demand::new();
        let is_wanted = demand.subscribe();
        let mut merged = merged(these, those, demand);
        let [first, second, third, fourth] = std::array::from_fn(|_| RunId::random());
        let mut take = async || merged.next().await.unwrap().unwrap().job().run;
        one.send(first).unwrap();
        assert_eq!(take().await, first);
        assert!(!*is_wanted.borrow(), "nobody waits for another");
        other.send(second).unwrap();
        // Whoever comes back at once gets it.
        assert_eq!(take().await, second);
        other.send(third).unwrap();
        tokio::time::sleep(UNWANTED_FOR * 2).await;
        assert_eq!(*returned.lock(), [third]);
        one.send(fourth).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(*returned.lock(), [third, fourth], "nobody has come back for long");
    }

    #[tokio::test(start_paused = true)]
    async fn neither_stream_keeps_the_other_from_its_turn() {
        let returned = Returned::default();
        let ((one, these), (other, those)) = (jobs(&returned), jobs(&returned));
        let runs: Vec<RunId> = (0..8).map(|_| RunId::random()).collect();
        for (number, run) in runs.iter().enumerate() {
            if number < 4 { one.send(*run).unwrap() } else { other.send(*run).unwrap() }
        }
        let mut merged = merged(these, those, Demand::new());
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(merged.next().await.unwrap().unwrap().job().run);
        }
        let of_one = taken.iter().filter(|run| runs[..4].contains(run)).count();
        assert_eq!((of_one, returned.lock().len()), (2, 0));
    }
}
