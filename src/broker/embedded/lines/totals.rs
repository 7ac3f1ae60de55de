//! What all runs come to, counted as lines change.

use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::row::IndexedLine;
use super::{REMOVED, status_code};
use crate::broker::run_lists::RunTotals;
use crate::money::Usd;
use crate::protocol::api::Cost;
use crate::protocol::run_line::LineStatus;

/// What a row of totals is of.
#[derive(Clone, Copy)]
enum TotalKind {
    Status = 0,
    Workflow = 1,
    User = 2,
    /// All open questions.
    Questions = 3,
}

/// What a line adds to a total, or what it takes from it.
#[derive(Default, PartialEq)]
struct Amount {
    runs: i64,
    tokens: i64,
    cost: i64,
    estimated: i64,
}

/// Adds a line.
pub(super) fn add(sql: &Connection, line: &IndexedLine) -> rusqlite::Result<()> {
    each(line, |kind, name, amount| count(sql, kind, name, amount))
}

/// Takes a line away.
pub(super) fn subtract(sql: &Connection, line: &IndexedLine) -> rusqlite::Result<()> {
    each(line, |kind, name, Amount { runs, tokens, cost, estimated }| {
        let amount = Amount { runs: -runs, tokens: -tokens, cost: -cost, estimated: -estimated };
        count(sql, kind, name, amount)?;
        // Nothing stays of a user who has no run any more.
        sql.prepare_cached("delete from run_totals where kind = ?1 and name = ?2 and runs <= 0")?
            .execute(params![kind as i64, name])
            .map(drop)
    })
}

/// Counts a line otherwise than before.
pub(super) fn change(sql: &Connection, before: &IndexedLine, after: &IndexedLine) -> rusqlite::Result<()> {
    let counted = |line: &IndexedLine| {
        let IndexedLine { status, workflow, user, open, tokens, cost, estimated, .. } = line.clone();
        (status, workflow, user, open, tokens, cost, estimated)
    };
    if counted(before) == counted(after) {
        return Ok(());
    }
    // In this order a sum is never larger than what it comes to.
    subtract(sql, before)?;
    add(sql, after)
}

fn each(
    line: &IndexedLine,
    mut count: impl FnMut(TotalKind, &str, Amount) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let costs = || Amount { runs: 1, tokens: line.tokens, cost: line.cost, estimated: i64::from(line.estimated) };
    if line.status < REMOVED {
        count(TotalKind::Status, &line.status.to_string(), Amount { runs: 1, ..Amount::default() })?;
    }
    if line.open > 0 {
        count(TotalKind::Questions, "", Amount { runs: line.open, ..Amount::default() })?;
    }
    count(TotalKind::Workflow, &line.workflow, costs())?;
    count(TotalKind::User, line.user.as_deref().unwrap_or_default(), costs())
}

fn count(sql: &Connection, kind: TotalKind, name: &str, amount: Amount) -> rusqlite::Result<()> {
    let Amount { runs, tokens, cost, estimated } = amount;
    sql.prepare_cached(
        "insert into run_totals (kind, name, runs, tokens, cost, estimated) values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict (kind, name) do update set runs = runs + ?3, tokens = tokens + ?4, cost = cost + ?5,
             estimated = estimated + ?6",
    )?
    .execute(params![kind as i64, name, runs, tokens, cost, estimated])
    .map(drop)
}

/// What all runs come to, with so many of those that cost most.
pub(in super::super) fn totals(sql: &Connection, dearest: usize) -> rusqlite::Result<RunTotals> {
    let mut by_status = Vec::with_capacity(LineStatus::ALL.len());
    for status in LineStatus::ALL {
        by_status.push((status, runs(sql, TotalKind::Status, &status_code(status, false).to_string())?));
    }
    Ok(RunTotals {
        by_status,
        open_questions: runs(sql, TotalKind::Questions, "")?,
        by_workflow: costs(sql, TotalKind::Workflow, dearest)?,
        by_user: costs(sql, TotalKind::User, dearest)?,
    })
}

/// A sum as it is told. Of very many dear runs it may be larger than a whole number of SQLite's, which then keeps about what it is.
struct Sum(u64);

impl FromSql for Sum {
    fn column_result(cell: ValueRef<'_>) -> FromSqlResult<Self> {
        let sum = match cell {
            // The conversion saturates.
            ValueRef::Real(sum) => (sum as i64).max(0),
            cell => i64::column_result(cell)?.max(0),
        };
        Ok(Self(sum.unsigned_abs()))
    }
}

fn runs(sql: &Connection, kind: TotalKind, name: &str) -> rusqlite::Result<u64> {
    let found = sql
        .prepare_cached("select runs from run_totals where kind = ?1 and name = ?2")?
        .query_row(params![kind as i64, name], |row| row.get(0))
        .optional()?;
    Ok(found.map_or(0, |Sum(runs)| runs))
}

fn costs(sql: &Connection, kind: TotalKind, dearest: usize) -> rusqlite::Result<Vec<(Option<String>, Cost)>> {
    sql.prepare_cached(
        "select name, runs, tokens, cost, estimated from run_totals where kind = ?1
         order by cost desc, tokens desc, runs desc, name limit ?2",
    )?
    .query_map(params![kind as i64, dearest], |row| {
        let (Sum(runs), Sum(tokens), Sum(picos), Sum(estimated)) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        let cost = Cost { runs, tokens, cost_usd: Usd::from_picos(picos), estimated: estimated > 0 };
        let name: String = row.get(0)?;
        Ok(((!name.is_empty()).then_some(name), cost))
    })?
    .collect()
}
