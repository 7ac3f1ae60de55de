//! A run in a few words, for lists and search: a pure projection of its log, kept in a bucket so that a list need not read
//! every log. Nothing is decided by the bucket; it can be made anew from the logs at any time.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::parse;
use crate::broker::{self, Broker, Bucket, StoredRecord};
use crate::clock::Timestamp;
use crate::ids::{MessageId, Name, RunId, UserId, WorkerId, user_token};
use crate::message::MessageContent;
use crate::money::Usd;
use crate::protocol::answer::{AnswerOutcome, AnswerRecord};
use crate::protocol::answerers::AnswererRule;
pub use crate::protocol::api::RunState;
use crate::protocol::log::{
    EffectOutcome, LogEntry, RecordBody, RunCreation, RunOrigin, RunOutcome, RunRemoval, TitleEvent,
};
use crate::protocol::message::LOST_CALL_CHOICES;
use crate::protocol::run_line::{REMOVED_LINES, TITLE_KEY};
use crate::run::Result;
use crate::run::assembler::RecordAssembler;

/// A question that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenQuestion {
    /// Its id.
    pub id: MessageId,
    /// What it asks, shortened.
    pub prompt: String,
    /// When it was asked.
    #[serde(default)]
    pub at: Timestamp,
    /// Who may answer it; none: all who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerers: Option<Box<AnswererRule>>,
    /// How many of its escalations the log has.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    pub escalated: usize,
    /// When nobody had answered it for a while, the last time that this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminded_at: Option<Timestamp>,
    /// Its answer may be the run's title. Whether a tool may be called says nothing of what the run is about.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub entitles: bool,
}

fn is_none_yet(count: &usize) -> bool {
    *count == 0
}

fn yes() -> bool {
    true
}

/// A run in a few words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub id: RunId,
    /// Its workflow.
    pub workflow: Option<Name>,
    /// The first answer that says something, or what a person called it.
    pub title: Option<String>,
    /// How it is doing.
    pub state: RunState,
    /// How it ended.
    pub outcome: Option<RunOutcome>,
    /// Why it did not end well.
    #[serde(default)]
    pub reason: Option<String>,
    /// The open questions, the oldest first.
    pub questions: Vec<OpenQuestion>,
    /// Who it belongs to.
    pub user: Option<UserId>,
    /// Who works at it.
    pub origin: Option<RunOrigin>,
    /// The worker that claimed it last.
    #[serde(default)]
    pub worker: Option<WorkerId>,
    /// Tokens that models have read and written for it.
    #[serde(default)]
    pub tokens: u64,
    /// What they cost by the price table.
    #[serde(default)]
    pub cost_usd: Usd,
    /// Some of these tokens, and what they cost, are estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its last record was stored, but for those of parking.
    pub updated_at: Timestamp,
    /// The sequence of its last record.
    pub seq: u64,
    /// What is left of it, if it was removed or erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Box<RunRemoval>>,
}

/// The longest title and prompt that is kept, in characters.
const LONGEST_TITLE: usize = 120;
/// The longest reason why a run ended, in characters: room for a sentence and what to do about it.
const LONGEST_REASON: usize = 400;

fn shortened(text: &str) -> String {
    shortened_to(text, LONGEST_TITLE)
}

fn shortened_to(text: &str, longest: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= longest { line } else { line.chars().take(longest - 1).chain(['…']).collect() }
}

/// Whether the answer to a question may say what a run is about. To allow a call does not, nor to have a lost call made again.
fn entitles(question: &MessageContent) -> bool {
    match question {
        MessageContent::Approval(_) => false,
        MessageContent::MultipleChoice(choice) => choice.choices != LOST_CALL_CHOICES,
        _ => true,
    }
}

/// Whether a run could be told from others by it: "30" or "ok" are no titles. Outside of ASCII a letter may be a word.
fn says_something(title: &str) -> bool {
    const LETTERS: usize = 3;
    let weight = |letter: char| if letter.is_ascii() { 1 } else { LETTERS };
    title.chars().filter(|letter| letter.is_alphabetic()).map(weight).sum::<usize>() >= LETTERS
}

/// What a run is called after an answer: its text, or what stands in the fields of a form.
fn title_of(answered: &AnswerRecord) -> Option<String> {
    let taken = match &answered.outcome {
        AnswerOutcome::Given(taken) | AnswerOutcome::TimedOut { default: Some(taken) } => taken,
        AnswerOutcome::Sealed(_)
        | AnswerOutcome::NeverStored
        | AnswerOutcome::Refused { .. }
        | AnswerOutcome::TimedOut { default: None } => return None,
    };
    let Value::Object(fields) = &taken.value else { return Some(taken.text.clone()) };
    let words = fields.values().filter_map(|value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Some(words.collect::<Vec<_>>().join(", "))
}

impl RunSummary {
    /// The summary of a run without records.
    pub fn new(run: RunId) -> Self {
        Self {
            id: run,
            workflow: None,
            title: None,
            state: RunState::Queued,
            outcome: None,
            reason: None,
            questions: Vec::new(),
            user: None,
            origin: None,
            worker: None,
            tokens: 0,
            cost_usd: Usd::default(),
            estimated: false,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            seq: 0,
            removed: None,
        }
    }

    /// The summary of a run with these records.
    pub fn of(run: RunId, records: &[LogEntry]) -> Self {
        let mut summary = Self::new(run);
        for placed in records {
            summary.apply(placed);
        }
        summary
    }

    /// It has ended so.
    pub fn end(&mut self, outcome: RunOutcome, reason: Option<&str>) {
        self.state = RunState::Ended;
        self.outcome = Some(outcome);
        self.reason = reason.map(|reason| shortened_to(reason, LONGEST_REASON));
        self.questions.clear();
    }

    /// Takes the next record in.
    pub fn apply(&mut self, placed: &LogEntry) {
        self.seq = placed.seq;
        // Who waits is not moved by where the run is kept meanwhile.
        if !matches!(placed.record.body, RecordBody::Parked { .. }) {
            self.updated_at = placed.at;
        }
        match &placed.record.body {
            RecordBody::Created(created) => {
                self.workflow = Some(created.workflow.clone());
                self.user = created.user.clone();
                self.origin = Some(created.origin);
                self.created_at = placed.at;
            }
            RecordBody::Claimed { worker, .. } => {
                self.worker = Some(*worker);
                self.state = self.waiting_or_running();
            }
            RecordBody::Said { message, .. } => {
                if message.says.asks() {
                    let prompt = shortened(message.says.short_prompt().unwrap_or_default());
                    let entitles = entitles(&message.says);
                    let answerers = message.says.answerers().cloned().map(Box::new);
                    let (id, at) = (message.uuid, placed.at);
                    self.questions.push(OpenQuestion {
                        id,
                        prompt,
                        at,
                        answerers,
                        escalated: 0,
                        reminded_at: None,
                        entitles,
                    });
                }
                self.state = self.waiting_or_running();
            }
            RecordBody::Did { outcome: EffectOutcome::Answer(answered), .. } => {
                let place = self.questions.iter().position(|question| question.id == answered.question);
                let entitles = place.is_none_or(|place| self.questions.remove(place).entitles);
                if entitles && self.title.is_none() {
                    self.title =
                        title_of(answered).map(|title| shortened(&title)).filter(|title| says_something(title));
                }
                self.state = self.waiting_or_running();
            }
            RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } => {
                let asked = self.questions.iter_mut().filter(|question| question.id == reminder.question);
                asked.for_each(|question| {
                    question.escalated = reminder.escalated;
                    question.reminded_at = Some(placed.at);
                });
            }
            RecordBody::Did { outcome: EffectOutcome::Reply(reply), .. } => {
                self.tokens = self.tokens.saturating_add(reply.usage.tokens());
                self.cost_usd += reply.usage.cost_usd;
                self.estimated |= reply.usage.estimated;
            }
            RecordBody::Ended(ended) => {
                self.end(ended.outcome, ended.reason.as_deref());
            }
            // All that is left of a run is its tombstone.
            RecordBody::Removed(removal) => self.remove(removal, placed.at),
            RecordBody::Did { .. }
            | RecordBody::Calling { .. }
            | RecordBody::Parked { .. }
            | RecordBody::Part { .. }
            | RecordBody::Kept(_) => {}
        }
    }

    /// It was removed: of all that was said in it nothing stays.
    fn remove(&mut self, removal: &RunRemoval, at: Timestamp) {
        (self.state, self.title, self.reason) = (RunState::Ended, None, None);
        self.questions.clear();
        if self.workflow.is_none() {
            self.created_at = at;
        }
        if let Some(evidence) = &removal.evidence {
            self.workflow = Some(evidence.workflow.clone());
            self.user = evidence.user.clone();
            self.origin = Some(evidence.origin);
            self.created_at = evidence.created_at;
            self.outcome = evidence.outcome;
            self.tokens = evidence.usage.tokens();
            self.cost_usd = evidence.usage.cost_usd;
            self.estimated = evidence.usage.estimated_calls > 0;
        }
        let at = removal.at.unwrap_or(at);
        self.removed = Some(Box::new(RunRemoval { at: Some(at), ..removal.clone() }));
    }

    fn waiting_or_running(&self) -> RunState {
        if self.questions.is_empty() { RunState::Running } else { RunState::Waiting }
    }

    /// The questions that nobody has answered yet.
    pub fn open_questions(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.questions.iter().map(|question| question.id)
    }

    /// How the run began, as far as the lists know, for one whose log cannot be read.
    pub fn as_created(&self) -> RunCreation {
        RunCreation {
            workflow: self.workflow.clone().unwrap_or_else(|| Name::parse("unreadable").expect("a name")),
            definition: None,
            params: serde_json::Map::new(),
            user: self.user.clone(),
            groups: Box::default(),
            origin: self.origin.unwrap_or(RunOrigin::Gateway),
            trace: None,
            signature: None,
        }
    }

    /// Its key in the bucket.
    pub fn key(&self) -> String {
        key(self.user.as_ref(), self.id)
    }

    /// Puts what is left of it where only the audit looks, for so long; none: for ever.
    pub async fn publish_removed_summary(&self, broker: &Broker, kept: Option<Duration>) -> Result<()> {
        let value = serde_json::to_vec(self).expect("a summary is JSON");
        replace(broker, &removed_key(self.id), value, kept).await
    }

    /// Publishes it in its bucket. Summaries are published late: one of a run that was removed as soon as it had ended does not stay.
    pub async fn publish_summary(&self, broker: &Broker) -> Result<()> {
        self.put_line(broker).await?;
        if self.state == RunState::Ended {
            take_back_removed(broker, std::slice::from_ref(&self.of_user())).await
        } else {
            Ok(())
        }
    }

    /// Puts it into its bucket. One that says that the run has ended is to be looked at with [`take_back_removed`] afterwards.
    pub async fn put_line(&self, broker: &Broker) -> Result<()> {
        let value = serde_json::to_vec(self).expect("a summary is JSON");
        Ok(broker.catalogue.put(Bucket::Runs, &self.key(), value.into(), None).await?)
    }

    /// The run and whose it is.
    pub fn of_user(&self) -> RunOfUser {
        RunOfUser { run: self.id, user: self.user.clone() }
    }
}

/// Overwrites what a run's line was before: titles and questions that it has no more, and those that it still has.
pub async fn forget_older(broker: &Broker, user: Option<&UserId>, run: RunId) -> Result<()> {
    Ok(broker.catalogue.forget_older(Bucket::Runs, &key(user, run)).await?)
}

/// Puts something under a key of the lists that few runs have, and overwrites what was there.
async fn replace(broker: &Broker, key: &str, value: Vec<u8>, kept: Option<Duration>) -> Result<()> {
    broker.catalogue.put(Bucket::Runs, key, value.into(), kept).await?;
    Ok(broker.catalogue.forget_older(Bucket::Runs, key).await?)
}

/// A run, and whose it is.
#[derive(Debug, Clone)]
pub struct RunOfUser {
    /// The run.
    pub run: RunId,
    /// The person who started it; none: nobody has a name here.
    pub user: Option<UserId>,
}

/// Takes the lines of those runs away that were removed before their lines were put down. Whoever removes a run after this look takes
/// its line away, too.
pub async fn take_back_removed(broker: &Broker, ended: &[RunOfUser]) -> Result<()> {
    let runs: Vec<RunId> = ended.iter().map(|ended| ended.run).collect();
    for (run, last) in broker.log.last_did_of(&runs).await? {
        if is_tombstone(run, &last)
            && let Some(removed) = ended.iter().find(|ended| ended.run == run)
        {
            // One that cannot be taken back now leaves the others theirs.
            if let Err(error) = remove_summary(broker, removed.user.as_ref(), run).await {
                tracing::debug!(run.id = %run, "the line of a removed run stays for now: {error}");
            }
        }
    }
    Ok(())
}

/// Whether a run's last record says that all else is removed.
fn is_tombstone(run: RunId, last: &StoredRecord) -> bool {
    // A piece of a large record cannot be read by itself, and is no tombstone.
    let records = RecordAssembler::default().look(run, last).records;
    records.last().is_some_and(|placed| matches!(placed.record.body, RecordBody::Removed(_)))
}

fn key(user: Option<&UserId>, run: RunId) -> String {
    format!("{}.{run}", user_token(user))
}

/// The key of a person's title, beside the summary: the worker writes the summary anew as the run goes on, and must not write over
/// what a person called it.
fn title_key(user: Option<&UserId>, run: RunId) -> String {
    format!("{}.{run}.{TITLE_KEY}", user_token(user))
}

/// The last token of the key under which it is kept who called a run what.
const RENAMES: &str = "renames";

fn renames_key(user: Option<&UserId>, run: RunId) -> String {
    format!("{}.{run}.{RENAMES}", user_token(user))
}

fn removed_key(run: RunId) -> String {
    format!("{REMOVED_LINES}.{run}")
}

/// How many renames of a run are kept: the first, and the last ones.
const RENAMES_KEPT: usize = 50;

/// That a person gave a run another title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TitleChange {
    /// Who, and when.
    #[serde(flatten)]
    pub renamed: TitleEvent,
    /// The title before, if a person had given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The title since; none: the run's first answer again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Who called a run what, the oldest first.
pub async fn renames(broker: &Broker, user: Option<&UserId>, run: RunId) -> Result<Vec<TitleChange>> {
    let value = broker.catalogue.get(Bucket::Runs, &renames_key(user, run)).await?;
    Ok(value.and_then(|value| crate::bounds::parse(&value).ok()).unwrap_or_default())
}

/// About how many bytes it takes to call a run by this title: the list of renames is stored anew each time.
pub async fn weight_of_rename(
    broker: &Broker,
    user: Option<&UserId>,
    run: RunId,
    title: Option<&str>,
) -> Result<usize> {
    let kept = broker.catalogue.get(Bucket::Runs, &renames_key(user, run)).await?;
    Ok(kept.map_or(0, |kept| kept.len()) + 2 * title.map_or(0, str::len))
}

/// What a person called a run.
pub async fn title(broker: &Broker, user: Option<&UserId>, run: RunId) -> Result<Option<String>> {
    let value = broker.catalogue.get(Bucket::Runs, &title_key(user, run)).await?;
    Ok(value.and_then(|value| crate::bounds::parse(&value).ok()))
}

/// Calls a run by a title of a person's; `None`: by its first answer again. That it was renamed is kept beside it.
pub async fn rename(
    broker: &Broker,
    user: Option<&UserId>,
    run: RunId,
    title: Option<&str>,
    renamed: TitleEvent,
) -> Result<()> {
    let before = self::title(broker, user, run).await?;
    change_renames(broker, user, run, &|renames| {
        let from = renames.last().map_or_else(|| before.clone(), |last| last.to.clone());
        // It was stored, and only the broker's word for it was lost.
        if renames.last().is_some_and(|last| last.renamed == renamed && last.to.as_deref() == title) {
            return;
        }
        renames.push(TitleChange { renamed: renamed.clone(), from, to: title.map(str::to_owned) });
        drop_some(renames);
    })
    .await?;
    put_title(broker, user, run, title).await?;
    // Of two at once the title is what the last one in the list says, whichever was put last.
    let mut title = title.map(str::to_owned);
    while let Some(last) = renames(broker, user, run).await?.pop()
        && last.to != title
    {
        put_title(broker, user, run, last.to.as_deref()).await?;
        title = last.to;
    }
    take_back_removed(broker, &[RunOfUser { run, user: user.cloned() }]).await
}

/// Keeps the first rename, which knows the title that was there before, and the last ones; the first says how many are gone.
fn drop_some(renames: &mut Vec<TitleChange>) {
    let more = renames.len().saturating_sub(RENAMES_KEPT);
    if more > 0 {
        renames.drain(1..=more);
        renames[0].renamed.dropped += more as u64;
    }
}

/// Changes what is kept of a run's renames. What others do at the same moment is not lost.
async fn change_renames(
    broker: &Broker,
    user: Option<&UserId>,
    run: RunId,
    change: &(dyn Fn(&mut Vec<TitleChange>) + Sync),
) -> Result<()> {
    let key = renames_key(user, run);
    loop {
        let (value, revision) = broker.catalogue.get_to_change(Bucket::Runs, &key).await?;
        let before: Vec<TitleChange> = value.and_then(|value| parse(&value).ok()).unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let value = serde_json::to_vec(&after).expect("renames are JSON");
        match broker.catalogue.put_over(Bucket::Runs, &key, value.into(), revision, None).await {
            Err(broker::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => return Ok(broker.catalogue.forget_older(Bucket::Runs, &key).await?),
        }
    }
}

/// Changes the words of all titles that people gave a run.
pub async fn change_titles(
    broker: &Broker,
    user: Option<&UserId>,
    run: RunId,
    change: &(dyn Fn(&mut String) + Sync),
) -> Result<()> {
    change_renames(broker, user, run, &|renames| {
        renames.iter_mut().flat_map(|rename| rename.from.iter_mut().chain(&mut rename.to)).for_each(change);
    })
    .await?;
    let title = title(broker, user, run).await?;
    let mut changed = title.clone();
    changed.iter_mut().for_each(change);
    if changed != title {
        put_title(broker, user, run, changed.as_deref()).await?;
    }
    Ok(())
}

async fn put_title(broker: &Broker, user: Option<&UserId>, run: RunId, title: Option<&str>) -> Result<()> {
    let key = title_key(user, run);
    match title {
        Some(title) => {
            let value = serde_json::to_vec(title).expect("a text is JSON");
            replace(broker, &key, value, None).await
        }
        None => Ok(broker.catalogue.delete(Bucket::Runs, &key).await?),
    }
}

/// The summaries of a user's runs (`None`: the runs of nobody), newest last.
pub async fn list(broker: &Broker, user: Option<&UserId>) -> Result<Vec<RunSummary>> {
    listed(broker, Some(&user_token(user))).await
}

/// The summaries of everybody's runs, newest last. Removed ones are not among them.
pub async fn list_all(broker: &Broker) -> Result<Vec<RunSummary>> {
    listed(broker, None).await
}

/// The summaries of everybody's runs, and of those that people have removed, newest last.
pub async fn list_all_and_removed(broker: &Broker) -> Result<Vec<RunSummary>> {
    let (mut all, removed) = tokio::try_join!(listed(broker, None), listed(broker, Some(REMOVED_LINES)))?;
    all.extend(removed);
    all.sort_by_key(|summary| summary.created_at);
    Ok(all)
}

async fn listed(broker: &Broker, first: Option<&str>) -> Result<Vec<RunSummary>> {
    let entries = broker.catalogue.list(Bucket::Runs, first).await?;
    let mut summaries = Vec::with_capacity(entries.len());
    let mut titles = HashMap::new();
    let wanted =
        |key: &str| (first == Some(REMOVED_LINES) || !key.starts_with(REMOVED_LINES)) && !key.ends_with(".renames");
    for entry in entries.iter().filter(|entry| wanted(&entry.key)) {
        match entry.key.strip_suffix(TITLE_KEY).and_then(|key| key.strip_suffix('.')) {
            Some(key) => titles.extend(crate::bounds::parse::<String>(&entry.value).map(|title| (key, title))),
            // An entry that cannot be read is one of another version; the log still has the run.
            None => summaries.extend(crate::bounds::parse::<RunSummary>(&entry.value)),
        }
    }
    for summary in &mut summaries {
        if let Some(title) = titles.remove(summary.key().as_str()) {
            summary.title = Some(title);
        }
    }
    summaries.sort_by_key(|summary| summary.created_at);
    Ok(summaries)
}

/// Removes the summary of a run, and what a person called it.
pub async fn remove_summary(broker: &Broker, user: Option<&UserId>, run: RunId) -> Result<()> {
    let (title, line, renames) = (title_key(user, run), key(user, run), renames_key(user, run));
    // Few runs were ever renamed, and on a NATS server each delete is a message.
    let renames = async {
        match broker.catalogue.get(Bucket::Runs, &renames).await? {
            Some(_) => broker.catalogue.delete(Bucket::Runs, &renames).await,
            None => Ok(()),
        }
    };
    let (title, line) = (broker.catalogue.delete(Bucket::Runs, &title), broker.catalogue.delete(Bucket::Runs, &line));
    tokio::try_join!(title, line, renames)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::embedded;

    #[tokio::test]
    async fn the_first_title_outlives_any_number_of_renames_and_none_of_many_at_once_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let broker = embedded::open(dir.path()).unwrap();
        let (run, user) = (RunId::random(), UserId::new("ann"));
        let renamed = |by: Option<UserId>| TitleEvent { by, at: Timestamp::UNIX_EPOCH, dropped: 0 };
        let call_it = |title: String| {
            let (broker, user) = (broker.clone(), user.clone());
            async move {
                rename(&broker, user.as_ref(), run, Some(&title), renamed(user.clone())).await.unwrap();
            }
        };
        // As an older version, which kept no renames, may have left it.
        put_title(&broker, user.as_ref(), run, Some("as it was")).await.unwrap();
        futures_util::future::join_all((0..20).map(|number| call_it(format!("at once {number}")))).await;
        let kept = renames(&broker, user.as_ref(), run).await.unwrap();
        let mut titles: Vec<_> = kept.iter().map(|rename| rename.to.clone().unwrap()).collect();
        titles.sort();
        titles.dedup();
        assert_eq!((kept.len(), titles.len()), (20, 20));
        let last = kept.last().unwrap().to.clone();
        assert_eq!(title(&broker, user.as_ref(), run).await.unwrap(), last, "the last one counts");
        for number in 0..2 * RENAMES_KEPT {
            call_it(format!("later {number}")).await;
        }
        let kept = renames(&broker, user.as_ref(), run).await.unwrap();
        assert_eq!(kept.len(), RENAMES_KEPT);
        assert_eq!((kept[0].from.as_deref(), kept[0].renamed.dropped), (Some("as it was"), 70));
        assert_eq!(kept.last().unwrap().to.as_deref(), Some("later 99"));
        assert!(kept[1..].iter().all(|rename| rename.renamed.dropped == 0));
    }

    #[test]
    fn what_a_person_decides_about_a_call_is_no_title() {
        let choice = |choices: &[&str]| {
            let choices = choices.iter().map(|&choice| choice.to_owned()).collect();
            MessageContent::MultipleChoice(crate::message::MultipleChoice { choices, ..Default::default() })
        };
        assert!(entitles(&choice(&["Geometry", "Algebra"])));
        assert!(!entitles(&choice(&LOST_CALL_CHOICES)));
    }

    #[test]
    fn a_title_tells_a_run_from_others() {
        for (answer, says) in
            [("30", false), ("ok", false), ("x?", false), ("", false), ("Ann", true), ("三角形", true), ("猫", true)]
        {
            assert_eq!(says_something(answer), says, "{answer}");
        }
    }
}
