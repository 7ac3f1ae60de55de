//! The one place that starts tasks, and the one that waits for them.
//!
//! Two tokens: *soft* ("finish what you hold, take no more") and, after the grace period or a second signal, *hard* ("stop
//! now"). A task that fails begins a soft shutdown, and the program's exit code says so.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::problem::chain;

/// How long after *hard* the last tasks are waited for before they are left behind.
const LAST_BOUND: Duration = Duration::from_secs(2);

/// What is handed to every role: how to start a task, and how to hear that it is time to end.
#[derive(Clone)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failed: Arc<AtomicBool>,
}

/// The program's life: begins with the roles, ends when all their tasks have.
pub struct Lifecycle {
    shutdown: Shutdown,
    grace: Duration,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEnd {
    /// Everything finished in time.
    Clean,
    /// A task failed, or was left behind.
    Failed,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tracker: TaskTracker::new(),
            failed: Arc::new(AtomicBool::new(false)),
        }
    }
}

impl Shutdown {
    /// Starts a task that belongs to the program. If it fails, the program ends.
    pub fn spawn<E>(&self, name: &'static str, task: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: std::error::Error + Send + 'static,
    {
        let this = self.clone();
        self.run(async move {
            if let Err(error) = task.await {
                tracing::error!(task = name, "{name} failed: {}", chain(&error));
                this.failed.store(true, Ordering::Relaxed);
                this.begin();
            }
        });
    }

    /// Starts a task that concerns only itself (one run, one socket); the program waits for its end.
    pub fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
        self.tracker.spawn(task.in_current_span())
    }

    /// Makes the program wait for a future that somebody else starts (an upgraded socket).
    pub fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tracker.track_future(task)
    }

    /// Begins the end: take no more.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Whether the end has begun.
    pub fn has_begun(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Waits for the beginning of the end.
    pub async fn soft(&self) {
        self.soft.cancelled().await;
    }

    /// Waits for the last call: stop now.
    pub async fn hard(&self) {
        self.hard.cancelled().await;
    }
}

impl Lifecycle {
    /// A life that, once its end has begun, takes at most `grace`.
    pub fn new(grace: Duration) -> Self {
        Self { shutdown: Shutdown::default(), grace }
    }

    /// The handle for the roles.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Waits for a signal or a failure, then for the end of every task.
    pub async fn run(self) -> LifecycleEnd {
        let signals = EndSignals::new();
        self.run_until(signals).await
    }

    async fn run_until(self, mut signals: EndSignals) -> LifecycleEnd {
        let Shutdown { soft, hard, tracker, failed } = self.shutdown;
        tokio::select! {
            name = signals.next() => tracing::info!("{name}: ending, within {:?}", self.grace),
            () = soft.cancelled() => {}
        }
        soft.cancel();
        tracker.close();
        tokio::select! {
            () = tracker.wait() => {}
            () = tokio::time::sleep(self.grace) => tracing::warn!("the grace period of {:?} is over: stopping now", self.grace),
            name = signals.next() => tracing::warn!("{name} again: stopping now"),
        }
        hard.cancel();
        if tokio::time::timeout(LAST_BOUND, tracker.wait()).await.is_err() {
            tracing::error!("{} tasks did not stop and are left behind", tracker.len());
            return LifecycleEnd::Failed;
        }
        if failed.load(Ordering::Relaxed) { LifecycleEnd::Failed } else { LifecycleEnd::Clean }
    }
}

/// SIGTERM and Ctrl-C.
struct EndSignals {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
}

impl EndSignals {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .inspect_err(|error| tracing::warn!("SIGTERM will not be heard: {error}"))
                .ok(),
        }
    }

    async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        if let Some(terminate) = &mut self.terminate {
            tokio::select! {
                _ = terminate.recv() => return "SIGTERM",
                _ = tokio::signal::ctrl_c() => return "Ctrl-C",
            }
        }
        // Without a handler for Ctrl-C only a failure or the other tokens end the program.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_task_ends_the_program_and_the_others_finish_first() {
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        let shutdown = lifecycle.shutdown();
        let (told, heard) = tokio::sync::oneshot::channel();
        let patient = shutdown.clone();
        shutdown.run(async move {
            patient.soft().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            let _ = told.send(());
        });
        shutdown.spawn("the task", async { Err::<(), _>(std::io::Error::other("no luck")) });
        assert_eq!(lifecycle.run().await, LifecycleEnd::Failed);
        heard.await.expect("the patient task finished within the grace period");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_deaf_to_everything_is_left_behind() {
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        lifecycle.shutdown().run(std::future::pending::<()>());
        lifecycle.shutdown().begin();
        assert_eq!(lifecycle.run().await, LifecycleEnd::Failed);
    }
}
