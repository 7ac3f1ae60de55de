//! What a call to the database works with.

use std::collections::HashMap;

use rusqlite::Connection;

use super::file_size::FileSizeLimit;
use super::store_change::StoreChange;
use crate::broker::Error;
use crate::clock::Timestamp;
use crate::ids::RunId;

/// What a call may touch: the open transaction, and what is to be told once it is committed.
pub(super) struct StoreTransaction<'a> {
    /// The open transaction.
    pub(super) sql: &'a Connection,
    /// The time of this transaction.
    pub(super) now: Timestamp,
    /// What the dispatcher hears after the commit, in order.
    pub(super) changes: Vec<StoreChange>,
    /// The heads of runs that were written lately.
    pub(super) heads: &'a mut HashMap<RunId, RunHead>,
    /// The last sequence that was given out.
    pub(super) sequence: &'a mut u64,
    /// How many records were appended.
    pub(super) appended: u64,
    /// Something was removed that must not be found in the files any more.
    pub(super) forgets: bool,
    /// How large the file may become.
    pub(super) room: &'a mut FileSizeLimit,
}

/// What an append must know of its run.
#[derive(Clone, Copy)]
pub(super) struct RunHead {
    /// Its number in the file.
    pub(super) no: i64,
    /// The sequence of its last record; 0 if it has none.
    pub(super) last: u64,
}

/// Why a call came to nothing: its own answer, or the file's, which undoes the whole transaction.
pub(super) enum CallFault {
    /// The call's own answer.
    Ours(Error),
    /// The file's.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for CallFault {
    fn from(source: rusqlite::Error) -> Self {
        CallFault::Sql(source)
    }
}
impl From<Error> for CallFault {
    fn from(error: Error) -> Self {
        CallFault::Ours(error)
    }
}

impl StoreTransaction<'_> {
    /// The next sequence, never used before.
    pub(super) fn next_sequence(&mut self) -> u64 {
        *self.sequence += 1;
        *self.sequence
    }

    /// The time of this transaction in milliseconds, as the file keeps it.
    pub(super) fn now_millis(&self) -> i64 {
        self.now.as_millisecond()
    }
}
