//! Asking people: a question is in the log before anybody can see it, and its answer before anything follows from it.

use serde_json::Value;
use tokio::sync::oneshot;

use super::{Scoped, diverged, sleep_until};
use crate::broker::{Put, Slot, Stored};
use crate::chat::{Answer, Question, Result, Stop};
use crate::clock::{self, Timestamp};
use crate::engine::journal::Remembered;
use crate::ids::MessageId;
use crate::message::{self, Content, Message};
use crate::protocol::answer::{AnswerOutcome, AnswerRecord, AnswerValue};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{Body, Outcome};
use crate::run::answer::{self, Given};

/// How often a question is asked again after answers that do not fit: a program that answers by itself must not fill the log.
const MOST_REFUSALS: u32 = 20;
/// How many letters of a refusal's reason are stored, and repeated above the question.
const LONGEST_REASON: usize = 1000;
/// Why a question is asked again whose answer is a password that nobody knows any more.
const LOST: &str = "the answer was lost in a restart";

/// Asks a person, and waits: for seconds or for weeks.
pub(in crate::engine) async fn ask(fx: &Scoped, question: Question) -> Result<Answer> {
    ask_and_show(fx, question).await.map(|(answer, _)| answer)
}

/// Asks a person, and returns with the answer what the log says was shown: after a restart that is not what would be asked
/// now, if something has changed meanwhile.
pub(in crate::engine) async fn ask_and_show(fx: &Scoped, mut question: Question) -> Result<(Answer, Content)> {
    let base = fx.key();
    let mut key = base.clone();
    let prompt = question.says.prompt().unwrap_or_default().to_owned();
    for attempt in 1..=MOST_REFUSALS {
        let (answered, shown) = ask_once(fx, &key, &question).await?;
        let value = match answered.outcome {
            AnswerOutcome::TimedOut { default: None } => return Ok((Answer::TimedOut, shown)),
            AnswerOutcome::TimedOut { default: Some(taken) } => return Ok((Answer::Given(taken.value), shown)),
            AnswerOutcome::Given(taken) => Ok(taken.value),
            AnswerOutcome::Sealed(sealed) => {
                let opened = Box::pin(fx.journal.secrets.open(&fx.journal.inbox, answered.question, &sealed)).await?;
                opened.map(Value::String).ok_or_else(|| LOST.to_owned())
            }
            AnswerOutcome::NeverStored => Err(LOST.to_owned()),
            AnswerOutcome::Refused { reason } => Err(shortened(&reason)),
        };
        let reason = match value {
            Ok(value) => {
                if shown.is_secret()
                    && let Value::String(password) = &value
                {
                    fx.journal.secrets.know_password(&prompt, password);
                }
                return Ok((Answer::Given(value), shown));
            }
            // Refused, or a password that nobody remembers: ask again, under a new id, and say why.
            Err(reason) => reason,
        };
        question.says.set_prompt(format!("{reason}\n\n{prompt}"));
        key = base.again(attempt);
    }
    Err(Stop::failed(FailureKind::Answer, format!("no answer of {MOST_REFUSALS} fitted the question")))
}

/// Says the question if it is not said yet, and waits for its answer. Returns what was shown, too: what is remembered of it
/// is given out once.
async fn ask_once(fx: &Scoped, key: &EffectKey, question: &Question) -> Result<(AnswerRecord, Content)> {
    let journal = &fx.journal;
    let answer_key = key.answer();
    let known = match journal.log.remembered(key) {
        Some(Remembered::Said(message)) => Some(*message),
        Some(other) => return Err(diverged(key, "a question", &other)),
        None => None,
    };
    match journal.log.remembered(&answer_key) {
        Some(Remembered::Did(Outcome::Answer(answered))) if let Some(known) = known => {
            return Ok((answered, known.says));
        }
        Some(other) => return Err(diverged(&answer_key, "an answer", &other)),
        None => {}
    }
    // Boxed, as it passes: what waits for the answer holds only what it needs then.
    let asked = Box::pin(put_question(fx, key, question, known)).await?;
    let stored = wait_for_answer(fx, &asked.says, asked.uuid, asked.listener, asked.was_said).await?;
    let _busy = journal.idle.busy();
    let answered = Box::pin(read_answer(fx, asked.uuid, &asked.says, stored.as_ref(), question)).await?;
    journal.log.append(Body::Did { key: answer_key, outcome: Outcome::Answer(answered.clone()) }).await?;
    // A password that was only told goes on in memory, never in the log.
    let told = match answered.outcome {
        AnswerOutcome::NeverStored => Box::pin(journal.secrets.take_told(asked.uuid)).await,
        _ => None,
    };
    let answered = match told {
        Some(secret) => AnswerRecord { outcome: AnswerOutcome::Given(Value::String(secret).into()), ..answered },
        None => answered,
    };
    Ok((answered, asked.says))
}

/// Says a question that is not `known` yet, and listens for its answer.
async fn put_question(fx: &Scoped, key: &EffectKey, question: &Question, known: Option<Message>) -> Result<Asked> {
    let was_said = known.is_some();
    let message = known.unwrap_or_else(|| question_message(fx, key, question));
    let (uuid, says) = (message.uuid, message.says.clone());
    // Listening begins before the question exists, so that no answer can come too early.
    let listener = fx.journal.inbox.listen(uuid);
    if !was_said {
        fx.check_new(key)?;
        let _busy = fx.journal.idle.busy();
        fx.journal.log.append(Body::Said { key: key.clone(), message }).await?;
    }
    Ok(Asked { uuid, says, listener, was_said })
}

fn question_message(fx: &Scoped, key: &EffectKey, question: &Question) -> Message {
    let mut says = question.says.clone();
    if let Some(timeout) = question.timeout {
        set_deadline(&mut says, clock::after(fx.journal.context.clock().now(), timeout), question.default.as_ref());
    }
    Message {
        uuid: fx.message_id(key),
        sender: Some(question.sender.clone()),
        recipient: Some(question.recipient.clone()),
        auto_reply: false,
        alias: None,
        within: fx.within(),
        says,
    }
}

/// Waits for the stored answer; `None` if the deadline closed the question.
async fn wait_for_answer(
    fx: &Scoped,
    says: &Content,
    question: MessageId,
    listener: oneshot::Receiver<Stored>,
    look_first: bool,
) -> Result<Option<Stored>> {
    let journal = &fx.journal;
    let deadline = says.deadline();
    let slot = Slot::Answer(question);
    if look_first {
        // Not yet a wait: a run is not parked while it looks for its answer.
        let _busy = journal.idle.busy();
        if let Some(stored) = journal.inbox.get(slot).await? {
            return Ok(Some(stored));
        }
    }
    let _waiting = journal.idle.waiting(deadline);
    tokio::select! {
        Ok(stored) = listener => return Ok(Some(stored)),
        () = sleep_until(journal, deadline) => {}
    }
    // Closing the question is an answer like any other: whoever is first counts.
    let closed = Given::new(answer::Answer::TimedOut, None);
    let payload = serde_json::to_vec(&closed).expect("an answer is JSON");
    loop {
        match journal.context.broker.inbox.put(journal.run, slot, payload.clone().into()).await {
            Ok(Put::First) => return Ok(None),
            Ok(Put::Taken(stored)) => return Ok(Some(stored)),
            Err(crate::broker::Error::Unavailable { .. }) => {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Turns what the inbox holds into what the log will say.
async fn read_answer(
    fx: &Scoped,
    question: MessageId,
    says: &Content,
    stored: Option<&Stored>,
    asked: &Question,
) -> Result<AnswerRecord> {
    let given = stored.and_then(|stored| crate::bounds::parse::<Given>(&stored.payload).ok());
    let refused = |reason: &str| AnswerOutcome::Refused { reason: reason.to_owned() };
    if let Some(doubt) = given.as_ref().and_then(|given| fx.journal.inbox.doubt(question, given, says)) {
        return Ok(AnswerRecord { question, by: None, outcome: refused(doubt) });
    }
    let by = given.as_ref().and_then(|given| given.by.clone());
    let outcome = match given.map(|given| given.answer) {
        None if stored.is_some() => refused("the answer cannot be read"),
        None | Some(answer::Answer::TimedOut) => {
            AnswerOutcome::TimedOut { default: asked.default.clone().map(AnswerValue::from) }
        }
        Some(answer::Answer::Value(value)) => checked(message::check_answer(says, &value), says),
        Some(answer::Answer::Text(text)) => checked(message::check_text_answer(says, &text), says),
        Some(answer::Answer::Sealed(sealed)) => {
            match fx.journal.secrets.open(&fx.journal.inbox, question, &sealed).await? {
                Some(_) => AnswerOutcome::Sealed(sealed),
                None => refused("the password was sealed with another key"),
            }
        }
        // Known only to the worker that was told; another asks again.
        Some(answer::Answer::Told) => AnswerOutcome::NeverStored,
        Some(answer::Answer::Cancel) => refused("this is no answer"),
    };
    Ok(AnswerRecord { question, by, outcome })
}

/// A question that is in the log and waits for its answer.
struct Asked {
    uuid: MessageId,
    says: Content,
    listener: oneshot::Receiver<Stored>,
    /// It was asked in an earlier life of the run: its answer may be there already.
    was_said: bool,
}

fn checked(fits: std::result::Result<message::Fits, String>, says: &Content) -> AnswerOutcome {
    match fits {
        // Only a foreign client can have sent a password in clear; it must not be logged.
        Ok(_) if says.is_secret() => AnswerOutcome::Refused { reason: "a password came in clear".to_owned() },
        Ok(message::Fits { value, text }) => AnswerOutcome::Given(AnswerValue { value, text }),
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

fn set_deadline(says: &mut Content, at: Timestamp, default: Option<&Value>) {
    let in_words = match default {
        Some(default) => format!("the answer will be {}", AnswerValue::from(default.clone()).text),
        None => "the step fails".to_owned(),
    };
    says.set_deadline(message::Deadline { deadline: Some(at), on_timeout: Some(in_words) });
}
