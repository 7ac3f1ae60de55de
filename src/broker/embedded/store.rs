//! The ways to the database, and the thread that it works on. Calls are pieces of work sent to the thread, where the
//! database does all that wait in one transaction.
//!
//! A short call that finds nobody at work borrows the database and has it work right there: two changes of threads, there and
//! back, take longer than to store a record. Where many call at once, the thread is quicker, for they share its commits.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::StoreOpenError;
use super::database::{CallAnswer, CallAnswers, DatabaseCall, EmbeddedDatabase, TransactionFailure};
use super::file_size::FileSizeLimit;
use super::session::{CallFault, StoreTransaction};
use crate::broker::{Error, Result};

/// Calls that may wait for the thread; one more waits in its own task. At a few microseconds each they are done in milliseconds.
const WAITING_CALLS: usize = 4096;
/// Calls in one transaction: enough to pay for the commit, few enough that the first does not wait long.
const MOST_CALLS_AT_ONCE: usize = 512;
/// For how long a store that took no more counts as full.
const FULL_FOR: Duration = Duration::from_secs(15);
/// After a sign that many call at once, so many short calls go to the thread before one tries again to be done where it is made.
const CALLS_AFTER_CROWD: u32 = 8;
/// A commit that took longer than this keeps whatever else its caller's thread has to do waiting: the disk is busy.
const SLOW_COMMIT: Duration = Duration::from_millis(2);
/// So many short calls go to the thread then.
const CALLS_AFTER_SLOW: u32 = 1024;

/// The way to the database. Dropping the last one ends its thread, and waits for that: the folder is free afterwards.
pub(super) struct EmbeddedStore {
    access: Arc<DatabaseAccess>,
    sender: Option<mpsc::Sender<DatabaseCall>>,
    thread: Option<JoinHandle<()>>,
    /// When it last took no more.
    full: Mutex<Option<Instant>>,
}

/// Access to the database: its thread has it while it works, and so has a caller for a short call.
struct DatabaseAccess {
    /// `None` once the thread has ended.
    database: Mutex<Option<EmbeddedDatabase>>,
    /// How many short calls are yet to go to the thread.
    crowd: AtomicU32,
    /// A call was given up that may still wait for the thread: none that its caller makes later may overtake it.
    given_up: AtomicBool,
}

impl DatabaseAccess {
    /// The database, for a short call, if nobody else is likely to want it, and it needs no more than a moment.
    fn if_quiet(&self) -> Option<MutexGuard<'_, Option<EmbeddedDatabase>>> {
        if self.crowd.load(Ordering::Relaxed) > 0 {
            // One too many or too few is of no importance.
            let _ = self.crowd.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |crowd| crowd.checked_sub(1));
            return None;
        }
        if self.given_up.load(Ordering::SeqCst) {
            return None;
        }
        let Ok(database) = self.database.try_lock() else {
            self.expect_crowd(CALLS_AFTER_CROWD);
            return None;
        };
        // The thread does the first call after each synchronisation, and so knows that there is something to synchronise again.
        database.as_ref().is_some_and(EmbeddedDatabase::is_dirty).then_some(database)
    }

    fn expect_crowd(&self, calls: u32) {
        self.crowd.fetch_max(calls, Ordering::Relaxed);
    }
}

/// Held by whoever waits for the thread, and forgotten with the answer: dropped before, it says that the call was given up.
struct CallGuard<'a>(&'a DatabaseAccess);

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.0.given_up.store(true, Ordering::SeqCst);
    }
}

/// The way to the thread for streams and deliveries, which must not keep the broker alive.
pub(super) type WeakSender = mpsc::WeakSender<DatabaseCall>;

impl EmbeddedStore {
    /// Opens the file in `dir` and starts its thread, which keeps `lock` until it ends.
    pub(super) fn open(dir: &Path, lock: File, room: FileSizeLimit) -> Result<Self, StoreOpenError> {
        let unusable = |source| StoreOpenError::Folder { dir: dir.to_owned(), source };
        let database = EmbeddedDatabase::open(dir, lock, room)?;
        let (sender, calls) = mpsc::channel(WAITING_CALLS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(unusable)?;
        let access = Arc::new(DatabaseAccess {
            database: Mutex::new(Some(database)),
            crowd: AtomicU32::new(0),
            given_up: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new()
            .name("embedded-store".to_owned())
            .spawn({
                let access = access.clone();
                move || run(&access, &runtime, calls)
            })
            .map_err(unusable)?;
        Ok(Self { access, sender: Some(sender), thread: Some(thread), full: Mutex::new(None) })
    }

    /// [`EmbeddedStore::call`] for what takes some microseconds and makes nothing due by the clock: done right here if the database is free.
    pub(super) async fn short_call<T: Send + 'static>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&mut StoreTransaction<'_>) -> Result<T, CallFault> + Send + 'static,
    ) -> Result<T> {
        match self.right_here(doing, act) {
            Ok(outcome) => self.noted(outcome),
            Err(act) => {
                let patience = CallGuard(&self.access);
                let outcome = self.call(doing, act).await;
                std::mem::forget(patience);
                outcome
            }
        }
    }

    /// Has the database do `act` on this thread, or gives it back.
    fn right_here<T, A>(&self, doing: &'static str, act: A) -> std::result::Result<Result<T>, A>
    where
        A: FnOnce(&mut StoreTransaction<'_>) -> Result<T, CallFault>,
    {
        let Some(mut borrowed) = self.access.if_quiet() else { return Err(act) };
        let Some(database) = borrowed.as_mut() else { return Err(act) };
        let begun = Instant::now();
        let outcome = database.transact_one(doing, act);
        if begun.elapsed() > SLOW_COMMIT {
            self.access.expect_crowd(CALLS_AFTER_SLOW);
        }
        Ok(outcome)
    }

    /// Has the thread do `act` inside a transaction, and returns what came of it once that is committed. `doing` names the
    /// call in an error.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&mut StoreTransaction<'_>) -> Result<T, CallFault> + Send + 'static,
    ) -> Result<T> {
        self.noted(call(self.sender.as_ref(), doing, act).await)
    }

    /// Whether the store has said lately that it takes no more.
    pub(super) fn full_lately(&self) -> bool {
        let full = *self.full.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        full.is_some_and(|since| since.elapsed() < FULL_FOR)
    }

    fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(Error::Full { .. }) = &outcome {
            *self.full.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
        }
        outcome
    }

    /// The way to the thread that does not keep it alive.
    pub(super) fn weak(&self) -> WeakSender {
        self.sender.as_ref().expect("the sender is there until the store is dropped").downgrade()
    }
}

/// [`EmbeddedStore::call`] for those who hold the thread weakly.
pub(super) async fn call<T: Send + 'static>(
    sender: Option<&mpsc::Sender<DatabaseCall>>,
    doing: &'static str,
    act: impl FnOnce(&mut StoreTransaction<'_>) -> Result<T, CallFault> + Send + 'static,
) -> Result<T> {
    let closed =
        || Error::Unavailable { doing: doing.to_owned(), source: Some("the embedded broker has ended".into()) };
    let (answer, answered) = oneshot::channel();
    let act: DatabaseCall = Box::new(move |session| act_and_answer(session, doing, act, answer));
    sender.ok_or_else(closed)?.send(act).await.map_err(|_| closed())?;
    answered.await.map_err(|_| closed())?
}

fn act_and_answer<T: Send + 'static>(
    session: &mut StoreTransaction<'_>,
    doing: &'static str,
    act: impl FnOnce(&mut StoreTransaction<'_>) -> Result<T, CallFault>,
    answer: oneshot::Sender<Result<T>>,
) -> (rusqlite::Result<()>, CallAnswer) {
    let (sql, outcome) = match act(session) {
        Ok(value) => (Ok(()), Ok(value)),
        Err(CallFault::Ours(error)) => (Ok(()), Err(error)),
        Err(CallFault::Sql(source)) => {
            let outcome = Err(TransactionFailure::from(&source).error(doing));
            (Err(source), outcome)
        }
    };
    let answer: CallAnswer = Box::new(move |committed| {
        // Nobody may be waiting any more: a call's future can be dropped at any time.
        let _ = answer.send(match committed {
            Ok(()) => outcome,
            Err(failure) => Err(failure.error(doing)),
        });
    });
    (sql, answer)
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread: does what was sent to it, and what is due by the clock, until nobody can send any more.
fn run(access: &DatabaseAccess, runtime: &tokio::runtime::Runtime, mut calls: mpsc::Receiver<DatabaseCall>) {
    // Whoever panics with the database in hand leaves it in an unknown state: nothing more is stored.
    const WHOLE: &str = "nobody panics with the database in hand";
    let mut batch = Vec::with_capacity(MOST_CALLS_AT_ONCE);
    loop {
        let sleep = access.database.lock().expect(WHOLE).as_mut().and_then(|database| {
            database.turn();
            database.sleep()
        });
        let received = runtime.block_on(async {
            match sleep {
                Some(sleep) => tokio::time::timeout(sleep, calls.recv_many(&mut batch, MOST_CALLS_AT_ONCE)).await.ok(),
                None => Some(calls.recv_many(&mut batch, MOST_CALLS_AT_ONCE).await),
            }
        });
        let mut borrowed = access.database.lock().expect(WHOLE);
        if received == Some(0) {
            if let Some(database) = borrowed.take() {
                database.end();
            }
            return;
        }
        if batch.len() > 2 {
            access.expect_crowd(CALLS_AFTER_CROWD);
        }
        let Some(database) = borrowed.as_mut() else { return };
        let mut answers = Vec::new();
        let mut waiting = batch.drain(..).peekable();
        while waiting.peek().is_some() {
            answers.push(database.transact(&mut waiting));
        }
        drop(waiting);
        // In this order: what is given up after the look says so itself.
        access.given_up.store(false, Ordering::SeqCst);
        if !calls.is_empty() {
            access.given_up.store(true, Ordering::SeqCst);
        }
        drop(borrowed);
        answers.into_iter().for_each(CallAnswers::send);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use std::thread::{self, ThreadId};

    use tempfile::TempDir;

    use super::super::folder;
    use super::*;

    fn store() -> (TempDir, EmbeddedStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(
            dir.path(),
            folder::lock(dir.path()).unwrap(),
            FileSizeLimit::on_disk_of(dir.path(), None),
        )
        .unwrap();
        (dir, store)
    }

    /// A short call that writes, and says where that was done.
    async fn short_call(store: &EmbeddedStore) -> ThreadId {
        let act = |session: &mut StoreTransaction<'_>| {
            session.sql.execute("update counters set value = value", [])?;
            Ok(thread::current().id())
        };
        store.short_call("see where this is done", act).await.unwrap()
    }

    fn poll_once(call: Pin<&mut impl Future>) {
        let polled = call.poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "nobody waits for the database but its thread");
    }

    #[tokio::test]
    async fn a_short_call_is_done_where_it_is_made_unless_the_database_is_at_work() {
        let (_dir, store) = store();
        let here = thread::current().id();
        assert_ne!(short_call(&store).await, here, "the first one begins the write-ahead log");
        // The thread may still be at what is due at the start.
        while short_call(&store).await != here {}

        let at_work = store.access.database.lock().unwrap();
        let mut call = Box::pin(short_call(&store));
        poll_once(call.as_mut());
        drop(at_work);
        assert_ne!(call.await, here);
        for _ in 0..CALLS_AFTER_CROWD {
            assert_ne!(short_call(&store).await, here);
        }
        while short_call(&store).await != here {}
    }

    #[tokio::test]
    async fn no_call_overtakes_one_that_its_caller_gave_up() {
        let (_dir, store) = store();
        let done = Arc::new(Mutex::new(Vec::new()));
        let note = |number: u32| {
            let done = done.clone();
            let act = move |_: &mut StoreTransaction<'_>| {
                done.lock().unwrap().push(number);
                Ok(())
            };
            store.short_call("note the order", act)
        };
        for round in 0..200 {
            short_call(&store).await;
            let at_work = store.access.database.lock().unwrap();
            let mut given_up = Box::pin(note(2 * round));
            poll_once(given_up.as_mut());
            drop(given_up);
            store.access.crowd.store(0, Ordering::Relaxed);
            drop(at_work);
            note(2 * round + 1).await.unwrap();
        }
        assert!(done.lock().unwrap().is_sorted());
    }
}
