//! The open questions in the index.

use rusqlite::{Connection, params};

use super::page::load;
use crate::broker::run_lists::{QuestionPlace, QuestionQuery, RunLine, nanoseconds};
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

/// A piece of the list of open questions.
pub(in super::super) struct QuestionPiece {
    /// The questions, in order, each with the line of its run.
    pub(in super::super) questions: Vec<(QuestionPlace, RunLine)>,
    /// Where the list goes on; none: these are the last.
    pub(in super::super) next: Option<QuestionPlace>,
}

/// So many open questions at most.
pub(in super::super) fn questions(
    sql: &Connection,
    query: &QuestionQuery,
    most: usize,
) -> rusqlite::Result<QuestionPiece> {
    let owner = query.owner.token();
    let whose = if owner.is_some() { "owner = ?4 and" } else { "?4 is null and" };
    let mut statement = sql.prepare_cached(&format!(
        "select asked, question, place from run_questions
         where {whose} (asked, question) > (?1, ?2) and asked < ?3 order by asked, question limit ?5"
    ))?;
    let (at, question) = query.after.map_or((i64::MIN, String::new()), |after| (after.at, after.question.to_string()));
    let before = query.asked_before.map_or(i64::MAX, nanoseconds);
    let mut rows = statement.query(params![at, question, before, owner, most])?;
    let (mut questions, mut read, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        read += 1;
        let (at, question, place): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Ok(question) = MessageId::parse(&question) else { continue };
        let at = QuestionPlace { at, question };
        last = Some(at);
        if let Some(line) = load(sql, place)?
            && let Some(line) = line.line(sql, false)?
        {
            questions.push((at, line));
        }
    }
    Ok(QuestionPiece { questions, next: last.filter(|_| read == most) })
}
