//! Asking people: a question is in the log before anybody can see it, and its answer before anything follows from it.

use serde_json::Value;
use tokio::sync::oneshot;

use super::reminders::{self, ReminderSchedule};
use super::{ScopedEffects, diverged, sleep_until};
use crate::broker::{InboxSlot, PutOutcome, StoredRecord};
use crate::chat::{HumanQuestion, HumanReply, Result, WorkflowStop};
use crate::clock::{self, Timestamp};
use crate::engine::journal::RememberedEffect;
use crate::ids::MessageId;
use crate::message::{self, Message, MessageContent};
use crate::protocol::answer::{AnswerOutcome, AnswerRecord, AnswerValue};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{EffectOutcome, RecordBody};
use crate::run::answer::{self, SubmittedAnswer};

/// How often a question is asked again after answers that do not fit: a program that answers by itself must not fill the log.
const MOST_REFUSALS: u32 = 20;
/// How many letters of a refusal's reason are stored, and repeated above the question.
const LONGEST_REASON: usize = 1000;
/// Why a question is asked again whose answer is a password that nobody knows any more.
const LOST_ANSWER: &str = "the answer was lost in a restart";

/// Asks a person, and waits: for seconds or for weeks.
pub(in crate::engine) async fn ask(effects: &ScopedEffects, question: HumanQuestion) -> Result<HumanReply> {
    ask_and_show(effects, question).await.map(|(answer, _)| answer)
}

/// Asks a person, and returns with the answer what the log says was shown: after a restart that is not what would be asked
/// now, if something has changed meanwhile.
pub(in crate::engine) async fn ask_and_show(
    effects: &ScopedEffects,
    mut question: HumanQuestion,
) -> Result<(HumanReply, MessageContent)> {
    let base = effects.key();
    let mut key = base.clone();
    let prompt = question.says.prompt().unwrap_or_default().to_owned();
    for attempt in 1..=MOST_REFUSALS {
        let (answered, shown) = ask_once(effects, &key, &question).await?;
        let value = match answered.outcome {
            AnswerOutcome::TimedOut { default: None } => return Ok((HumanReply::TimedOut, shown)),
            AnswerOutcome::TimedOut { default: Some(taken) } => return Ok((HumanReply::Given(taken.value), shown)),
            AnswerOutcome::Given(taken) => Ok(taken.value),
            AnswerOutcome::Sealed(sealed) => {
                let opened =
                    Box::pin(effects.journal.secrets.open(&effects.journal.inbox, answered.question, &sealed)).await?;
                opened.map(Value::String).ok_or_else(|| LOST_ANSWER.to_owned())
            }
            AnswerOutcome::NeverStored => Err(LOST_ANSWER.to_owned()),
            AnswerOutcome::Refused { reason } => Err(shortened(&reason)),
        };
        let reason = match value {
            Ok(value) => {
                if shown.is_secret()
                    && let Value::String(password) = &value
                {
                    effects.journal.secrets.know_password(&prompt, password);
                }
                return Ok((HumanReply::Given(value), shown));
            }
            // Refused, or a password that nobody remembers: ask again, under a new id, and say why.
            Err(reason) => reason,
        };
        question.says.set_prompt(format!("{reason}\n\n{prompt}"));
        // Whoever waits for the answer has waited since it was asked for the first time.
        question.says.set_answerers(shown.answerers().cloned());
        key = base.again(attempt);
    }
    Err(WorkflowStop::failed(FailureKind::Answer, format!("no answer of {MOST_REFUSALS} fitted the question")))
}

/// Says the question if it is not said yet, and waits for its answer. Returns what was shown, too: what is remembered of it
/// is given out once.
async fn ask_once(
    effects: &ScopedEffects,
    key: &EffectKey,
    question: &HumanQuestion,
) -> Result<(AnswerRecord, MessageContent)> {
    let journal = &effects.journal;
    let answer_key = key.answer();
    let known = match journal.log.remembered(key) {
        Some(RememberedEffect::Said(message)) => Some(*message),
        Some(other) => return Err(diverged(key, "a question", &other)),
        None => None,
    };
    match journal.log.remembered(&answer_key) {
        Some(RememberedEffect::Did(EffectOutcome::Answer(answered))) if let Some(known) = known => {
            return Ok((answered, known.says));
        }
        Some(other) => return Err(diverged(&answer_key, "an answer", &other)),
        None => {}
    }
    // Boxed, as it passes: what waits for the answer holds only what it needs then.
    let mut asked = Box::pin(put_question(effects, key, question, known)).await?;
    let uuid = asked.uuid;
    // Few questions have any, and what waits must not have the room for it.
    let mut schedule =
        asked.says.answerers().map(|rule| Box::new(ReminderSchedule::new(effects, key, asked.uuid, rule)));
    let PendingQuestion { says, listener, was_said, .. } = &mut asked;
    let stored = wait_for_answer(effects, says, uuid, listener, *was_said, schedule.as_deref_mut()).await?;
    let _busy = journal.idle.busy();
    let escalated = schedule.map_or(0, |schedule| schedule.escalated());
    let answered =
        Box::pin(read_answer(effects, asked.uuid, &asked.says, stored.as_ref(), question, escalated)).await?;
    journal.budget.has_waited();
    journal.log.came(answer_key, EffectOutcome::Answer(answered.clone())).await?;
    // A password that was only told goes on in memory, never in the log.
    let told = match answered.outcome {
        AnswerOutcome::NeverStored => Box::pin(journal.secrets.take_unstored_secret(asked.uuid)).await,
        _ => None,
    };
    let answered = match told {
        Some(secret) => AnswerRecord { outcome: AnswerOutcome::Given(Value::String(secret).into()), ..answered },
        None => answered,
    };
    Ok((answered, asked.says))
}

/// Says a question that is not `known` yet, and listens for its answer.
async fn put_question(
    effects: &ScopedEffects,
    key: &EffectKey,
    question: &HumanQuestion,
    known: Option<Message>,
) -> Result<PendingQuestion> {
    let was_said = known.is_some();
    let message = known.unwrap_or_else(|| question_message(effects, key, question));
    let (uuid, says) = (message.uuid, message.says.clone());
    // Listening begins before the question exists, so that no answer can come too early.
    let listener = effects.journal.inbox.listen(uuid);
    if !was_said {
        effects.check_new(key)?;
        let _busy = effects.journal.idle.busy();
        effects.journal.log.append(RecordBody::Said { key: key.clone(), message }).await?;
    }
    Ok(PendingQuestion { uuid, says, listener, was_said })
}

fn question_message(effects: &ScopedEffects, key: &EffectKey, question: &HumanQuestion) -> Message {
    let mut says = question.says.clone();
    let now = effects.journal.context.clock().now();
    if says.answerers().is_none() {
        says.set_answerers(question.answerers.as_ref().map(|terms| reminders::rule(terms, now)));
    }
    if let Some(timeout) = question.timeout {
        set_deadline(&mut says, clock::after(now, timeout), question.default.as_ref());
    }
    Message {
        uuid: effects.message_id(key),
        sender: Some(question.sender.clone()),
        recipient: Some(question.recipient.clone()),
        auto_reply: false,
        alias: None,
        within: effects.within(),
        says,
    }
}

/// Waits for the stored answer; `None` if the deadline closed the question.
async fn wait_for_answer(
    effects: &ScopedEffects,
    says: &MessageContent,
    question: MessageId,
    listener: &mut oneshot::Receiver<StoredRecord>,
    look_first: bool,
    mut schedule: Option<&mut ReminderSchedule>,
) -> Result<Option<StoredRecord>> {
    let journal = &effects.journal;
    let deadline = says.deadline();
    let slot = InboxSlot::Answer(question);
    if look_first {
        // Not yet a wait: a run is not parked while it looks for its answer.
        let _busy = journal.idle.busy();
        if let Some(stored) = journal.inbox.get(slot).await? {
            return Ok(Some(stored));
        }
    }
    loop {
        // What is due at the deadline comes too late to be told.
        let reminder = schedule.as_ref().and_then(|schedule| schedule.next_at());
        let reminder = reminder.filter(|at| deadline.is_none_or(|deadline| *at < deadline));
        let until = reminder.or(deadline);
        let waiting = journal.idle.waiting(until);
        tokio::select! {
            biased;
            Ok(stored) = &mut *listener => return Ok(Some(stored)),
            () = sleep_until(journal, until) => {}
        }
        let Some(schedule) = schedule.as_deref_mut().filter(|_| reminder.is_some()) else { break };
        let _busy = journal.idle.busy();
        drop(waiting);
        Box::pin(schedule.tell_next(effects, journal.context.clock().now())).await?;
    }
    // Closing the question is an answer like any other: whoever is first counts.
    let closed = SubmittedAnswer::new(answer::AnswerPayload::TimedOut, None);
    let payload = serde_json::to_vec(&closed).expect("an answer is JSON");
    loop {
        match journal.context.broker.inbox.put(journal.run, slot, payload.clone().into()).await {
            Ok(PutOutcome::First) => return Ok(None),
            Ok(PutOutcome::Taken(stored)) => return Ok(Some(stored)),
            Err(crate::broker::Error::Unavailable { .. }) => {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Turns what the inbox holds into what the log will say.
async fn read_answer(
    effects: &ScopedEffects,
    question: MessageId,
    says: &MessageContent,
    stored: Option<&StoredRecord>,
    asked: &HumanQuestion,
    escalated: usize,
) -> Result<AnswerRecord> {
    let given = stored.and_then(|stored| crate::bounds::parse::<SubmittedAnswer>(&stored.payload).ok());
    let refused = |reason: &str| AnswerOutcome::Refused { reason: reason.to_owned() };
    if let Some(doubt) = given.as_ref().and_then(|given| effects.journal.inbox.doubt(question, given, says)) {
        return Ok(AnswerRecord { question, by: None, outcome: refused(doubt) });
    }
    if let Some(why) = given.as_ref().and_then(|given| not_theirs(effects, says, given, escalated)) {
        let by = given.as_ref().and_then(|given| given.by.clone());
        return Ok(AnswerRecord { question, by, outcome: refused(&why) });
    }
    let by = given.as_ref().and_then(|given| given.by.clone());
    let outcome = match given.map(|given| given.answer) {
        None if stored.is_some() => refused("the answer cannot be read"),
        None | Some(answer::AnswerPayload::TimedOut) => {
            AnswerOutcome::TimedOut { default: asked.default.clone().map(|default| default_answer(says, default)) }
        }
        Some(answer::AnswerPayload::Value(value)) => checked(message::check_answer(says, &value), says),
        Some(answer::AnswerPayload::Text(text)) => checked(message::check_text_answer(says, &text), says),
        Some(answer::AnswerPayload::Sealed(sealed)) => {
            match effects.journal.secrets.open(&effects.journal.inbox, question, &sealed).await? {
                Some(_) => AnswerOutcome::Sealed(sealed),
                None => refused("the password was sealed with another key"),
            }
        }
        // Known only to the worker that was told; another asks again.
        Some(answer::AnswerPayload::NotStored) => AnswerOutcome::NeverStored,
        Some(answer::AnswerPayload::Cancel) => refused("this is no answer"),
    };
    Ok(AnswerRecord { question, by, outcome })
}

/// Why an answer is none of the person's who gave it: the gateway has looked already, and is not trusted alone.
fn not_theirs(
    effects: &ScopedEffects,
    says: &MessageContent,
    given: &SubmittedAnswer,
    escalated: usize,
) -> Option<String> {
    // To close a question at its time is nobody's word.
    if matches!(given.answer, answer::AnswerPayload::TimedOut) {
        return None;
    }
    let rule = says.answerers()?;
    if rule.lets(given.answering(), effects.journal.created.user.as_ref(), escalated) {
        return None;
    }
    let who = rule.in_words(escalated).unwrap_or_default();
    Some(format!("an answer was not used: this question is for {who}"))
}

/// A question that is in the log and waits for its answer.
struct PendingQuestion {
    uuid: MessageId,
    says: MessageContent,
    listener: oneshot::Receiver<StoredRecord>,
    /// It was asked in an earlier life of the run: its answer may be there already.
    was_said: bool,
}

fn checked(fits: std::result::Result<message::ValidAnswer, String>, says: &MessageContent) -> AnswerOutcome {
    match fits {
        // Only a foreign client can have sent a password in clear; it must not be logged.
        Ok(_) if says.is_secret() => AnswerOutcome::Refused { reason: "a password came in clear".to_owned() },
        Ok(message::ValidAnswer { value, text }) => AnswerOutcome::Given(AnswerValue { value, text }),
        Err(reason) => AnswerOutcome::Refused { reason: shortened(&reason) },
    }
}

/// The reason of a refusal, which repeats what was answered, as it is stored and shown.
fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

/// What counts as the answer when nobody gave one in time; of an approval in the words that a person's answer has.
fn default_answer(says: &MessageContent, default: Value) -> AnswerValue {
    match says {
        MessageContent::Approval(_) => match message::check_answer(says, &default) {
            Ok(message::ValidAnswer { value, text }) => AnswerValue { value, text },
            Err(_) => default.into(),
        },
        _ => default.into(),
    }
}

fn set_deadline(says: &mut MessageContent, at: Timestamp, default: Option<&Value>) {
    let in_words = match default {
        Some(_) if matches!(says, MessageContent::Approval(_)) => "the call is denied".to_owned(),
        Some(default) => format!("the answer will be {}", AnswerValue::from(default.clone()).text),
        None => "the step fails".to_owned(),
    };
    says.set_deadline(message::AnswerDeadline { deadline: Some(at), on_timeout: Some(in_words) });
}
