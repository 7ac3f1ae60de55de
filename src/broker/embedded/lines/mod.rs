//! The index of the lists: what pages are found by, changed in the transaction that changes a line in the catalogue. All of it can
//! be made anew from there.
//!
//! A line's `place` says when its run was created, in nanoseconds, moved by a few where another run has that place: it is the order
//! of the lists, and every index ends in it.

use rusqlite::Connection;

use crate::broker::Bucket;
use crate::protocol::run_line::LineStatus;

mod follow;
mod page;
mod questions;
mod row;
mod totals;

pub(super) use follow::follow_catalogue;
pub(super) use page::{count_open, line, page};
pub(super) use questions::questions;
pub(super) use totals::totals;

/// The index's tables. `status` is that of [`status_code`]; `workflow` is empty where none is known. In `run_totals` a row is what some
/// runs come to: those of one status, of one workflow or of one user.
pub(super) const TABLES: &str = "
    create table run_lines (place integer primary key, created integer not null, key text not null unique,
        run text not null, owner text not null, status integer not null, workflow text not null, user text, worker text,
        title text, titled integer not null, reason text, open integer not null, tokens integer not null,
        cost integer not null, estimated integer not null);
    create index run_lines_of_owner on run_lines (owner, status);
    create index run_lines_by_status on run_lines (status);
    create index run_lines_of_workflow on run_lines (workflow, status);
    create index run_lines_of_both on run_lines (owner, workflow, status);
    create index run_lines_of_run on run_lines (run);
    create table run_words (word text not null, place integer not null, owner text not null, primary key (word, place))
        without rowid;
    create table run_questions (asked integer not null, question text not null, place integer not null, owner text not null,
        primary key (asked, question)) without rowid;
    create index run_questions_of_owner on run_questions (owner, asked, question);
    create index run_questions_of_line on run_questions (place);
    create table run_totals (kind integer not null, name text not null, runs integer not null, tokens integer not null,
        cost integer not null, estimated integer not null, primary key (kind, name)) without rowid;
    create index run_totals_dearest on run_totals (kind, cost desc, tokens desc, runs desc);
";

/// About how many bytes a run takes in the index, and as many in the write-ahead log while the index is made.
pub(super) const BYTES_OF_A_RUN: u64 = 2 * 2048;

/// How many lines the catalogue has.
pub(super) fn count(sql: &Connection) -> rusqlite::Result<u64> {
    let lines = "select count(*) from catalogue where shelf = ?1 and key like '%.%' and key not like '%.%.%'";
    sql.query_row(lines, [Bucket::Runs.name()], |row| row.get(0))
}

/// Makes the index of all lines that the catalogue has.
pub(super) fn fill(sql: &Connection) -> rusqlite::Result<()> {
    let mut statement = sql.prepare("select key from catalogue where shelf = ?1")?;
    let mut rows = statement.query([Bucket::Runs.name()])?;
    while let Some(row) = rows.next()? {
        follow_catalogue(sql, &row.get::<_, String>(0)?)?;
    }
    Ok(())
}

/// The statuses of removed runs are so much higher.
const REMOVED: i64 = 8;

/// A line's status in the file: the one of a removed run is another one, so that lists without those never meet it.
fn status_code(status: LineStatus, is_removed: bool) -> i64 {
    let code = match status {
        LineStatus::Queued => 0,
        LineStatus::Running => 1,
        LineStatus::Waiting => 2,
        LineStatus::Completed => 3,
        LineStatus::Failed => 4,
        LineStatus::Cancelled => 5,
        LineStatus::Ended => 6,
    };
    if is_removed { code + REMOVED } else { code }
}

#[cfg(test)]
mod tests;
