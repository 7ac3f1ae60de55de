//! Lists of runs in a few words, by page ([`RunLists`](crate::broker::run_lists::RunLists)).

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};

use crate::broker::Broker;
use crate::broker::run_lists::{LinePlace, LineQuery, MOST_LOOKED_THROUGH, QuestionPlace, QuestionQuery, RunLine};
use crate::ids::RunId;
use crate::run::Result;
use crate::run::summary::{OpenQuestion, RunSummary};

/// The most questions that are read at once.
const MOST_READ: usize = 2000;

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
    let mut found = OpenQuestionPage { questions: Vec::new(), next: query.after };
    let (mut read_at_once, mut looked_through) = (query.limit, 0);
    loop {
        let part = QuestionQuery { after: found.next, limit: read_at_once, ..query.clone() };
        let page = broker.lists.questions(&part).await?;
        looked_through += page.questions.len();
        let mut rest = page.questions.iter().peekable();
        while let Some((place, line)) = rest.next() {
            let question = summary(line).and_then(|mut run| Some((shown(&mut run, *place)?, run)));
            found.questions.extend(question.map(|(question, run)| (run, question)));
            if found.questions.len() >= query.limit {
                let is_more = rest.peek().is_some() || page.next.is_some();
                return Ok(OpenQuestionPage { next: is_more.then_some(*place), ..found });
            }
        }
        found.next = page.next;
        if found.next.is_none() || looked_through >= MOST_LOOKED_THROUGH {
            return Ok(found);
        }
        read_at_once = (read_at_once * 8).clamp(1, MOST_READ);
    }
}

/// A line as a summary. One that cannot be read is one of another version; the log still has the run.
fn summary(line: &RunLine) -> Option<RunSummary> {
    let mut summary: RunSummary = crate::bounds::parse(&line.value).ok()?;
    if line.title.is_some() {
        summary.title.clone_from(&line.title);
    }
    Some(summary)
}
