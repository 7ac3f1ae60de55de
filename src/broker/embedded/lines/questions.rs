//! The open questions in the index.

use rusqlite::{Connection, params};

use super::page::{LineRow, load};
use crate::broker::run_lists::{MOST_LOOKED_THROUGH, QuestionPage, QuestionPlace, QuestionQuery, nanoseconds};
use crate::ids::MessageId;
use crate::protocol::run_line::LineQuestion;

/// Adds the questions of a line.
pub(super) fn add(sql: &Connection, place: i64, owner: &str, open: &[LineQuestion]) -> rusqlite::Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    let mut statement = sql.prepare_cached(
        "insert or replace into run_questions (asked, question, place, owner) values (?1, ?2, ?3, ?4)",
    )?;
    for question in open {
        statement.execute(params![nanoseconds(question.at), question.id.to_string(), place, owner])?;
    }
    Ok(())
}

/// Removes the questions of a line that had so many.
pub(super) fn remove(sql: &Connection, place: i64, open: i64) -> rusqlite::Result<()> {
    if open > 0 {
        sql.prepare_cached("delete from run_questions where place = ?1")?.execute([place])?;
    }
    Ok(())
}

/// A page of open questions.
pub(in super::super) fn questions(sql: &Connection, query: &QuestionQuery) -> rusqlite::Result<QuestionPage> {
    let owner = query.owner.token();
    let whose = if owner.is_some() { "owner = ?4 and" } else { "?4 is null and" };
    let mut statement = sql.prepare_cached(&format!(
        "select asked, question, place from run_questions
         where {whose} (asked, question) > (?1, ?2) and asked < ?3 order by asked, question"
    ))?;
    let (at, question) = query.after.map_or((i64::MIN, String::new()), |after| (after.at, after.question.to_string()));
    let before = query.asked_before.map_or(i64::MAX, nanoseconds);
    let mut rows = statement.query(params![at, question, before, owner])?;
    let mut page = QuestionPage::default();
    let mut looked_through = 0;
    while let Some(row) = rows.next()? {
        let (at, question, place): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Ok(question) = MessageId::parse(&question) else { continue };
        let at = QuestionPlace { at, question };
        looked_through += 1;
        let Some(line) = load(sql, place)? else { continue };
        if query.workflow.as_ref().is_none_or(|wanted| *wanted == line.indexed.workflow) {
            if page.questions.len() == query.limit {
                page.next = page.questions.last().map(|(place, _)| *place);
                break;
            }
            if let Some(line) = LineRow::line(&line, sql, false)? {
                page.questions.push((at, line));
            }
        }
        if looked_through == MOST_LOOKED_THROUGH {
            page.next = Some(at);
            break;
        }
    }
    Ok(page)
}
