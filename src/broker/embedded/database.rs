//! The SQLite file: does calls in transactions, tells the dispatcher (followers, queues, watchers) what came of them once they
//! are committed, and looks after the disk and what is due by the clock.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::dispatcher::Dispatcher;
use super::file_size::FileSizeLimit;
use super::session::{CallFault, RunHead, StoreTransaction};
use super::slack::SlackPages;
use super::store_change::StoreChange;
use super::{StoreOpenError, due, folder, schema};
use crate::broker::{Error, Result};
use crate::clock;
use crate::ids::RunId;

/// Sequences that are reserved at once: not every append needs to say in the file that its number is used.
const SEQUENCES: u64 = 1024;
/// Heads of runs kept in memory, some hundred bytes each; with one more all are read again as they are needed.
const HEADS: usize = 65_536;
/// How long a commit may stay in the system's hands only. A crash of the machine loses at most about this much.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long nothing is written before the write-ahead log is emptied, too: it still holds what was written over since.
const QUIET: Duration = Duration::from_secs(5);
/// How long a backup may read the main file before it is said that it does, and again after as long.
const HELD_LONG: Duration = Duration::from_secs(60);
/// The longest sleep while anything is due by the wall clock, which may be set while we sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A call: what to do inside the transaction, and how to answer once that is committed or has failed.
pub(super) type DatabaseCall = Box<dyn FnOnce(&mut StoreTransaction<'_>) -> (rusqlite::Result<()>, CallAnswer) + Send>;
/// How a call is answered.
pub(super) type CallAnswer = Box<dyn FnOnce(std::result::Result<(), &TransactionFailure>) + Send>;

/// The answers to the calls of one transaction, to be sent when the database is free again: whoever gets one may call anew at once.
pub(super) struct CallAnswers {
    committed: std::result::Result<(), TransactionFailure>,
    answers: Vec<CallAnswer>,
}

impl CallAnswers {
    /// Answers all calls.
    pub(super) fn send(self) {
        for answer in self.answers {
            answer(self.committed.as_ref().copied());
        }
    }
}

/// A failed transaction, in words that can be given to everyone who was in it.
pub(super) struct TransactionFailure {
    full: bool,
    text: String,
}

impl From<&rusqlite::Error> for TransactionFailure {
    fn from(source: &rusqlite::Error) -> Self {
        Self { full: source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull), text: source.to_string() }
    }
}

impl TransactionFailure {
    /// What is said to whoever was `doing` something.
    pub(super) fn error(&self, doing: &str) -> Error {
        if self.full {
            return Error::Full { what: format!("the store in the data folder, or its disk ({})", self.text) };
        }
        Error::Unavailable { doing: doing.to_owned(), source: Some(self.text.clone().into()) }
    }
}

/// All that works with the file; whoever has it is alone with it.
pub(super) struct EmbeddedDatabase {
    connection: Connection,
    dispatcher: Dispatcher,
    heads: HashMap<RunId, RunHead>,
    sequence: u64,
    /// Sequences up to this one are given out, or never will be after a restart: the file says so.
    reserved: u64,
    /// When the oldest commit that the disk may not have was made.
    dirty_since: Option<Instant>,
    /// Something was removed, and the write-ahead log may still hold it.
    forgets: bool,
    /// Since when the main file has everything that is in a write-ahead log that is not empty.
    leftover_since: Option<Instant>,
    /// When the next timer or expiry in the file is due, in milliseconds.
    next_due: Option<i64>,
    /// Taken while the main file is written; a backup that reads it holds it.
    still: File,
    /// Since when the main file could not be written because a backup reads it.
    held_since: Option<Instant>,
    /// The write-ahead log's file.
    write_ahead: PathBuf,
    /// How many pages it holds, and how many a large one has.
    pages: Arc<AtomicI32>,
    many_pages: i32,
    /// What may be left in pages of what was moved to others.
    slack: SlackPages,
    /// How large the file may become.
    room: FileSizeLimit,
    _lock: File,
}

impl EmbeddedDatabase {
    /// Opens the file in `dir`, and keeps `lock` for as long as it works with it.
    pub(super) fn open(dir: &Path, lock: File, mut room: FileSizeLimit) -> std::result::Result<Self, StoreOpenError> {
        let trouble = |source| StoreOpenError::Store { file: dir.join(schema::FILE), source };
        let unusable = |source| StoreOpenError::Folder { dir: dir.to_owned(), source };
        // Before there is anything to copy: whoever copies and finds no such file believes that nobody works here.
        let still = folder::stillness(dir).map_err(unusable)?;
        let write_ahead = dir.join(schema::WRITE_AHEAD);
        // A process that was killed has left it, and perhaps had just removed something.
        let was_killed = std::fs::metadata(&write_ahead).is_ok_and(|found| found.len() > 0);
        let mut connection = schema::open(dir, room.free())?;
        let pages = schema::count_pages(&mut connection).map_err(trouble)?;
        let many_pages = schema::pages_of_a_large_write_ahead(&connection).map_err(trouble)?;
        room.look(&connection).map_err(trouble)?;
        let slack = SlackPages::open(&dir.join(schema::FILE)).map_err(unusable)?;
        let sequence = connection
            .query_row("select value from counters where name = 'sequence'", [], |row| row.get(0))
            .map_err(trouble)?;
        let mut dispatcher = Dispatcher::new();
        for job in due::queued(&connection).map_err(trouble)? {
            dispatcher.tell(job, Instant::now());
        }
        Ok(Self {
            connection,
            dispatcher,
            heads: HashMap::new(),
            reserved: sequence,
            sequence,
            dirty_since: None,
            forgets: was_killed,
            leftover_since: was_killed.then(Instant::now),
            next_due: Some(0),
            still,
            held_since: None,
            write_ahead,
            pages,
            many_pages,
            slack,
            room,
            _lock: lock,
        })
    }

    /// Leaves everything in the main file, or, where a backup reads that now, in the write-ahead log as a killed process does.
    pub(super) fn end(mut self) {
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

    /// Whether there are commits that the disk may not have. If there are none, the next commit begins the write-ahead log anew,
    /// and SQLite synchronises that: it may take long.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty_since.is_some()
    }

    /// Does the calls in one transaction, commits it, tells the dispatcher, and returns the answers. A call that the file fails undoes
    /// the transaction and ends it; the calls after it are left for the next one.
    pub(super) fn transact(&mut self, calls: impl Iterator<Item = DatabaseCall>) -> CallAnswers {
        let mut answers = Vec::new();
        let outcome = self.commit(|session| {
            for act in calls {
                let (sql, answer) = act(session);
                answers.push(answer);
                sql?;
            }
            Ok(())
        });
        CallAnswers { committed: self.tell(outcome), answers }
    }

    /// Does one call in a transaction of its own.
    pub(super) fn transact_one<T>(
        &mut self,
        doing: &'static str,
        act: impl FnOnce(&mut StoreTransaction<'_>) -> Result<T, CallFault>,
    ) -> Result<T> {
        let mut answer = None;
        let outcome = self.commit(|session| {
            answer = Some(match act(session) {
                Ok(value) => Ok(value),
                Err(CallFault::Ours(error)) => Err(error),
                Err(CallFault::Sql(source)) => return Err(source),
            });
            Ok(())
        });
        self.tell(outcome).map_err(|failure| failure.error(doing))?;
        answer.expect("a transaction that is committed has done its work")
    }

    /// Tells the dispatcher what a transaction brought, or the log why it failed.
    fn tell(&mut self, outcome: rusqlite::Result<Vec<StoreChange>>) -> std::result::Result<(), TransactionFailure> {
        let changes = outcome.map_err(|source| {
            // What was undone in the file was written into the heads.
            self.heads.clear();
            tracing::error!(error = %source, "the embedded broker could not write its file");
            TransactionFailure::from(&source)
        })?;
        let now = Instant::now();
        for one in changes {
            self.dispatcher.tell(one, now);
        }
        // While a backup holds the main file, it is asked for by the clock only.
        if self.pages.load(Ordering::Relaxed) >= self.many_pages && self.held_since.is_none() {
            self.checkpoint();
        }
        Ok(())
    }

    /// Runs `act` in a transaction. A transaction that only read costs nothing to commit.
    fn commit(
        &mut self,
        act: impl FnOnce(&mut StoreTransaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Vec<StoreChange>> {
        self.room.look(&self.connection)?;
        // Prepared once: to read these few words would take as long as to do what they say.
        self.connection.prepare_cached("begin")?.execute([])?;
        let outcome = self.act_and_commit(act);
        if outcome.is_err() && !self.connection.is_autocommit() {
            self.connection.prepare_cached("rollback")?.execute([])?;
        }
        self.room.settle(&self.connection)?;
        outcome
    }

    fn act_and_commit(
        &mut self,
        act: impl FnOnce(&mut StoreTransaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Vec<StoreChange>> {
        let before = self.connection.total_changes();
        let mut session = StoreTransaction {
            sql: &self.connection,
            now: clock::Clock::now(&clock::SystemClock),
            changes: Vec::new(),
            heads: &mut self.heads,
            sequence: &mut self.sequence,
            appended: 0,
            forgets: false,
            room: &mut self.room,
        };
        act(&mut session)?;
        let StoreTransaction { changes, appended, forgets, .. } = session;
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
        self.forgets |= forgets && written > 0;
        if written > appended {
            // A timer or an expiry may be among what was written; whether it is the first is cheap to ask.
            self.next_due = due::next(&self.connection)?;
        }
        Ok(changes)
    }

    /// Does what is due by the clock: deliveries that nobody settled, timers, expired entries, the disk.
    pub(super) fn turn(&mut self) {
        self.dispatcher.turn(Instant::now());
        let now = clock::Clock::now(&clock::SystemClock).as_millisecond();
        if self.next_due.is_some_and(|due| due <= now) {
            match self.commit(due::ripen) {
                Ok(changes) => changes.into_iter().for_each(|one| self.dispatcher.tell(one, Instant::now())),
                Err(source) => {
                    tracing::error!(error = %source, "the embedded broker could not fire its timers");
                    // Not at once again: a full disk would keep this thread busy for nothing.
                    self.next_due = Some(now + SYNC_EVERY.as_millis() as i64);
                }
            }
            self.next_due = due::next(&self.connection).unwrap_or(self.next_due);
        }
        if self.dirty_since.is_none() && self.leftover_since.is_some_and(|since| since.elapsed() >= QUIET) {
            self.forgets = true;
            self.dirty_since = self.leftover_since;
        }
        if self.dirty_since.is_some_and(|since| since.elapsed() >= SYNC_EVERY) {
            self.checkpoint();
        }
    }

    /// How long there is nothing to do without a call; `None`: for ever.
    pub(super) fn sleep(&self) -> Option<Duration> {
        let now = Instant::now();
        let sync = self.dirty_since.map(|since| (since + SYNC_EVERY).saturating_duration_since(now));
        let leftover = self.leftover_since.filter(|_| self.dirty_since.is_none());
        let emptying = leftover.map(|since| (since + QUIET).saturating_duration_since(now));
        let unsettled = self.dispatcher.next_deadline().map(|at| at.saturating_duration_since(now));
        let due = self.next_due.map(|due| {
            let millis = due - clock::Clock::now(&clock::SystemClock).as_millisecond();
            Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST_SLEEP)
        });
        [sync, emptying, unsettled, due].into_iter().flatten().min()
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
    /// through SQLite, so that a passive checkpoint is always a whole one. The log is emptied only if something was removed:
    /// to write over it is cheaper than to let it grow again. What was left in pages is overwritten then, too.
    fn write_main_file(&mut self) {
        if self.dirty_since.take().is_none() {
            return;
        }
        let how = if self.forgets { "truncate" } else { "passive" };
        self.slack.note(&self.write_ahead);
        let outcome =
            self.connection.query_row(&format!("pragma wal_checkpoint({how})"), [], |row| row.get::<_, i64>(0));
        match outcome {
            // Somebody else reads the file.
            Ok(1) if self.forgets => self.dirty_since = Some(Instant::now()),
            Ok(_) if self.forgets => {
                self.forgets = false;
                self.leftover_since = None;
                self.overwrite_slack();
            }
            Ok(_) => self.leftover_since = Some(Instant::now()),
            Err(source) => {
                tracing::error!(error = %source, "the embedded broker could not bring its file to the disk");
                self.dirty_since = Some(Instant::now());
            }
        }
    }

    /// Overwrites what was left in pages, and lets SQLite read them anew.
    fn overwrite_slack(&mut self) {
        let overwritten = match self.slack.overwrite() {
            Ok(0) => return,
            Ok(_) => self.connection.execute_batch("pragma shrink_memory").map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = overwritten {
            tracing::error!("the embedded broker could not overwrite what was removed: {error}");
        }
    }

    /// What was committed reaches the disk also while the main file must not be written.
    fn sync_write_ahead(&self) {
        if let Err(error) = File::open(&self.write_ahead).and_then(|file| file.sync_data()) {
            tracing::error!(%error, "the embedded broker could not bring its commits to the disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Bucket;

    #[test]
    fn lines_that_expire_together_are_removed_in_several_transactions() {
        const LINES: i64 = 700;
        let dir = tempfile::tempdir().unwrap();
        let lock = folder::lock(dir.path()).unwrap();
        let room = FileSizeLimit::on_disk_of(dir.path(), None);
        let mut database = EmbeddedDatabase::open(dir.path(), lock, room).unwrap();
        let put = |session: &mut StoreTransaction<'_>| {
            let line = "insert into catalogue (shelf, key, value, put, expires) values (?1, ?2, x'', 0, 1)";
            for number in 0..LINES {
                session.sql.execute(line, (Bucket::Runs.name(), format!("ann.{number}")))?;
            }
            Ok(())
        };
        database.transact_one("put lines", put).unwrap();
        let count = "select count(*) from catalogue";
        let mut left = vec![LINES];
        while *left.last().unwrap() > 0 {
            database.turn();
            left.push(database.connection.query_row(count, [], |row| row.get(0)).unwrap());
        }
        assert_eq!(left, [LINES, LINES - 512, 0]);
        assert_eq!(database.next_due, None);
    }
}
