//! The lists of runs, by page. A line is put into [`Bucket::Runs`](super::Bucket::Runs) and nowhere else; here it is found again
//! among a million others. What a page costs depends on the page, as far as the store can see to that.
//!
//! [`WholeRunLists`] reads the whole bucket for each page: for a store without an index, and to check one that has it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Result;
use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId, UserId, user_token};
use crate::protocol::api::Cost;
use crate::protocol::run_line::{LineStatus, RunLineHead, has_words};

mod whole;

pub use whole::WholeRunLists;

/// How many lines one call looks through at most for what no index knows.
pub const MOST_LOOKED_THROUGH: usize = 10_000;

/// Whose lines are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LineOwner {
    /// Everybody's.
    #[default]
    Everybody,
    /// Those of a user; none: those of nobody.
    User(Option<UserId>),
}

impl LineOwner {
    /// The token that their keys begin with.
    pub fn token(&self) -> Option<String> {
        match self {
            Self::Everybody => None,
            Self::User(user) => Some(user_token(user.as_ref())),
        }
    }
}

/// A text that is looked for, wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchedText {
    /// The text, in small letters.
    text: String,
    /// Whether it is looked for in the reason and the user as well.
    in_audit: bool,
}

impl SearchedText {
    /// Looks in title, workflow and id, and for the audit in reason and user. `None`: there is nothing to look for.
    pub fn new(text: &str, in_audit: bool) -> Option<Self> {
        let text = text.trim().to_lowercase();
        (!text.is_empty()).then_some(Self { text, in_audit })
    }

    /// The run that is meant, if the text is the id of one.
    pub fn run(&self) -> Option<RunId> {
        RunId::parse(&self.text).ok()
    }

    /// Whether it is in one of these texts, or in the id.
    pub fn is_in(&self, line: &SearchableLine<'_>) -> bool {
        let more = [line.reason, line.user];
        let texts = [line.title, line.workflow].into_iter().chain(more.into_iter().filter(|_| self.in_audit));
        texts.flatten().any(|text| text.to_lowercase().contains(&self.text))
            || line.run.contains(&self.text.replace('-', ""))
    }
}

/// What a text is looked for in.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "their names are their documentation")]
pub struct SearchableLine<'l> {
    pub run: &'l str,
    pub title: Option<&'l str>,
    pub workflow: Option<&'l str>,
    pub user: Option<&'l str>,
    pub reason: Option<&'l str>,
}

type LineRule = dyn Fn(&str, Option<&UserId>) -> bool + Send + Sync;

/// Which lines somebody may see, by workflow and user.
#[derive(Clone)]
pub struct LineAccess(Arc<LineRule>);

impl LineAccess {
    /// Lets those be seen of which `may_see` says so.
    pub fn new(may_see: impl Fn(&str, Option<&UserId>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(may_see))
    }

    /// Whether the line of a run of this workflow may be seen.
    pub fn lets_see(&self, workflow: &str, user: Option<&UserId>) -> bool {
        (self.0)(workflow, user)
    }
}

impl fmt::Debug for LineAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineAccess")
    }
}

/// Which lines are meant: those to which everything that is said applies.
#[derive(Debug, Clone, Default)]
pub struct LineFilter {
    /// Whose.
    pub owner: LineOwner,
    /// Only those that are so, or ended so; empty: all.
    pub statuses: Vec<LineStatus>,
    /// Only those of this workflow.
    pub workflow: Option<String>,
    /// Only those that this worker claimed last.
    pub worker: Option<String>,
    /// Only those created then or later.
    pub since: Option<Timestamp>,
    /// Only those created before then.
    pub until: Option<Timestamp>,
    /// Only those with these words in their title, or words that begin so.
    pub words: BTreeSet<String>,
    /// Only those with this text.
    pub text: Option<SearchedText>,
    /// Only those that may be seen; none: all may.
    pub access: Option<LineAccess>,
    /// With the lines of runs that people have removed.
    pub with_removed: bool,
    /// With the lines that say neither whose the run is nor of which workflow, whichever are asked for: it may be the one that is meant.
    pub with_unknown: bool,
}

impl LineFilter {
    /// Whether lines with this status are meant.
    pub fn takes_status(&self, status: LineStatus) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&status)
    }

    /// Whether a line is meant that has this title, and is one of a removed run or not.
    pub fn takes(&self, line: &RunLineHead, title: Option<&str>, is_removed: bool) -> bool {
        let (workflow, user) = (line.workflow.as_deref(), line.user.as_ref());
        let is_unknown = self.with_unknown && workflow.is_none() && user.is_none();
        let is_theirs = match &self.owner {
            LineOwner::Everybody => true,
            LineOwner::User(owner) => is_unknown || owner.as_ref() == user,
        };
        let may_see = |access: &LineAccess| access.lets_see(workflow.unwrap_or_default(), user);
        let is_visible = self.access.as_ref().is_none_or(may_see);
        let run = line.id.to_string();
        let user = user.map(UserId::as_str);
        let searched = SearchableLine { run: &run, title, workflow, user, reason: line.reason.as_deref() };
        is_theirs
            && is_visible
            && (self.with_removed || !is_removed)
            && self.takes_status(line.status())
            && (is_unknown || self.workflow.as_deref().is_none_or(|wanted| wanted == workflow.unwrap_or_default()))
            && self.worker.as_ref().is_none_or(|wanted| line.worker.is_some_and(|worker| worker.to_string() == *wanted))
            && self.since.is_none_or(|since| line.created_at >= since)
            && self.until.is_none_or(|until| line.created_at < until)
            && has_words(title.unwrap_or_default(), &self.words)
            && self.text.as_ref().is_none_or(|text| text.is_in(&searched))
    }
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineOrder {
    /// What was created last comes first.
    #[default]
    Newest,
    /// Those that wait for a person come before the others, each the newest first.
    WaitingFirst,
}

/// The place of a line in a list: a list goes on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinePlace {
    /// It is among those that wait for a person, which come first.
    pub waits: bool,
    /// When the run was created, in nanoseconds; some stores move it by a few, so that no two are at one place.
    pub at: i64,
    /// The run. In a place behind a run that may not be shown it is [`RunId::LOWEST`], behind all that were created then.
    pub run: RunId,
}

impl fmt::Display for LinePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.{}", if self.waits { "w" } else { "" }, self.at, self.run)
    }
}

/// A text that names no place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the \"next\" of an earlier answer")]
pub struct InvalidPlace;

impl FromStr for LinePlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (waits, rest) = text.strip_prefix('w').map_or((false, text), |rest| (true, rest));
        let (at, run) = rest.split_once('.').ok_or(InvalidPlace)?;
        let run = RunId::parse(run).map_err(|_| InvalidPlace)?;
        Ok(Self { waits, at: at.parse().map_err(|_| InvalidPlace)?, run })
    }
}

/// The place in a list of a run that was created then.
pub fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct LineQuery {
    /// Which lines.
    pub filter: LineFilter,
    /// In which order.
    pub order: LineOrder,
    /// Only what comes after this place.
    pub after: Option<LinePlace>,
    /// How many at most.
    pub limit: usize,
    /// How many lines are looked through at most for what no index knows. A page then has fewer, and says where to go on.
    pub look_through: usize,
}

/// A run's line as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLine {
    /// The line.
    pub value: Bytes,
    /// What a person called the run.
    pub title: Option<String>,
    /// Its place in the list.
    pub place: LinePlace,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinePage {
    /// The lines, in order.
    pub lines: Vec<RunLine>,
    /// How many lines were looked through for them.
    pub looked_through: usize,
    /// Where the list goes on; none: this was all.
    pub next: Option<LinePlace>,
}

/// Which open questions are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuestionQuery {
    /// Of whose runs.
    pub owner: LineOwner,
    /// Only those that were asked before then.
    pub asked_before: Option<Timestamp>,
    /// Only what comes after this place.
    pub after: Option<QuestionPlace>,
    /// How many are wanted.
    pub limit: usize,
    /// How many are looked at for them at most, but for those that were asked at the same moment as the last of these.
    pub look_through: usize,
}

/// The place of an open question in a list, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuestionPlace {
    /// When it was asked, in nanoseconds.
    pub at: i64,
    /// The question. In a place behind a question that may not be shown it is [`MessageId::HIGHEST`], behind all that were asked then.
    pub question: MessageId,
}

impl fmt::Display for QuestionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.question)
    }
}

impl FromStr for QuestionPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (at, question) = text.split_once('.').ok_or(InvalidPlace)?;
        let question = MessageId::parse(question).map_err(|_| InvalidPlace)?;
        Ok(Self { at: at.parse().map_err(|_| InvalidPlace)?, question })
    }
}

/// What all runs come to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunTotals {
    /// How many runs are so, or ended so; removed ones are not counted.
    pub by_status: Vec<(LineStatus, u64)>,
    /// How many questions are open.
    pub open_questions: u64,
    /// What they cost by workflow, the dearest first; removed runs are counted.
    pub by_workflow: Vec<(Option<String>, Cost)>,
    /// The same by user.
    pub by_user: Vec<(Option<String>, Cost)>,
}

/// The lists of runs, by page.
#[async_trait]
pub trait RunLists: Send + Sync {
    /// A page of a list.
    async fn page(&self, query: &LineQuery) -> Result<LinePage>;

    /// The open questions that are meant, the oldest first, each with the line of its run. It goes on after as many as are wanted.
    fn questions(&self, query: &QuestionQuery) -> BoxStream<'_, Result<(QuestionPlace, RunLine)>>;

    /// The line of a run, whoever it belongs to; not of one that was removed.
    async fn line(&self, run: RunId) -> Result<Option<RunLine>>;

    /// How many runs of a user have not ended; it counts to `most` and no further.
    async fn count_open(&self, user: Option<&UserId>, most: usize) -> Result<usize>;

    /// The lines of everybody's runs, in no order, for whoever looks after all runs; not of removed ones. What is put meanwhile may be missing.
    fn every_line(&self) -> BoxStream<'_, Result<RunLine>>;

    /// What all runs come to, with so many of those that cost most.
    async fn totals(&self, dearest: usize) -> Result<RunTotals>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = LinePlace { waits: true, at: -5, run: RunId::random() };
        assert_eq!(place.to_string().parse(), Ok(place));
        let place = LinePlace { waits: false, at: 1 << 60, ..place };
        assert_eq!(place.to_string().parse(), Ok(place));
        let place = QuestionPlace { at: 7, question: MessageId::try_from("1".repeat(32)).unwrap() };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "7", "w.1", "7.nobody", "x7.00000000000000000000000000000000"] {
            assert_eq!(wrong.parse::<LinePlace>(), Err(InvalidPlace), "{wrong}");
        }
    }
}
