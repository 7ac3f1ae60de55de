//! The keeper of the file, and the thread that it works on. Calls are pieces of work sent to the thread; it does all that wait in
//! one transaction, commits, tells the house (followers, queues, watchers) what happened, and then answers.
//!
//! A short call that finds nobody at work borrows the keeper and has it work right there: two changes of threads, there and
//! back, take longer than to store a record. Where many call at once, the thread is quicker, for they share its commits.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot};

use super::house::House;
use super::session::{Fault, Head, Session};
use super::told::Told;
use super::{OpenError, due, folder, schema};
use crate::broker::{Error, Result};
use crate::clock;
use crate::ids::RunId;

/// Calls that may wait for the thread; one more waits in its own task. At a few microseconds each they are done in milliseconds.
const WAITING_CALLS: usize = 4096;
/// Calls in one transaction: enough to pay for the commit, few enough that the first does not wait long.
const BATCH: usize = 512;
/// After a sign that many call at once, or that the disk is slow, so many short calls go to the thread before one tries again to
/// be done where it is made.
const CROWD: u32 = 8;
/// A commit that took longer than this is none to be waited for by whatever else its caller's thread has to do.
const SLOW_COMMIT: Duration = Duration::from_millis(1);
/// Sequences that are reserved at once: not every append needs to say in the file that its number is used.
const SEQUENCES: u64 = 1024;
/// Heads of runs kept in memory, some hundred bytes each; with one more all are read again as they are needed.
const HEADS: usize = 65_536;
/// How long a commit may stay in the system's hands only. A crash of the machine loses at most about this much.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long a backup may read the main file before it is said that it does, and again after as long.
const HELD_LONG: Duration = Duration::from_secs(60);
/// The longest sleep while anything is due by the wall clock, which may be set while we sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The way to the keeper. Dropping the last one ends its thread, and waits for that: the folder is free afterwards.
pub(super) struct Store {
    desk: Arc<Desk>,
    sender: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the keeper sits: its thread has it while it works, and so has a caller for a short call.
struct Desk {
    /// `None` once the thread has ended.
    keeper: Mutex<Option<Keeper>>,
    /// How many short calls are yet to go to the thread.
    crowd: AtomicU32,
}

impl Desk {
    /// The keeper, for a short call, if nobody else is likely to want it.
    fn if_quiet(&self) -> Option<MutexGuard<'_, Option<Keeper>>> {
        if self.crowd.load(Ordering::Relaxed) > 0 {
            // One too many or too few is of no importance.
            let _ = self.crowd.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |crowd| crowd.checked_sub(1));
            return None;
        }
        let keeper = self.keeper.try_lock().ok();
        if keeper.is_none() {
            self.is_crowded();
        }
        keeper
    }

    fn is_crowded(&self) {
        self.crowd.store(CROWD, Ordering::Relaxed);
    }
}

/// The way to the thread for streams and deliveries, which must not keep the broker alive.
pub(super) type WeakSender = mpsc::WeakSender<Work>;

/// A call: what to do inside the transaction, and how to answer once that is committed or has failed.
pub(super) struct Work {
    act: Act,
}
type Act = Box<dyn FnOnce(&mut Session<'_>) -> (rusqlite::Result<()>, Answer) + Send>;
type Answer = Box<dyn FnOnce(std::result::Result<(), &Failure>) + Send>;

/// A failed transaction, in words that can be given to everyone who was in it.
struct Failure {
    full: bool,
    text: String,
}

impl Store {
    /// Opens the file in `dir` and starts its thread, which keeps `lock` until it ends.
    pub(super) fn open(dir: &Path, lock: File) -> Result<Self, OpenError> {
        let trouble = |source| OpenError::Store { file: dir.join(schema::FILE), source };
        let unusable = |source| OpenError::Folder { dir: dir.to_owned(), source };
        // Before there is anything to copy: whoever copies and finds no such file believes that nobody works here.
        let still = folder::stillness(dir).map_err(unusable)?;
        let connection = schema::open(dir)?;
        let (sender, calls) = mpsc::channel(WAITING_CALLS);
        let sequence = connection
            .query_row("select value from counters where name = 'sequence'", [], |row| row.get(0))
            .map_err(trouble)?;
        let mut house = House::new();
        for job in due::queued(&connection).map_err(trouble)? {
            house.tell(job, Instant::now());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(unusable)?;
        let keeper = Keeper {
            connection,
            house,
            heads: HashMap::new(),
            reserved: sequence,
            sequence,
            dirty_since: None,
            next_due: Some(0),
            still,
            held_since: None,
            write_ahead: dir.join(schema::WRITE_AHEAD),
            wakes: None,
            _lock: lock,
        };
        let desk = Arc::new(Desk { keeper: Mutex::new(Some(keeper)), crowd: AtomicU32::new(0) });
        let thread = std::thread::Builder::new()
            .name("embedded-store".to_owned())
            .spawn({
                let desk = desk.clone();
                move || run(&desk, &runtime, calls)
            })
            .map_err(unusable)?;
        Ok(Self { desk, sender: Some(sender), thread: Some(thread) })
    }

    /// [`Store::call`] for what takes some microseconds: done right here if the keeper is free.
    pub(super) async fn short_call<T: Send + 'static>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&mut Session<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        match self.right_here(doing, act) {
            Ok(outcome) => outcome,
            Err(act) => self.call(doing, act).await,
        }
    }

    /// Has the keeper do `act` on this thread, or gives it back.
    fn right_here<T, A>(&self, doing: &'static str, act: A) -> std::result::Result<Result<T>, A>
    where
        A: FnOnce(&mut Session<'_>) -> Result<T, Fault>,
    {
        let Some(mut borrowed) = self.desk.if_quiet() else { return Err(act) };
        let Some(keeper) = borrowed.as_mut() else { return Err(act) };
        let begun = Instant::now();
        let outcome = keeper.transact_one(doing, act);
        if begun.elapsed() > SLOW_COMMIT {
            self.desk.is_crowded();
        }
        let sleeps_too_long = keeper.sleeps_too_long();
        drop(borrowed);
        if sleeps_too_long && let Some(sender) = &self.sender {
            // A full queue wakes it as well.
            let _ = sender.try_send(Work { act: Box::new(|_| (Ok(()), Box::new(|_| ()))) });
        }
        Ok(outcome)
    }

    /// Has the thread do `act` inside a transaction, and returns what came of it once that is committed. `doing` names the
    /// call in an error.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        act: impl FnOnce(&mut Session<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        call(self.sender.as_ref(), doing, act).await
    }

    /// The way to the thread that does not keep it alive.
    pub(super) fn weak(&self) -> WeakSender {
        self.sender.as_ref().expect("the sender is there until the store is dropped").downgrade()
    }
}

/// [`Store::call`] for those who hold the thread weakly.
pub(super) async fn call<T: Send + 'static>(
    sender: Option<&mpsc::Sender<Work>>,
    doing: &'static str,
    act: impl FnOnce(&mut Session<'_>) -> Result<T, Fault> + Send + 'static,
) -> Result<T> {
    let closed =
        || Error::Unavailable { doing: doing.to_owned(), source: Some("the embedded broker has ended".into()) };
    let (answer, answered) = oneshot::channel();
    let work = Work { act: Box::new(move |session| act_and_answer(session, doing, act, answer)) };
    sender.ok_or_else(closed)?.send(work).await.map_err(|_| closed())?;
    answered.await.map_err(|_| closed())?
}

fn act_and_answer<T: Send + 'static>(
    session: &mut Session<'_>,
    doing: &'static str,
    act: impl FnOnce(&mut Session<'_>) -> Result<T, Fault>,
    answer: oneshot::Sender<Result<T>>,
) -> (rusqlite::Result<()>, Answer) {
    let (sql, outcome) = match act(session) {
        Ok(value) => (Ok(()), Ok(value)),
        Err(Fault::Ours(error)) => (Ok(()), Err(error)),
        Err(Fault::Sql(source)) => {
            let outcome = Err(Failure::from(&source).error(doing));
            (Err(source), outcome)
        }
    };
    let answer: Answer = Box::new(move |committed| {
        // Nobody may be waiting any more: a call's future can be dropped at any time.
        let _ = answer.send(match committed {
            Ok(()) => outcome,
            Err(failure) => Err(failure.error(doing)),
        });
    });
    (sql, answer)
}

impl Drop for Store {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl From<&rusqlite::Error> for Failure {
    fn from(source: &rusqlite::Error) -> Self {
        Self { full: source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull), text: source.to_string() }
    }
}

impl Failure {
    fn error(&self, doing: &str) -> Error {
        if self.full {
            return Error::Full { what: format!("the disk of the data folder ({})", self.text) };
        }
        Error::Unavailable { doing: doing.to_owned(), source: Some(self.text.clone().into()) }
    }
}

/// The thread's own state.
struct Keeper {
    connection: Connection,
    house: House,
    heads: HashMap<RunId, Head>,
    sequence: u64,
    /// Sequences up to this one are given out, or never will be after a restart: the file says so.
    reserved: u64,
    /// When the oldest commit that the disk may not have was made.
    dirty_since: Option<Instant>,
    /// When the next timer or expiry in the file is due, in milliseconds.
    next_due: Option<i64>,
    /// Taken while the main file is written; a backup that reads it holds it.
    still: File,
    /// Since when the main file could not be written because a backup reads it.
    held_since: Option<Instant>,
    /// The write-ahead log's file.
    write_ahead: PathBuf,
    /// When the thread wakes by itself, if it sleeps; `None`: only when it is called.
    wakes: Option<Instant>,
    _lock: File,
}

/// The thread: does what was sent to it, and what is due by the clock, until nobody can send any more.
fn run(desk: &Desk, runtime: &tokio::runtime::Runtime, mut calls: mpsc::Receiver<Work>) {
    // Whoever panics with the keeper in hand leaves it in an unknown state: nothing more is stored.
    const WHOLE: &str = "nobody panics with the keeper in hand";
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let sleep = desk.keeper.lock().expect(WHOLE).as_mut().and_then(Keeper::plan_sleep);
        let received = runtime.block_on(async {
            match sleep {
                Some(sleep) => tokio::time::timeout(sleep, calls.recv_many(&mut batch, BATCH)).await.ok(),
                None => Some(calls.recv_many(&mut batch, BATCH).await),
            }
        });
        let mut borrowed = desk.keeper.lock().expect(WHOLE);
        if received == Some(0) {
            if let Some(keeper) = borrowed.take() {
                keeper.end();
            }
            return;
        }
        if batch.len() > 2 {
            desk.is_crowded();
        }
        let Some(keeper) = borrowed.as_mut() else { return };
        let mut waiting = batch.drain(..).peekable();
        while waiting.peek().is_some() {
            keeper.transact(&mut waiting);
        }
        drop(waiting);
        keeper.turn();
    }
}

impl Keeper {
    /// Leaves everything in the main file, or, where a backup reads that now, in the write-ahead log as a killed process does.
    fn end(mut self) {
        match self.still.try_lock() {
            // Held until the connection is closed, which writes the main file, too.
            Ok(()) => self.write_main_file(),
            Err(_) => {
                self.sync_write_ahead();
                let kept = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                if let Err(error) = kept {
                    tracing::error!(%error, "the embedded broker may disturb the backup that is being made");
                }
            }
        }
    }

    /// Does the calls in one transaction, commits it, tells the house and answers. A call that the file fails undoes the
    /// transaction and ends it; the calls after it are left for the next one.
    fn transact(&mut self, calls: impl Iterator<Item = Work>) {
        let mut answers = Vec::new();
        let outcome = self.commit(|session| {
            for work in calls {
                let (sql, answer) = (work.act)(session);
                answers.push(answer);
                sql?;
            }
            Ok(())
        });
        let committed = self.tell(outcome);
        for answer in answers {
            answer(committed.as_ref().copied());
        }
    }

    /// Does one call in a transaction of its own.
    fn transact_one<T>(
        &mut self,
        doing: &'static str,
        act: impl FnOnce(&mut Session<'_>) -> Result<T, Fault>,
    ) -> Result<T> {
        let mut answer = None;
        let outcome = self.commit(|session| {
            answer = Some(match act(session) {
                Ok(value) => Ok(value),
                Err(Fault::Ours(error)) => Err(error),
                Err(Fault::Sql(source)) => return Err(source),
            });
            Ok(())
        });
        self.tell(outcome).map_err(|failure| failure.error(doing))?;
        answer.expect("a transaction that is committed has done its work")
    }

    /// Tells the house what a transaction brought, or the log why it failed.
    fn tell(&mut self, outcome: rusqlite::Result<Vec<Told>>) -> std::result::Result<(), Failure> {
        let told = outcome.map_err(|source| {
            // What was undone in the file was written into the heads.
            self.heads.clear();
            tracing::error!(error = %source, "the embedded broker could not write its file");
            Failure::from(&source)
        })?;
        let now = Instant::now();
        for one in told {
            self.house.tell(one, now);
        }
        Ok(())
    }

    /// Runs `act` in a transaction. A transaction that only read costs nothing to commit.
    fn commit(&mut self, act: impl FnOnce(&mut Session<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<Vec<Told>> {
        // Prepared once: to read these few words would take as long as to do what they say.
        self.connection.prepare_cached("begin")?.execute([])?;
        let outcome = self.act_and_commit(act);
        if outcome.is_err() && !self.connection.is_autocommit() {
            self.connection.prepare_cached("rollback")?.execute([])?;
        }
        outcome
    }

    fn act_and_commit(
        &mut self,
        act: impl FnOnce(&mut Session<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Vec<Told>> {
        let before = self.connection.total_changes();
        let mut session = Session {
            sql: &self.connection,
            now: clock::Clock::now(&clock::SystemClock),
            told: Vec::new(),
            heads: &mut self.heads,
            sequence: &mut self.sequence,
            appended: 0,
        };
        act(&mut session)?;
        let Session { told, appended, .. } = session;
        if self.heads.len() > HEADS {
            self.heads.clear();
        }
        let mut reserved = self.reserved;
        if self.sequence > reserved {
            reserved = self.sequence + SEQUENCES;
            let reserve = "update counters set value = ?1 where name = 'sequence'";
            self.connection.prepare_cached(reserve)?.execute([reserved])?;
        }
        let written = self.connection.total_changes() - before;
        self.connection.prepare_cached("commit")?.execute([])?;
        self.reserved = reserved;
        if written > 0 {
            self.dirty_since.get_or_insert_with(Instant::now);
        }
        if written > appended {
            // A timer or an expiry may be among what was written; whether it is the first is cheap to ask.
            self.next_due = due::next(&self.connection)?;
        }
        Ok(told)
    }

    /// Does what is due by the clock: deliveries that nobody settled, timers, expired entries, the disk.
    fn turn(&mut self) {
        self.house.turn(Instant::now());
        let now = clock::Clock::now(&clock::SystemClock).as_millisecond();
        if self.next_due.is_some_and(|due| due <= now) {
            match self.commit(due::ripen) {
                Ok(told) => told.into_iter().for_each(|one| self.house.tell(one, Instant::now())),
                Err(source) => {
                    tracing::error!(error = %source, "the embedded broker could not fire its timers");
                    // Not at once again: a full disk would keep this thread busy for nothing.
                    self.next_due = Some(now + SYNC_EVERY.as_millis() as i64);
                }
            }
            self.next_due = due::next(&self.connection).unwrap_or(self.next_due);
        }
        if self.dirty_since.is_some_and(|since| since.elapsed() >= SYNC_EVERY) {
            self.checkpoint();
        }
    }

    /// How long the thread may sleep now, which is noted.
    fn plan_sleep(&mut self) -> Option<Duration> {
        let sleep = self.sleep();
        self.wakes = sleep.map(|sleep| Instant::now() + sleep);
        sleep
    }

    /// Whether there is something to do before the thread wakes by itself.
    fn sleeps_too_long(&self) -> bool {
        let Some(sleep) = self.sleep() else { return false };
        self.wakes.is_none_or(|wakes| Instant::now() + sleep < wakes)
    }

    /// How long there is nothing to do without a call; `None`: for ever.
    fn sleep(&self) -> Option<Duration> {
        let now = Instant::now();
        let sync = self.dirty_since.map(|since| (since + SYNC_EVERY).saturating_duration_since(now));
        let unsettled = self.house.next_deadline().map(|at| at.saturating_duration_since(now));
        let due = self.next_due.map(|due| {
            let millis = due - clock::Clock::now(&clock::SystemClock).as_millisecond();
            Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST_SLEEP)
        });
        [sync, unsettled, due].into_iter().flatten().min()
    }

    /// Brings everything to the disk, and into the main file unless a backup reads that now.
    fn checkpoint(&mut self) {
        match self.still.try_lock() {
            Ok(()) => {
                self.held_since = None;
                self.write_main_file();
                if let Err(error) = self.still.unlock() {
                    tracing::error!(%error, "no backup can be made while this process works");
                }
            }
            Err(TryLockError::WouldBlock) => {
                if self.held_since.get_or_insert_with(Instant::now).elapsed() >= HELD_LONG {
                    tracing::warn!(
                        "a backup has held the embedded broker's file for a minute; what is written lies beside it"
                    );
                    self.held_since = None;
                }
                self.sync_write_ahead();
                self.dirty_since = Some(Instant::now());
            }
            Err(TryLockError::Error(error)) => {
                tracing::error!(%error, "the embedded broker could not ask whether a backup is being made");
                self.sync_write_ahead();
                self.dirty_since = Some(Instant::now());
            }
        }
    }

    /// Writes what is in the write-ahead log into the main file, synchronises both, and starts the log anew. Nobody else reads
    /// through SQLite, so that a passive checkpoint is always a whole one.
    fn write_main_file(&mut self) {
        if self.dirty_since.take().is_none() {
            return;
        }
        let outcome = self.connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())).optional();
        if let Err(source) = outcome {
            tracing::error!(error = %source, "the embedded broker could not bring its file to the disk");
            self.dirty_since = Some(Instant::now());
        }
    }

    /// What was committed reaches the disk also while the main file must not be written.
    fn sync_write_ahead(&self) {
        if let Err(error) = File::open(&self.write_ahead).and_then(|file| file.sync_data()) {
            tracing::error!(%error, "the embedded broker could not bring its commits to the disk");
        }
    }
}
