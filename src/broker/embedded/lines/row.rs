//! A line as the index has it.

use rusqlite::Row;

use super::status_code;
use crate::broker::run_lists::nanoseconds;
use crate::ids::{UserId, user_token};
use crate::protocol::run_line::{REMOVED_LINES, RunLineHead};

/// A line as the index has it.
#[derive(Clone, PartialEq)]
pub(super) struct IndexedLine {
    pub(super) created: i64,
    pub(super) key: String,
    pub(super) run: String,
    pub(super) owner: String,
    pub(super) status: i64,
    pub(super) workflow: String,
    pub(super) user: Option<String>,
    pub(super) worker: Option<String>,
    /// The title that is shown.
    pub(super) title: Option<String>,
    /// Whether a person gave it.
    pub(super) titled: bool,
    pub(super) reason: Option<String>,
    /// How many questions are open.
    pub(super) open: i64,
    pub(super) tokens: i64,
    pub(super) cost: i64,
    pub(super) estimated: bool,
}

/// The columns of [`IndexedLine::read`].
pub(super) const COLUMNS: &str =
    "created, key, run, owner, status, workflow, user, worker, title, titled, reason, open, tokens, cost, estimated";

impl IndexedLine {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            created: row.get(0)?,
            key: row.get(1)?,
            run: row.get(2)?,
            owner: row.get(3)?,
            status: row.get(4)?,
            workflow: row.get(5)?,
            user: row.get(6)?,
            worker: row.get(7)?,
            title: row.get(8)?,
            titled: row.get(9)?,
            reason: row.get(10)?,
            open: row.get(11)?,
            tokens: row.get(12)?,
            cost: row.get(13)?,
            estimated: row.get(14)?,
        })
    }

    /// What the index is to have of a line, with the title that a person gave the run.
    pub(super) fn of(key: &str, head: &RunLineHead, given: Option<String>) -> Self {
        let cost = head.cost();
        Self {
            created: nanoseconds(head.created_at),
            key: key.to_owned(),
            run: head.id.to_string(),
            owner: user_token(head.user.as_ref()),
            status: status_code(head.status(), key.starts_with(REMOVED_LINES)),
            workflow: head.workflow.clone().unwrap_or_default(),
            user: head.user.as_ref().map(UserId::to_string),
            worker: head.worker.map(|worker| worker.to_string()),
            titled: given.is_some(),
            title: given.or_else(|| head.title.clone()),
            reason: head.reason.clone(),
            open: head.questions.len() as i64,
            tokens: cell(cost.tokens),
            cost: cell(cost.cost_usd.picos()),
            estimated: cost.estimated,
        }
    }
}

fn cell(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
