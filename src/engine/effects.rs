//! The effects that remember: each looks into the log first, and only what is not there is performed, and then appended
//! before anything follows from it.
//!
//! The key of an effect is its scope (the place of its step, iteration, branch and attempt) and a number within it. Within a
//! scope everything happens in order, so the same execution meets the same keys.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::broker::{Put, Slot, Stored};
use crate::chat::{Answer, Failure, LIMIT, Question, Replied, Result, Speaking, Stop};
use crate::clock::{self, Timestamp};
use crate::engine::journal::{Journal, Remembered, Writing};
use crate::engine::watch::Asking;
use crate::ids::MessageId;
use crate::message::{self, Content, Message, Within};
use crate::model::{self, Progress};
use crate::run::answer::{self, Given};
use crate::run::attach::Delta;
use crate::run::record::{Answered, Body, Outcome};
use crate::traces;
use crate::workflow::ModelUse;

/// How often a question is asked again after answers that do not fit: a program that answers by itself must not fill the log.
const MOST_REFUSALS: u32 = 20;

/// The kind of a failure of a run whose log does not fit the program. No step can catch it.
pub(super) const REPLAY: &str = "replay";
/// How exactly the limit of a run's time is kept.
const LIMIT_LOOKED_AT_EVERY: Duration = Duration::from_millis(20);

/// The effects of one scope.
pub(super) struct Scoped {
    pub journal: Arc<Journal>,
    scope: String,
    within: Mutex<Vec<Within>>,
    next: AtomicU32,
}

impl Scoped {
    /// The effects of the scope with that name, in the conversations that it is inside of.
    pub(super) fn new(journal: Arc<Journal>, scope: impl Into<String>, within: Vec<Within>) -> Self {
        Self { journal, scope: scope.into(), within: Mutex::new(within), next: AtomicU32::new(0) }
    }

    /// The conversations that it is inside of now.
    pub(super) fn within(&self) -> Vec<Within> {
        self.inside().clone()
    }

    /// Begins a conversation inside of the present one.
    pub(super) fn enter(&self, conversation: Within) {
        self.inside().push(conversation);
    }

    /// Ends the innermost conversation.
    pub(super) fn leave(&self) {
        self.inside().pop();
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Vec<Within>> {
        self.within.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> String {
        format!("{}#{}", self.scope, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Refuses to perform an effect that the log does not remember although it remembers a later one of the same scope.
    fn check_new(&self, key: &str) -> Result<()> {
        let number = self.next.load(Ordering::Relaxed) - 1;
        match self.journal.remembered_after(&self.scope, number) {
            None => Ok(()),
            Some(later) => Err(Stop::failed(
                REPLAY,
                format!("the run cannot be continued: its log holds nothing at {key:?}, but something at {later:?}"),
            )),
        }
    }

    fn message_id(&self, key: &str) -> MessageId {
        self.journal.run.derive(&format!("message/{key}"))
    }

    /// A value that is made once, and remembered: a time, a random choice.
    pub(super) async fn once(&self, make: impl FnOnce() -> Value) -> Result<Value> {
        let key = self.key();
        match self.journal.remembered(&key) {
            Some(Remembered::Did(Outcome::Value(value))) => return Ok(value),
            Some(other) => return Err(diverged(&key, "a value", &other)),
            None => self.check_new(&key)?,
        }
        let _busy = self.journal.busy();
        let value = make();
        self.journal.append(Body::Did { key, outcome: Outcome::Value(value.clone()) }).await?;
        Ok(value)
    }

    /// The moment `span` from now, the same after a restart.
    pub(super) async fn moment_after(&self, span: std::time::Duration) -> Result<Timestamp> {
        let clock = self.journal.clock();
        let value = self.once(|| Value::String(clock::after(clock.now(), span).to_string())).await?;
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| Stop::Halted(format!("{value} is not a time")))
    }

    /// Waits until a moment has come, for seconds or for weeks.
    pub(super) async fn wait_until(&self, moment: Timestamp) {
        let _waiting = self.journal.waiting(Some(moment));
        sleep_until(&self.journal, Some(moment)).await;
    }

    /// Waits until a moment has come, if the run's limit of time allows.
    pub(super) async fn pause_until(&self, moment: Timestamp) -> Result<()> {
        if self.journal.clock().now() >= moment {
            return Ok(());
        }
        self.within_duration(self.wait_until(moment)).await
    }

    /// Appends a value that another part of the engine decided.
    pub(super) async fn remember(&self, key: &str, outcome: Outcome) -> Result<()> {
        let _busy = self.journal.busy();
        self.journal.append(Body::Did { key: format!("{}/{key}", self.scope), outcome }).await
    }

    /// What was remembered by [`Scoped::remember`].
    pub(super) fn recalled(&self, key: &str) -> Option<Outcome> {
        match self.journal.remembered(&format!("{}/{key}", self.scope))? {
            Remembered::Did(outcome) => Some(outcome),
            Remembered::Said(_) | Remembered::Calling => None,
        }
    }

    /// Says the question if it is not said yet, and waits for its answer.
    async fn ask_once(&self, key: &str, question: &Question) -> Result<Answered> {
        let journal = &self.journal;
        let answer_key = format!("{key}/answer");
        let known = match journal.remembered(key) {
            Some(Remembered::Said(message)) => Some(message),
            Some(other) => return Err(diverged(key, "a question", &other)),
            None => None,
        };
        match journal.remembered(&answer_key) {
            Some(Remembered::Did(Outcome::Answer(answered))) if known.is_some() => return Ok(answered),
            Some(other) => return Err(diverged(&answer_key, "an answer", &other)),
            None => {}
        }
        // Boxed, as it passes: what waits for the answer holds only what it needs then.
        let asked = Box::pin(self.put_question(key, question, known)).await?;
        let stored = self.wait_for_answer(&asked.says, asked.uuid, asked.listener, asked.was_said).await?;
        let _busy = journal.busy();
        let answered = Box::pin(self.read_answer(asked.uuid, &asked.says, stored.as_ref(), question)).await?;
        journal.append(Body::Did { key: answer_key, outcome: Outcome::Answer(answered.clone()) }).await?;
        // A password that was only told goes on in memory, never in the log.
        let told = (answered.sealed.as_deref() == Some("")).then(|| journal.take_told(asked.uuid)).flatten();
        Ok(match told {
            Some(secret) => Answered { value: Some(Value::String(secret)), ..answered },
            None => answered,
        })
    }

    /// Says a question that is not `known` yet, and listens for its answer.
    async fn put_question(&self, key: &str, question: &Question, known: Option<Message>) -> Result<Asked> {
        let was_said = known.is_some();
        let message = known.unwrap_or_else(|| self.question_message(key, question));
        let (uuid, says) = (message.uuid, message.says.clone());
        // Listening begins before the question exists, so that no answer can come too early.
        let listener = self.journal.listen(uuid);
        if !was_said {
            self.check_new(key)?;
            let _busy = self.journal.busy();
            self.journal.append(Body::Said { key: key.to_owned(), message }).await?;
        }
        Ok(Asked { uuid, says, listener, was_said })
    }

    fn question_message(&self, key: &str, question: &Question) -> Message {
        let mut says = question.says.clone();
        if let Some(timeout) = question.timeout {
            set_deadline(&mut says, clock::after(self.journal.clock().now(), timeout), question.default.as_ref());
        }
        Message {
            uuid: self.message_id(key),
            sender: Some(question.sender.clone()),
            recipient: Some(question.recipient.clone()),
            auto_reply: false,
            alias: None,
            within: self.within(),
            says,
        }
    }

    /// Waits for the stored answer; `None` if the deadline closed the question.
    async fn wait_for_answer(
        &self,
        says: &Content,
        question: MessageId,
        listener: oneshot::Receiver<Stored>,
        look_first: bool,
    ) -> Result<Option<Stored>> {
        let journal = &self.journal;
        let deadline = says.deadline();
        let slot = Slot::Answer(question);
        if look_first {
            // Not yet a wait: a run is not parked while it looks for its answer.
            let _busy = journal.busy();
            if let Some(stored) = journal.inbox(slot).await? {
                return Ok(Some(stored));
            }
        }
        let _waiting = journal.waiting(deadline);
        tokio::select! {
            Ok(stored) = listener => return Ok(Some(stored)),
            () = sleep_until(journal, deadline) => {}
        }
        // Closing the question is an answer like any other: whoever is first counts.
        let closed = Given::new(answer::Answer::TimedOut, None);
        let payload = serde_json::to_vec(&closed).expect("an answer is JSON");
        loop {
            match journal.broker.inbox.put(journal.run, slot, payload.clone().into()).await {
                Ok(Put::First) => return Ok(None),
                Ok(Put::Taken(stored)) => return Ok(Some(stored)),
                Err(crate::broker::Error::Unavailable { .. }) => {
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
                Err(error) => return Err(Stop::Halted(error.to_string())),
            }
        }
    }

    /// Turns what the inbox holds into what the log will say.
    async fn read_answer(
        &self,
        question: MessageId,
        says: &Content,
        stored: Option<&Stored>,
        asked: &Question,
    ) -> Result<Answered> {
        let given = stored.and_then(|stored| serde_json::from_slice::<Given>(&stored.payload).ok());
        let by = given.as_ref().and_then(|given| given.by.clone());
        let nothing = Answered { question, by, ..empty_answer(question) };
        if let Some(doubt) = given.as_ref().and_then(|given| self.journal.doubt(question, given, says)) {
            return Ok(Answered { refused: Some(doubt.to_owned()), ..empty_answer(question) });
        }
        Ok(match given.map(|given| given.answer) {
            None if stored.is_some() => Answered { refused: Some("the answer cannot be read".to_owned()), ..nothing },
            None | Some(answer::Answer::TimedOut) => Answered {
                value: asked.default.clone(),
                text: asked.default.as_ref().map(value_text),
                on_timeout: true,
                ..nothing
            },
            Some(answer::Answer::Value(value)) => checked(nothing, message::check_answer(says, &value), says),
            Some(answer::Answer::Text(text)) => checked(nothing, message::check_text_answer(says, &text), says),
            Some(answer::Answer::Sealed(sealed)) => match self.journal.open_secret(question, &sealed).await? {
                Some(_) => Answered { sealed: Some(sealed), ..nothing },
                None => Answered { refused: Some("the password was sealed with another key".to_owned()), ..nothing },
            },
            // Known only to the worker that was told; another asks again.
            Some(answer::Answer::Told) => Answered { sealed: Some(String::new()), ..nothing },
            Some(answer::Answer::Cancel) => Answered { refused: Some("this is no answer".to_owned()), ..nothing },
        })
    }
}

/// A question that is in the log and waits for its answer.
struct Asked {
    uuid: MessageId,
    says: Content,
    listener: oneshot::Receiver<Stored>,
    /// It was asked in an earlier life of the run: its answer may be there already.
    was_said: bool,
}

fn empty_answer(question: MessageId) -> Answered {
    Answered { question, value: None, sealed: None, text: None, refused: None, by: None, on_timeout: false }
}

fn checked(nothing: Answered, fits: std::result::Result<message::Fits, String>, says: &Content) -> Answered {
    match fits {
        // Only a foreign client can have sent a password in clear; it must not be logged.
        Ok(_) if says.is_secret() => Answered { refused: Some("a password came in clear".to_owned()), ..nothing },
        Ok(fits) => Answered { value: Some(fits.value), text: Some(fits.text), ..nothing },
        Err(reason) => Answered { refused: Some(reason), ..nothing },
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn set_deadline(says: &mut Content, at: Timestamp, default: Option<&Value>) {
    let in_words = match default {
        Some(default) => format!("the answer will be {}", value_text(default)),
        None => "the step fails".to_owned(),
    };
    says.set_deadline(message::Deadline { deadline: Some(at), on_timeout: Some(in_words) });
}

/// Sleeps until a moment by the run's clock; for ever if there is none.
async fn sleep_until(journal: &Journal, moment: Option<Timestamp>) {
    let Some(moment) = moment else { return std::future::pending().await };
    loop {
        let rest = clock::until(journal.clock().now(), moment);
        if rest.is_zero() {
            return;
        }
        // The machine's clock may be set while we sleep: look again every now and then.
        tokio::time::sleep(rest.min(std::time::Duration::from_secs(60))).await;
    }
}

/// The log holds something else under this key: the workflow, or the program, is not what it was when that was written.
fn diverged(key: &str, expected: &str, found: &Remembered) -> Stop {
    let found = match found {
        Remembered::Said(message) => format!("a {}", message.says.kind()),
        Remembered::Calling => "a call of a tool".to_owned(),
        Remembered::Did(Outcome::Answer(_)) => "an answer".to_owned(),
        Remembered::Did(Outcome::Reply(_)) => "a model's reply".to_owned(),
        Remembered::Did(Outcome::Failed { .. }) => "a failure".to_owned(),
        Remembered::Did(Outcome::Value(_)) => "a value".to_owned(),
    };
    Stop::failed(
        REPLAY,
        format!("the run cannot be continued: at {key:?} its log holds {found}, and the workflow now wants {expected}"),
    )
}

impl Scoped {
    /// Says something to people. `message` is the id of a text that was shown while it was written.
    pub(super) async fn say(
        &self,
        sender: &str,
        recipient: &str,
        says: Content,
        message: Option<MessageId>,
    ) -> Result<()> {
        let key = self.key();
        match self.journal.remembered(&key) {
            Some(Remembered::Said(_)) => return Ok(()),
            Some(other) => return Err(diverged(&key, "a message", &other)),
            None => self.check_new(&key)?,
        }
        // What was shown while a model wrote it is in the log already, as the model's reply.
        let is_remembered = message.is_some();
        let uuid = message.unwrap_or_else(|| self.message_id(&key));
        let message = Message {
            uuid,
            sender: Some(sender.to_owned()),
            recipient: Some(recipient.to_owned()),
            auto_reply: false,
            alias: None,
            within: self.within(),
            says,
        };
        let _busy = self.journal.busy();
        let said = Body::Said { key, message };
        if is_remembered { self.journal.append_behind(said).await } else { self.journal.append(said).await }
    }

    /// Asks a person, and waits: for seconds or for weeks.
    pub(super) async fn ask(&self, mut question: Question) -> Result<Answer> {
        let base = self.key();
        let mut key = base.clone();
        let prompt = question.says.prompt().unwrap_or_default().to_owned();
        for attempt in 1..=MOST_REFUSALS {
            let answered = self.ask_once(&key, &question).await?;
            if answered.on_timeout {
                return Ok(answered.value.map_or(Answer::TimedOut, Answer::Given));
            }
            if let Some(value) = answered.value {
                return Ok(Answer::Given(value));
            }
            if let Some(sealed) = answered.sealed.filter(|sealed| !sealed.is_empty())
                && let Some(secret) = Box::pin(self.journal.open_secret(answered.question, &sealed)).await?
            {
                return Ok(Answer::Given(Value::String(secret)));
            }
            // Refused, or a password that nobody remembers: ask again, under a new id, and say why.
            let reason = answered.refused.as_deref().unwrap_or("the answer was lost in a restart");
            question.says.set_prompt(format!("{reason}\n\n{prompt}"));
            key = format!("{base}/again{attempt}");
        }
        Err(Stop::failed("answer", format!("no answer of {MOST_REFUSALS} fitted the question")))
    }

    /// Asks a model. With `speaking`, its text is shown while it is written. A failure of the model is remembered too, and so is
    /// that a limit was met: when the run is executed again, other branches may not have used as much yet. `in_circles`: why the
    /// model must not be asked any more.
    pub(super) async fn ask_model(
        &self,
        llm: &ModelUse,
        mut request: model::Request,
        speaking: Option<Speaking<'_>>,
        in_circles: Option<String>,
    ) -> Result<std::result::Result<Replied, Failure>> {
        let key = self.key();
        let message = self.message_id(&key);
        match self.journal.remembered(&key) {
            Some(Remembered::Did(Outcome::Reply(reply))) => {
                self.journal.count(reply.usage);
                return Ok(Ok(Replied { reply: *reply, message }));
            }
            Some(Remembered::Did(Outcome::Failed { kind, message })) if kind == LIMIT => {
                return Err(Stop::failed(LIMIT, message));
            }
            Some(Remembered::Did(Outcome::Failed { kind, message })) => {
                return Ok(Err(Failure { kind, message, step: None }));
            }
            Some(other) => return Err(diverged(&key, "a model's reply", &other)),
            None => self.check_new(&key)?,
        }
        let _busy = self.journal.busy();
        if let Some(why) = in_circles.or_else(|| self.limit_met(llm)) {
            return Err(self.journal.refuse(key, why).await?);
        }
        // A call that is finished is in the log before another begins, so that no crash repeats two.
        self.journal.settle().await?;
        self.journal.confirm().await?;
        request.headers.push(("x-fastagency-run", self.journal.run.to_string()));
        request.headers.push(("x-fastagency-effect", key.clone()));
        let asked = match self.journal.models.get(&llm.name) {
            Ok(asked) => asked.clone(),
            Err(error) => return Ok(Err(model_failure(&error))),
        };
        let asking = Asking::begin(&self.journal.figures, self.journal.run, &self.journal.models, llm, &request);
        if let Some(place) = asking.span.place() {
            request.headers.push((traces::HEADER, place));
        }
        let noting = self.journal.note(&key, llm, &request);
        let begun = Instant::now();
        let replying = asking.span.around(async {
            match speaking {
                None => asked.complete(&request, &mut |progress| asking.saw(progress)).await,
                Some(speaking) => self.complete_aloud(&*asked, &request, message, speaking, &asking).await,
            }
        });
        let replied = self.within_duration(replying).await;
        self.journal.finish_writing(message);
        if let Ok(replied) = &replied {
            asking.end(replied);
        }
        match replied? {
            Ok(reply) => {
                self.journal.count(reply.usage);
                let outcome = Outcome::Reply(Box::new(reply.clone()));
                self.journal.done(key, outcome, noting, begun.elapsed()).await?;
                Ok(Ok(Replied { reply, message }))
            }
            Err(error) => {
                let failure = model_failure(&error);
                let Failure { kind, message, .. } = failure.clone();
                let outcome = Outcome::Failed { kind, message };
                self.journal.done(key, outcome, noting, begun.elapsed()).await?;
                Ok(Err(failure))
            }
        }
    }
}

fn model_failure(error: &model::Error) -> Failure {
    let kind = match error {
        model::Error::TimedOut { .. } => "timeout",
        _ => "model",
    };
    Failure { kind: kind.to_owned(), message: error.to_string(), step: None }
}

/// What a model has written and nobody was told yet.
#[derive(Default)]
struct Unsaid {
    attempt: u32,
    /// How much of the text was told before.
    offset: usize,
    text: String,
}

impl Scoped {
    /// The limit that the run has met, in a sentence; none: the model may be asked.
    fn limit_met(&self, llm: &ModelUse) -> Option<String> {
        let used = self.journal.usage();
        let limits = &self.journal.limits;
        if limits.cost_usd.is_some() && !self.journal.models.has_price(&llm.name) {
            return Some(format!(
                "the run has a limit of money, and what the model {:?} costs, or one that stands in for it, is not known: put its price under prices: in the configuration",
                llm.name.as_str()
            ));
        }
        if let Some(limit) = limits.cost_usd
            && used.cost_usd >= limit
        {
            return Some(format!("the run has cost {}, its limit is {limit}", used.cost_usd));
        }
        if let Some(limit) = limits.llm_calls
            && used.llm_calls >= limit
        {
            return Some(format!("the run has made {limit} requests to models, its limit"));
        }
        let tokens = used.tokens();
        if let Some(limit) = limits.tokens
            && tokens >= limit
        {
            return Some(format!("the run has used {tokens} tokens, its limit is {limit}"));
        }
        None
    }

    /// Does something as long as the run's limit of time allows. What is cut off leaves no record: when the run is executed
    /// again, the limit is exceeded all the more.
    async fn within_duration<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let Some(limit) = self.journal.limits.duration else { return Ok(work.await) };
        let mut work = std::pin::pin!(work);
        loop {
            let left = limit.saturating_sub(self.journal.spent());
            if left.is_zero() {
                return Err(Stop::failed(LIMIT, format!("the run has been at work for {limit:?}, its limit")));
            }
            // Time does not count while another branch waits for a person: what is left is looked at again.
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(left.max(LIMIT_LOOKED_AT_EVERY)) => {}
            }
        }
    }

    /// Asks a model, and tells people its text while it writes: what came while one piece was being told is told in one.
    async fn complete_aloud(
        &self,
        asked: &dyn model::ChatModel,
        request: &model::Request,
        message: MessageId,
        speaking: Speaking<'_>,
        asking: &Asking,
    ) -> std::result::Result<model::Reply, model::Error> {
        let unsaid = Mutex::new(Unsaid::default());
        let something = Notify::new();
        let mut progress = |progress: Progress<'_>| {
            asking.saw(progress);
            let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
            match progress {
                Progress::Attempt(attempt) => *unsaid = Unsaid { attempt, ..Unsaid::default() },
                Progress::Text(piece) => {
                    unsaid.text.push_str(piece);
                    something.notify_one();
                }
            }
        };
        let tell = async {
            loop {
                something.notified().await;
                let (attempt, offset, text) = {
                    let mut unsaid = unsaid.lock().unwrap_or_else(PoisonError::into_inner);
                    let text = std::mem::take(&mut unsaid.text);
                    let offset = unsaid.offset;
                    unsaid.offset += text.chars().count();
                    (unsaid.attempt.max(1), offset, text)
                };
                if text.is_empty() {
                    continue;
                }
                self.tell(message, attempt, offset, text, speaking).await;
            }
        };
        let replied = tokio::select! {
            replied = asked.complete(request, &mut progress) => replied,
            () = tell => unreachable!("telling goes on until the model has answered"),
        };
        replied
    }

    async fn tell(&self, message: MessageId, attempt: u32, offset: usize, text: String, speaking: Speaking<'_>) {
        let Speaking { sender, recipient } = speaking;
        let delta = Delta {
            message,
            attempt,
            offset,
            text,
            sender: Some(sender.to_owned()),
            recipient: Some(recipient.to_owned()),
            within: self.within(),
        };
        let told = self.journal.extend_writing(delta);
        // Nobody sees the beginning of a text before the message that it answers. A failure is the driver's.
        if self.journal.settle().await.is_ok()
            && let Some(delta) = told
        {
            self.journal.whisper(&delta).await;
        }
    }

    /// Says what was being written when the run was stopped, marked as cut off.
    pub(super) async fn say_cut_off(&self) -> Result<()> {
        for (uuid, Writing { sender, recipient, within, text, .. }) in self.journal.take_writing() {
            let says = Content::TextMessage { body: Some(text), stopped: true };
            let place = Scoped::new(self.journal.clone(), format!("{}/{uuid}", self.scope), within);
            place.say(&sender, &recipient, says, Some(uuid)).await?;
        }
        Ok(())
    }
}
