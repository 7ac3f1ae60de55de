//! Lists of runs in a few words, by page ([`RunLists`](crate::broker::run_lists::RunLists)).

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};

use crate::broker::Broker;
use crate::broker::run_lists::{LinePlace, LineQuery, QuestionPlace, QuestionQuery, RunLine};
use crate::ids::{MessageId, RunId};
use crate::run::Result;
use crate::run::summary::{OpenQuestion, RunSummary};

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryPage {
    /// The runs, in order.
    pub runs: Vec<RunSummary>,
    /// Where the list goes on; none: this was all.
    pub next: Option<LinePlace>,
}

/// A page of open questions.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenQuestionPage {
    /// Each with its run, the oldest first.
    pub questions: Vec<(RunSummary, OpenQuestion)>,
    /// Where the list goes on; none: this was all.
    pub next: Option<QuestionPlace>,
}

/// A page of a list.
pub async fn page(broker: &Broker, query: &LineQuery) -> Result<SummaryPage> {
    let page = broker.lists.page(query).await?;
    Ok(SummaryPage { runs: page.lines.iter().filter_map(summary).collect(), next: page.next })
}

/// The line of a run in the lists, whoever it belongs to.
pub async fn line_of(broker: &Broker, run: RunId) -> Result<Option<RunSummary>> {
    Ok(broker.lists.line(run).await?.as_ref().and_then(summary))
}

/// The runs of everybody, in no order, for whoever looks after all runs. Removed ones are not among them.
pub fn every(broker: &Broker) -> BoxStream<'_, Result<RunSummary>> {
    let lines = broker.lists.every_line().try_filter_map(async |line| Ok(summary(&line)));
    lines.err_into().boxed()
}

/// A page of the open questions that `shown` lets through, which may change what is shown of a run.
pub async fn questions(
    broker: &Broker,
    query: &QuestionQuery,
    shown: impl Fn(&mut RunSummary, QuestionPlace) -> Option<OpenQuestion>,
) -> Result<OpenQuestionPage> {
    let mut found = OpenQuestionPage { questions: Vec::new(), next: None };
    let mut asked = broker.lists.questions(query);
    let (mut looked_through, mut last) = (0, query.after);
    while let Some((place, line)) = asked.try_next().await? {
        if found.questions.len() >= query.limit {
            return Ok(OpenQuestionPage { next: last, ..found });
        }
        // The last one may be a question that the caller may not see: the page ends behind a moment, which names none.
        if let Some(QuestionPlace { at, .. }) = last.filter(|last| last.at < place.at)
            && looked_through >= query.look_through
        {
            let next = QuestionPlace { at, question: MessageId::HIGHEST };
            return Ok(OpenQuestionPage { next: Some(next), ..found });
        }
        looked_through += 1;
        last = Some(place);
        let question = summary(&line).and_then(|mut run| Some((shown(&mut run, place)?, run)));
        found.questions.extend(question.map(|(question, run)| (run, question)));
    }
    Ok(found)
}

/// A line as a summary. One that cannot be read is one of another version; the log still has the run.
fn summary(line: &RunLine) -> Option<RunSummary> {
    let mut summary: RunSummary = crate::bounds::parse(&line.value).ok()?;
    if line.title.is_some() {
        summary.title.clone_from(&line.title);
    }
    Some(summary)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::broker::run_lists::{LineOwner, WholeRunLists};
    use crate::broker::{Bucket, embedded};
    use crate::clock::Timestamp;

    const LOOK_THROUGH: usize = 3;

    /// Puts lines of runs that each ask something, four of them at each moment. Returns the questions of those that may be seen.
    async fn some_questions(broker: &Broker) -> BTreeSet<MessageId> {
        let mut visible = BTreeSet::new();
        for number in 0..60 {
            let (run, question) = (RunId::random(), MessageId::random());
            let workflow = if number % 7 == 0 { "mine" } else { "others" };
            visible.extend((workflow == "mine").then_some(question));
            let at = Timestamp::from_second(number / 4).unwrap();
            let line = json!({
                "id": run, "workflow": workflow, "title": null, "state": "waiting", "outcome": null, "user": null,
                "questions": [{"id": question, "prompt": "?", "at": at}], "created_at": at, "updated_at": at, "seq": 1,
            });
            let key = RunSummary::new(run).key();
            broker.catalogue.put(Bucket::Runs, &key, line.to_string().into(), None).await.unwrap();
        }
        visible
    }

    #[tokio::test]
    async fn questions_go_on_after_what_may_not_be_seen_without_naming_it() {
        let folder = tempfile::tempdir().unwrap();
        let indexed = embedded::open(folder.path()).unwrap();
        let visible = some_questions(&indexed).await;
        let whole = Broker { lists: Arc::new(WholeRunLists::new(indexed.catalogue.clone())), ..indexed.clone() };
        for broker in [indexed, whole] {
            let mut found = Vec::new();
            let mut query = QuestionQuery {
                owner: LineOwner::Everybody,
                asked_before: None,
                after: None,
                limit: 2,
                look_through: LOOK_THROUGH,
            };
            loop {
                let looked_at = Cell::new(0);
                let shown = |run: &mut RunSummary, place: QuestionPlace| {
                    looked_at.set(looked_at.get() + 1);
                    let is_visible = run.workflow.as_ref().is_some_and(|name| name.as_str() == "mine");
                    run.questions.iter().find(|open| is_visible && open.id == place.question).cloned()
                };
                let page = questions(&broker, &query, shown).await.unwrap();
                assert!(looked_at.get() <= LOOK_THROUGH + 3, "{} were looked at", looked_at.get());
                found.extend(page.questions.iter().map(|(_, question)| question.id));
                let Some(next) = page.next else { break };
                let names = next.question;
                assert!(visible.contains(&names) || names == MessageId::HIGHEST, "{next} names a question of others");
                query.after = Some(next);
            }
            assert_eq!(found.len(), visible.len(), "each once");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), visible);
        }
    }
}
