//! How the index is brought up to what the catalogue says.

use rusqlite::{Connection, OptionalExtension, params};

use super::row::{COLUMNS, IndexedLine};
use super::{questions, totals};
use crate::bounds::parse;
use crate::broker::Bucket;
use crate::protocol::run_line::{LineKey, LineQuestion, REMOVED_LINES, RunLineHead, TITLE_KEY, title_words};

/// The places near one that are taken for runs that were created at the same moment.
const NEAR: i64 = 1_000_000;

/// Brings the index up to what the catalogue has under a key of the lists' bucket.
pub(in super::super) fn follow_catalogue(sql: &Connection, key: &str) -> rusqlite::Result<()> {
    let (LineKey::Line(line) | LineKey::Title(line)) = LineKey::of(key) else { return Ok(()) };
    let before = in_index(sql, line)?;
    let Some((head, after)) = in_catalogue(sql, line)? else {
        return before.map_or(Ok(()), |(place, before)| remove(sql, place, &before));
    };
    match before {
        Some((place, before)) if before.created == after.created => {
            change(sql, place, &before, &after, &head.questions)
        }
        Some((place, before)) => {
            remove(sql, place, &before)?;
            insert(sql, &after, &head.questions)
        }
        None => insert(sql, &after, &head.questions),
    }
}

/// What is to be in the index. A line that cannot be read is not: it is one of another version, or no line.
fn in_catalogue(sql: &Connection, key: &str) -> rusqlite::Result<Option<(RunLineHead, IndexedLine)>> {
    let mut statement = sql.prepare_cached("select value from catalogue where shelf = ?1 and key = ?2")?;
    let mut get = |key: &str| -> rusqlite::Result<Option<Vec<u8>>> {
        statement.query_row(params![Bucket::Runs.name(), key], |row| row.get(0)).optional()
    };
    let Some(mut head) = get(key)?.and_then(|value| parse::<RunLineHead>(&value).ok()) else { return Ok(None) };
    if key.starts_with(REMOVED_LINES) {
        // Nobody answers there any more.
        head.questions.clear();
    }
    let given = get(&format!("{key}.{TITLE_KEY}"))?.and_then(|title| parse(&title).ok());
    let line = IndexedLine::of(key, &head, given);
    Ok(Some((head, line)))
}

fn in_index(sql: &Connection, key: &str) -> rusqlite::Result<Option<(i64, IndexedLine)>> {
    let mut statement = sql.prepare_cached(&format!("select {COLUMNS}, place from run_lines where key = ?1"))?;
    statement.query_row([key], |row| Ok((row.get("place")?, IndexedLine::read(row)?))).optional()
}

fn insert(sql: &Connection, line: &IndexedLine, open: &[LineQuestion]) -> rusqlite::Result<()> {
    let place = free_place(sql, line.created)?;
    store(sql, place, line)?;
    add_words(sql, place, line)?;
    questions::add(sql, place, &line.owner, open)?;
    totals::add(sql, line)
}

fn remove(sql: &Connection, place: i64, line: &IndexedLine) -> rusqlite::Result<()> {
    sql.prepare_cached("delete from run_lines where place = ?1")?.execute([place])?;
    remove_words(sql, place, line)?;
    questions::remove(sql, place, line.open)?;
    totals::subtract(sql, line)
}

fn change(
    sql: &Connection,
    place: i64,
    before: &IndexedLine,
    after: &IndexedLine,
    open: &[LineQuestion],
) -> rusqlite::Result<()> {
    if before.title != after.title {
        remove_words(sql, place, before)?;
        add_words(sql, place, after)?;
    }
    // Which ones are open may have changed, and not how many.
    questions::remove(sql, place, before.open)?;
    questions::add(sql, place, &after.owner, open)?;
    if before != after {
        totals::change(sql, before, after)?;
        store(sql, place, after)?;
    }
    Ok(())
}

/// The place for a run that was created then.
fn free_place(sql: &Connection, created: i64) -> rusqlite::Result<i64> {
    let mut place = created;
    loop {
        let last: Option<i64> = sql
            .prepare_cached("select max(place) from run_lines where place >= ?1 and place < ?2")?
            .query_row([place, place.saturating_add(NEAR)], |row| row.get(0))?;
        let is_free = |place: i64| -> rusqlite::Result<bool> {
            Ok(!sql.prepare_cached("select 1 from run_lines where place = ?1")?.exists([place])?)
        };
        match last {
            Some(last) if !is_free(place)? => place = last.saturating_add(1),
            _ => return Ok(place),
        }
    }
}

fn store(sql: &Connection, place: i64, line: &IndexedLine) -> rusqlite::Result<()> {
    let IndexedLine {
        created,
        key,
        run,
        owner,
        status,
        workflow,
        user,
        worker,
        title,
        titled,
        reason,
        open,
        tokens,
        cost,
        estimated,
    } = line;
    sql.prepare_cached(&format!(
        "insert into run_lines (place, {COLUMNS}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         on conflict (place) do update set run = ?4, owner = ?5, status = ?6, workflow = ?7, user = ?8, worker = ?9,
             title = ?10, titled = ?11, reason = ?12, open = ?13, tokens = ?14, cost = ?15, estimated = ?16"
    ))?
    .execute(params![
        place, created, key, run, owner, status, workflow, user, worker, title, titled, reason, open, tokens, cost, estimated
    ])
    .map(drop)
}

fn add_words(sql: &Connection, place: i64, line: &IndexedLine) -> rusqlite::Result<()> {
    let mut statement =
        sql.prepare_cached("insert or ignore into run_words (word, place, owner) values (?1, ?2, ?3)")?;
    for word in title_words(line.title.as_deref().unwrap_or_default()) {
        statement.execute(params![word, place, line.owner])?;
    }
    Ok(())
}

fn remove_words(sql: &Connection, place: i64, line: &IndexedLine) -> rusqlite::Result<()> {
    let mut statement = sql.prepare_cached("delete from run_words where word = ?1 and place = ?2")?;
    for word in title_words(line.title.as_deref().unwrap_or_default()) {
        statement.execute(params![word, place])?;
    }
    Ok(())
}
