//! Lists that are made by reading all lines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{
    LineOrder, LineOwner, LinePage, LinePlace, LineQuery, QuestionPlace, QuestionQuery, RunLine, RunLists, RunTotals,
    nanoseconds,
};
use crate::bounds::parse;
use crate::broker::{Bucket, Catalogue, Result};
use crate::ids::{RunId, UserId};
use crate::protocol::api::Cost;
use crate::protocol::run_line::{LineKey, LineStatus, REMOVED_LINES, RunLineHead};

/// The lists of a store that has no index of lines: each page reads them all.
pub struct WholeRunLists(Arc<dyn Catalogue>);

/// A line, and what is looked at in it.
struct ReadLine {
    head: RunLineHead,
    value: Bytes,
    /// What a person called the run.
    title: Option<String>,
    is_removed: bool,
}

impl ReadLine {
    fn shown_title(&self) -> Option<&str> {
        self.title.as_deref().or(self.head.title.as_deref())
    }

    fn place(&self, order: LineOrder) -> LinePlace {
        let waits = order == LineOrder::WaitingFirst && self.head.status() == LineStatus::Waiting;
        LinePlace { waits, at: nanoseconds(self.head.created_at), run: self.head.id }
    }

    fn line(&self, order: LineOrder) -> RunLine {
        RunLine { value: self.value.clone(), title: self.title.clone(), place: self.place(order) }
    }
}

/// The order of places: what comes first is the smallest.
fn rank(place: LinePlace) -> impl Ord {
    (!place.waits, Reverse(place.at), Reverse(place.run))
}

impl WholeRunLists {
    /// The lists of the lines in this catalogue.
    pub fn new(catalogue: Arc<dyn Catalogue>) -> Self {
        Self(catalogue)
    }

    /// Every line that may be one of these.
    async fn read(&self, owner: &LineOwner, with_removed: bool) -> Result<Vec<ReadLine>> {
        let token = owner.token();
        let mut entries = self.0.list(Bucket::Runs, token.as_deref()).await?;
        if token.is_some() && with_removed {
            entries.extend(self.0.list(Bucket::Runs, Some(REMOVED_LINES)).await?);
        }
        let mut titles = HashMap::new();
        for entry in &entries {
            if let LineKey::Title(line) = LineKey::of(&entry.key) {
                titles.extend(parse::<String>(&entry.value).map(|title| (line.to_owned(), title)));
            }
        }
        let mut lines = Vec::with_capacity(entries.len());
        for entry in entries {
            let is_removed = entry.key.starts_with(REMOVED_LINES);
            if LineKey::of(&entry.key) != LineKey::Line(&entry.key) || is_removed && !with_removed {
                continue;
            }
            // A line that cannot be read is one of another version; the log still has the run.
            let Ok(head) = parse::<RunLineHead>(&entry.value) else { continue };
            lines.push(ReadLine { head, value: entry.value, title: titles.remove(&entry.key), is_removed });
        }
        Ok(lines)
    }
}

#[async_trait]
impl RunLists for WholeRunLists {
    async fn page(&self, query: &LineQuery) -> Result<LinePage> {
        let filter = &query.filter;
        // What says nothing of its user is kept among the lines of nobody.
        let owner = if filter.with_unknown { &LineOwner::Everybody } else { &filter.owner };
        let mut lines = self.read(owner, filter.with_removed).await?;
        lines.retain(|line| {
            query.after.is_none_or(|after| rank(line.place(query.order)) > rank(after))
                && filter.takes(&line.head, line.shown_title(), line.is_removed)
        });
        lines.sort_by_key(|line| rank(line.place(query.order)));
        let is_more = lines.len() > query.limit;
        lines.truncate(query.limit);
        let lines: Vec<RunLine> = lines.iter().map(|line| line.line(query.order)).collect();
        let next = lines.last().filter(|_| is_more).map(|line| line.place);
        Ok(LinePage { looked_through: lines.len(), lines, next })
    }

    fn questions(&self, query: &QuestionQuery) -> BoxStream<'_, Result<(QuestionPlace, RunLine)>> {
        let QuestionQuery { owner, asked_before, after, .. } = query.clone();
        let before = asked_before.map(nanoseconds);
        let questions = async move {
            let mut questions = Vec::new();
            for line in self.read(&owner, false).await? {
                let places = line
                    .head
                    .questions
                    .iter()
                    .map(|open| QuestionPlace { at: nanoseconds(open.at), question: open.id });
                let is_wanted = |place: &QuestionPlace| {
                    after.is_none_or(|after| *place > after) && before.is_none_or(|before| place.at < before)
                };
                questions.extend(places.filter(is_wanted).map(|place| (place, line.line(LineOrder::Newest))));
            }
            questions.sort_by_key(|(place, _)| *place);
            Ok(stream::iter(questions).map(Ok))
        };
        stream::once(questions).try_flatten().boxed()
    }

    async fn line(&self, run: RunId) -> Result<Option<RunLine>> {
        let lines = self.read(&LineOwner::Everybody, false).await?;
        Ok(lines.iter().find(|line| line.head.id == run).map(|line| line.line(LineOrder::Newest)))
    }

    async fn count_open(&self, user: Option<&UserId>, most: usize) -> Result<usize> {
        let lines = self.read(&LineOwner::User(user.cloned()), false).await?;
        Ok(lines.iter().filter(|line| !line.head.status().is_over()).count().min(most))
    }

    fn every_line(&self) -> BoxStream<'_, Result<RunLine>> {
        let lines = async {
            let lines = self.read(&LineOwner::Everybody, false).await?;
            Ok(stream::iter(lines).map(|line| Ok(line.line(LineOrder::Newest))))
        };
        stream::once(lines).try_flatten().boxed()
    }

    async fn totals(&self, dearest: usize) -> Result<RunTotals> {
        let lines = self.read(&LineOwner::Everybody, true).await?;
        let there = || lines.iter().filter(|line| !line.is_removed);
        let count = |status| there().filter(|line| line.head.status() == status).count() as u64;
        Ok(RunTotals {
            by_status: LineStatus::ALL.map(|status| (status, count(status))).to_vec(),
            open_questions: there().map(|line| line.head.questions.len() as u64).sum(),
            by_workflow: costs(&lines, dearest, |line| line.workflow.clone()),
            by_user: costs(&lines, dearest, |line| line.user.as_ref().map(ToString::to_string)),
        })
    }
}

/// What runs cost, by what `of` says of each; those that cost most come first.
fn costs(
    lines: &[ReadLine],
    dearest: usize,
    of: impl Fn(&RunLineHead) -> Option<String>,
) -> Vec<(Option<String>, Cost)> {
    let mut costs: BTreeMap<Option<String>, Cost> = BTreeMap::new();
    for ReadLine { head, .. } in lines {
        let (sum, Cost { runs, tokens, cost_usd, estimated }) = (costs.entry(of(head)).or_default(), head.cost());
        sum.runs += runs;
        sum.tokens = sum.tokens.saturating_add(tokens);
        sum.cost_usd += cost_usd;
        sum.estimated |= estimated;
    }
    let mut costs: Vec<_> = costs.into_iter().collect();
    costs.sort_by_key(|(_, cost)| Reverse((cost.cost_usd, cost.tokens, cost.runs)));
    costs.truncate(dearest);
    costs
}
