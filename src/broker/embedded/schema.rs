//! The file's tables, and its settings.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::{StoreOpenError, folder, lines};
use crate::broker::Bucket;

/// The name of the file in a data folder.
pub(super) const FILE: &str = "store.sqlite";
/// The name of its write-ahead log, as SQLite forms it.
pub(super) const WRITE_AHEAD: &str = "store.sqlite-wal";

/// The size in bytes of a write-ahead log that is brought into the main file before its second is over: more than what a quick
/// machine writes in that second. As much of the file is kept, which SQLite writes over from its beginning: what is cut must be
/// allocated again.
pub(super) const LARGE_WRITE_AHEAD: u64 = 256 << 20;

/// The format that this program writes. A file with a higher number is refused; a lower one is brought up here.
const FORMAT: i64 = 2;

/// "FAgy": tells `file` and us that the file is ours.
const APPLICATION_ID: i64 = 0x4641_6779;

/// Sequences are shared by all runs and never used twice, even after a purge: `counters` has one that none was above.
/// Records lie in the order in which they were written, and the runs that are written now lie together in their index:
/// a commit of many runs' records touches few pages.
/// Jobs know nothing of who holds them: after a restart all that are left are delivered again.
const TABLES: &str = "
    create table counters (name text primary key, value integer not null) without rowid;
    insert into counters values ('sequence', 0);
    create table runs (no integer primary key, run text not null unique);
    create table records (seq integer primary key, run integer not null references runs (no), at integer not null,
        payload blob not null);
    create index records_of_run on records (run);
    create table inbox (run text not null, slot text not null, seq integer not null, at integer not null,
        payload blob not null, primary key (run, slot)) without rowid;
    create table jobs (id integer primary key autoincrement, workflow text not null, job text not null);
    create table timers (run text primary key, workflow text not null, job text not null, due integer not null)
        without rowid;
    create index timers_due on timers (due);
    create table dedup (id text primary key, until integer not null) without rowid;
    create index dedup_until on dedup (until);
    create table catalogue (shelf text not null, key text not null, value blob not null, put integer not null,
        expires integer, primary key (shelf, key)) without rowid;
    create index catalogue_expires on catalogue (expires) where expires is not null;
";

/// Made in older files too; an older program that opens the file knows nothing of them, and does nothing wrong by that.
const LATER_TABLES: &str = "
    create table if not exists tombstones (run text primary key, until integer not null) without rowid;
    create index if not exists tombstones_until on tombstones (until);
    create table if not exists inbox_expiries (run text not null, slot text not null, until integer not null,
        primary key (run, slot)) without rowid;
    create index if not exists inbox_expiries_until on inbox_expiries (until);
";

/// Refuses a store that is not ours (`Err`: in words), or that a newer version wrote.
pub(super) fn check_ours(connection: &Connection, dir: &Path) -> Result<(), Result<StoreOpenError, String>> {
    let pragma = |name: &str| -> Result<i64, Result<StoreOpenError, String>> {
        connection.query_row(&format!("pragma {name}"), [], |row| row.get(0)).map_err(|source| Err(source.to_string()))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Err(Err("it is no store of this program".to_owned()));
    }
    match pragma("user_version")? {
        found if found > FORMAT => Err(Ok(StoreOpenError::Newer { dir: dir.to_owned(), found, known: FORMAT })),
        _ => Ok(()),
    }
}

/// Opens the file in `dir`, making its tables if it is new, and bringing it up to this format if its disk has the room. `free`: so many
/// bytes, if that can be found out.
pub(super) fn open(dir: &Path, free: Option<u64>) -> Result<Connection, StoreOpenError> {
    let file = dir.join(FILE);
    let trouble = |source| StoreOpenError::Store { file: file.clone(), source };
    let connection = Connection::open(&file).map_err(trouble)?;
    folder::keep_to_owner(&file).map_err(|source| StoreOpenError::Folder { dir: dir.to_owned(), source })?;
    settings(&connection).map_err(trouble)?;
    let found: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).map_err(trouble)?;
    if found > FORMAT {
        return Err(StoreOpenError::Newer { dir: dir.to_owned(), found, known: FORMAT });
    }
    if found == 0 {
        let script =
            format!("begin; {TABLES} pragma application_id = {APPLICATION_ID}; pragma user_version = 1; commit;");
        connection.execute_batch(&script).map_err(trouble)?;
    }
    if found < FORMAT {
        let runs = lines::count(&connection).map_err(trouble)?;
        check_room(dir, runs, free)?;
        index_lines(&connection, runs).map_err(trouble)?;
    }
    connection.execute_batch(LATER_TABLES).map_err(trouble)?;
    // Whoever worked here is gone with the process that held the folder.
    connection.execute("delete from catalogue where shelf = ?1", [Bucket::Workers.name()]).map_err(trouble)?;
    Ok(connection)
}

/// Refuses to make an index for which the disk has no room.
fn check_room(dir: &Path, runs: u64, free: Option<u64>) -> Result<(), StoreOpenError> {
    let needed = runs.saturating_mul(lines::BYTES_OF_A_RUN);
    match free {
        Some(free) if free < needed => Err(StoreOpenError::NoRoom { dir: dir.to_owned(), runs, needed, free }),
        _ => Ok(()),
    }
}

/// Brings a file of format 1 to format 2, which has an index of the lists. A program of format 1 would let the index fall behind.
fn index_lines(connection: &Connection, runs: u64) -> rusqlite::Result<()> {
    if runs > 0 {
        tracing::info!(runs, "the store is brought to the format of this version: its runs get an index");
    }
    connection.execute_batch(&format!("begin; {}", lines::TABLES))?;
    lines::fill(connection)?;
    connection.execute_batch(&format!("pragma user_version = {FORMAT}; commit;"))?;
    if runs > 0 {
        tracing::info!(runs, "the store has the format of this version");
    }
    Ok(())
}

/// Keeps count of the pages that the write-ahead log holds since it was last brought into the main file.
pub(super) fn count_pages(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicI32>> {
    let pages = Arc::new(AtomicI32::new(0));
    let counted = pages.clone();
    connection.wal_hook(Some(move |_: &mut Wal, pages| {
        counted.store(pages, Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(pages)
}

/// How many pages a large write-ahead log holds.
pub(super) fn pages_of_a_large_write_ahead(connection: &Connection) -> rusqlite::Result<i32> {
    let page: u64 = connection.query_row("pragma page_size", [], |row| row.get(0))?;
    Ok(i32::try_from(LARGE_WRITE_AHEAD / page).unwrap_or(i32::MAX))
}

/// Lets the file grow to so many bytes and no further; none: as far as SQLite can.
pub(super) fn limit(connection: &Connection, max_bytes: Option<u64>) -> rusqlite::Result<()> {
    let page: u64 = connection.query_row("pragma page_size", [], |row| row.get(0))?;
    let pages = (max_bytes.unwrap_or(u64::MAX) / page).clamp(1, u64::from(u32::MAX - 1));
    connection.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(()))
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    // One process holds the folder's lock, so that the write-ahead log needs no shared memory.
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // What is removed is overwritten: somebody's words, or the envelope of a password, are not to be found in the file's free
    // pages.
    connection.pragma_update(None, "secure_delete", true)?;
    // A commit reaches the system, which a killed process cannot undo; the disk follows with the next checkpoint.
    connection.pragma_update(None, "synchronous", "normal")?;
    // The store's thread checkpoints by the clock instead, see `database.rs`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // A very large one is cut when it begins anew: it would lie beside the store for ever.
    connection.pragma_update(None, "journal_size_limit", LARGE_WRITE_AHEAD)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
