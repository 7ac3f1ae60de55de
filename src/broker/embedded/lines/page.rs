//! Finding lines in the index.

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::row::{COLUMNS, IndexedLine};
use super::{REMOVED, status_code};
use crate::broker::Bucket;
use crate::broker::run_lists::{
    LineAccess, LineFilter, LineOrder, LinePage, LinePlace, LineQuery, RunLine, SearchableLine, nanoseconds,
};
use crate::ids::{RunId, UserId, user_token};
use crate::protocol::run_line::{LineStatus, has_words};

/// A word that more lines have than this is looked for in the newest lines instead: there, too, it is not far away.
const FEW: usize = 5_000;
/// The last character there is: what begins with a word comes before the word with this after it.
const LAST_CHARACTER: char = char::MAX;

/// A line that was found.
pub(super) struct LineRow {
    place: i64,
    pub(super) indexed: IndexedLine,
}

impl LineRow {
    /// The line; none: it has just expired.
    pub(super) fn line(&self, sql: &Connection, waits: bool) -> rusqlite::Result<Option<RunLine>> {
        let mut statement = sql.prepare_cached("select value from catalogue where shelf = ?1 and key = ?2")?;
        let value: Option<Vec<u8>> =
            statement.query_row(params![Bucket::Runs.name(), self.indexed.key], |row| row.get(0)).optional()?;
        let Some(place) = self.at(waits) else { return Ok(None) };
        let title = self.indexed.title.clone().filter(|_| self.indexed.titled);
        Ok(value.map(|value| RunLine { value: Bytes::from(value), title, place }))
    }

    fn at(&self, waits: bool) -> Option<LinePlace> {
        let run = RunId::parse(&self.indexed.run).ok()?;
        Some(LinePlace { waits, at: self.place, run })
    }

    /// Whether it is one that is meant, if its status and its time are.
    fn is_meant(&self, filter: &LineFilter, owner: Option<&str>) -> bool {
        let IndexedLine { run, title, workflow, user, reason, worker, .. } = &self.indexed;
        let known = (!workflow.is_empty()).then_some(workflow.as_str());
        let is_unknown = filter.with_unknown && known.is_none() && user.is_none();
        let may_see = |access: &LineAccess| access.lets_see(workflow, user.as_deref().and_then(UserId::new).as_ref());
        let is_visible = filter.access.as_ref().is_none_or(may_see);
        let (title, user, reason) = (title.as_deref(), user.as_deref(), reason.as_deref());
        let searched = SearchableLine { run, title, workflow: known, user, reason };
        is_visible
            && (is_unknown || owner.is_none_or(|owner| owner == self.indexed.owner))
            && (is_unknown || filter.workflow.as_ref().is_none_or(|wanted| wanted == workflow))
            && (filter.worker.is_none() || filter.worker == *worker)
            && has_words(title.unwrap_or_default(), &filter.words)
            && filter.text.as_ref().is_none_or(|text| text.is_in(&searched))
    }
}

/// The line at a place.
pub(super) fn load(sql: &Connection, place: i64) -> rusqlite::Result<Option<LineRow>> {
    sql.prepare_cached(&format!("select {COLUMNS} from run_lines where place = ?1"))?
        .query_row([place], |row| Ok(LineRow { place, indexed: IndexedLine::read(row)? }))
        .optional()
}

/// A page of a list.
pub(in super::super) fn page(sql: &Connection, query: &LineQuery) -> rusqlite::Result<LinePage> {
    let owner = query.filter.owner.token();
    // What says nothing of its user is among the lines of nobody.
    let owner_of_words = owner.as_deref().filter(|_| !query.filter.with_unknown);
    let mut reading = PageReading {
        sql,
        query,
        few: few_places(sql, &query.filter, owner_of_words)?,
        owner,
        page: LinePage::default(),
        last: None,
    };
    let after = query.after;
    let parts: &[bool] = match query.order {
        LineOrder::Newest => &[false],
        LineOrder::WaitingFirst => &[true, false],
    };
    for waits in parts {
        // What waits comes first: a list that goes on after something else is past it.
        if *waits && after.is_some_and(|after| !after.waits) {
            continue;
        }
        let below = after.filter(|after| after.waits == *waits).map_or(i64::MAX, |after| after.at);
        if reading.read_part(*waits, below)? {
            break;
        }
    }
    Ok(reading.page)
}

/// The places of the lines that have what is looked for, the newest first, if an index knows them and they are few.
fn few_places(sql: &Connection, filter: &LineFilter, owner: Option<&str>) -> rusqlite::Result<Option<Vec<i64>>> {
    if let Some(run) = filter.text.as_ref().and_then(|text| text.run()) {
        let mut statement = sql.prepare_cached("select place from run_lines where run = ?1 order by place desc")?;
        let places: Vec<i64> =
            statement.query_map([run.to_string()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        // Other things have such ids too, and a title may have one of those.
        if !places.is_empty() {
            return Ok(Some(places));
        }
    }
    let mut words: Vec<&String> = filter.words.iter().collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words {
        let after = format!("{word}{LAST_CHARACTER}");
        let many: usize = sql
            .prepare_cached("select count(*) from (select 1 from run_words where word >= ?1 and word < ?2 limit ?3)")?
            .query_row(params![word, after, FEW + 1], |row| row.get(0))?;
        if many <= FEW {
            // Two words of one title may begin so.
            let mut statement = sql.prepare_cached(
                "select distinct place from run_words where word >= ?1 and word < ?2 and (?3 is null or owner = ?3)
                 order by place desc",
            )?;
            let places = statement.query_map(params![word, after, owner], |row| row.get(0))?;
            return places.collect::<rusqlite::Result<_>>().map(Some);
        }
    }
    Ok(None)
}

struct PageReading<'q> {
    sql: &'q Connection,
    query: &'q LineQuery,
    owner: Option<String>,
    few: Option<Vec<i64>>,
    page: LinePage,
    /// The place of the last line that was looked at. It may be one that the caller may not see, and has its own place here: no run is named.
    last: Option<LinePlace>,
}

impl PageReading<'_> {
    /// Reads what waits, or what does not, in a list of both, below a place. Returns whether the page is at its end.
    fn read_part(&mut self, waits: bool, below: i64) -> rusqlite::Result<bool> {
        let is_of_part =
            |status: &LineStatus| self.query.order == LineOrder::Newest || (*status == LineStatus::Waiting) == waits;
        let filter = &self.query.filter;
        let statuses = LineStatus::ALL.into_iter().filter(|status| filter.takes_status(*status)).filter(is_of_part);
        let removed: &[bool] = if filter.with_removed { &[false, true] } else { &[false] };
        let statuses: Vec<i64> =
            statuses.flat_map(|status| removed.iter().map(move |removed| status_code(status, *removed))).collect();
        if statuses.is_empty() {
            return Ok(false);
        }
        let from = filter.since.map_or(i64::MIN, nanoseconds);
        let below = filter.until.map_or(below, |until| nanoseconds(until).min(below));
        match self.few.take() {
            Some(few) => {
                let over = self.read_few(&few, waits, &statuses, from..below);
                self.few = Some(few);
                over
            }
            None => self.walk(waits, &statuses, from..below),
        }
    }

    fn read_few(
        &mut self,
        few: &[i64],
        waits: bool,
        statuses: &[i64],
        within: std::ops::Range<i64>,
    ) -> rusqlite::Result<bool> {
        for place in few.iter().filter(|place| within.contains(*place)) {
            if let Some(line) = load(self.sql, *place)?.filter(|line| statuses.contains(&line.indexed.status))
                && self.take(&line, waits)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes from the newest line that may be meant to the oldest.
    fn walk(&mut self, waits: bool, statuses: &[i64], within: std::ops::Range<i64>) -> rusqlite::Result<bool> {
        let filter = &self.query.filter;
        let nobody = user_token(None::<&UserId>);
        let mut scopes = vec![match (&self.owner, &filter.workflow) {
            (None, None) => "",
            (Some(_), None) => "owner = ?3 and",
            (None, Some(_)) => "workflow = ?4 and",
            (Some(_), Some(_)) => "owner = ?3 and workflow = ?4 and",
        }];
        if filter.with_unknown && !scopes[0].is_empty() {
            scopes.push("owner = ?5 and workflow = '' and");
        }
        let places = places_in_order(&scopes, statuses);
        let values = [
            Value::from(within.start),
            Value::from(within.end),
            Value::from(self.owner.clone()),
            Value::from(filter.workflow.clone()),
            Value::from(nobody),
        ];
        let mut statement = self.sql.prepare_cached(&places)?;
        let used = statement.parameter_count();
        let mut rows = statement.query(params_from_iter(values.into_iter().take(used)))?;
        let mut before = None;
        while let Some(row) = rows.next()? {
            let place = row.get(0)?;
            // A line may be in two of the parts.
            if before.replace(place) == Some(place) {
                continue;
            }
            if let Some(line) = load(self.sql, place)?
                && self.take(&line, waits)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a line if it is meant. Returns whether the page is at its end.
    fn take(&mut self, line: &LineRow, waits: bool) -> rusqlite::Result<bool> {
        let LineQuery { filter, limit, look_through, .. } = self.query;
        if self.page.looked_through >= *look_through {
            self.page.next = self.last;
            return Ok(true);
        }
        self.page.looked_through += 1;
        self.last = Some(LinePlace { waits, at: line.place, run: RunId::LOWEST });
        if !line.is_meant(filter, self.owner.as_deref()) {
            return Ok(false);
        }
        if self.page.lines.len() == *limit {
            self.page.next = self.page.lines.last().map(|line| line.place);
            return Ok(true);
        }
        self.page.lines.extend(line.line(self.sql, waits)?);
        Ok(false)
    }
}

/// Reads the places of all lines of these scopes and statuses. Each part is in order, and SQLite merges the parts as it goes.
fn places_in_order(scopes: &[&str], statuses: &[i64]) -> String {
    let parts = scopes.iter().flat_map(|scope| {
        statuses.iter().map(move |status| {
            format!("select place from run_lines where {scope} status = {status} and place >= ?1 and place < ?2")
        })
    });
    format!("{} order by place desc", parts.collect::<Vec<_>>().join(" union all "))
}

/// The line of a run that was not removed.
pub(in super::super) fn line(sql: &Connection, run: RunId) -> rusqlite::Result<Option<RunLine>> {
    let place: Option<i64> = sql
        .prepare_cached("select place from run_lines where run = ?1 and status < ?2 limit 1")?
        .query_row(params![run.to_string(), REMOVED], |row| row.get(0))
        .optional()?;
    match place {
        Some(place) => load(sql, place)?.map_or(Ok(None), |line| line.line(sql, false)),
        None => Ok(None),
    }
}

/// How many runs of a user have not ended, up to so many.
pub(in super::super) fn count_open(sql: &Connection, owner: &str, most: usize) -> rusqlite::Result<usize> {
    let open = LineStatus::ALL.into_iter().filter(|status| !status.is_over()).map(|status| status_code(status, false));
    let codes: Vec<String> = open.map(|code| code.to_string()).collect();
    sql.prepare_cached(&format!(
        "select count(*) from (select 1 from run_lines where owner = ?1 and status in ({}) limit ?2)",
        codes.join(", ")
    ))?
    .query_row(params![owner, most], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_sorted_when_it_is_read() {
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch(super::super::TABLES).unwrap();
        let all: Vec<i64> = (0..16).collect();
        for scope in ["", "owner = ?3 and", "workflow = ?4 and", "owner = ?3 and workflow = ?4 and"] {
            for scopes in [&[scope][..], &[scope, "owner = ?5 and workflow = '' and"]] {
                let plan = format!("explain query plan {}", places_in_order(scopes, &all));
                let mut statement = file.prepare(&plan).unwrap();
                let used = statement.parameter_count();
                let steps: Vec<String> = statement
                    .query_map(params_from_iter(vec![Value::Null; used]), |row| row.get("detail"))
                    .unwrap()
                    .collect::<rusqlite::Result<_>>()
                    .unwrap();
                let is_whole = |step: &String| step.contains("TEMP B-TREE") || step.starts_with("SCAN run_lines");
                assert!(!steps.iter().any(is_whole), "{scopes:?}: {steps:#?}");
            }
        }
    }
}
