//! The terminal as a chat client, over any gateway: what a run says is streamed as text, its questions are asked, and where
//! nobody can be asked, answered from what was given. What comes from models and people never reaches the terminal as
//! anything but text.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use crate::client::event::{Body, ClientEvent, ClientMessage, Ended};
use crate::client::{self, GatewayClient, patiently};
use crate::ids::{MessageId, RunId};
use crate::message::MessageContent;
use crate::message::late::{CountedAnswer, LateAnswer, late_stop};
use crate::protocol::log::RunOutcome;

mod ask;
mod params;
mod prepared_answers;
mod render;
mod terminal;
pub mod timeline;

pub use ask::{choose, value_of};
pub use params::params;
pub use prepared_answers::PreparedAnswers;
pub use render::plain;
pub use terminal::{InputKind, TerminalInput, TypedInput};

use render::RunRenderer;
use terminal::InterruptSignal;

/// How long an answer or a cancel is tried while the gateway is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How the conversation is held.
#[derive(Debug, Clone, Copy)]
pub struct ConsoleStyle {
    /// Print each record as a line of JSON, and nothing else.
    pub json: bool,
    /// Ask the person at the terminal.
    pub interactive: bool,
    /// Use colour.
    pub colour: bool,
}

/// How a conversation at the terminal ended.
#[derive(Debug, Clone, PartialEq)]
pub enum ConsoleEnd {
    /// With its run.
    Ended(RunOutcome),
    /// At a question that nobody answers here.
    Unanswered {
        /// What it asks.
        prompt: String,
        /// What the gateway said about the answer that was given, if one was.
        refused: Option<String>,
        /// Whether it is for others than who is here.
        is_for_others: bool,
    },
    /// At a question that this program cannot show: the gateway is of another version.
    Unreadable {
        /// What it is, and where it can be answered.
        words: String,
    },
    /// By a second Ctrl-C.
    Interrupted,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] client::Error),
    /// The terminal.
    #[error("the terminal cannot be used")]
    Terminal(#[from] io::Error),
}

/// A conversation at the terminal.
pub struct Console<'a, W> {
    client: &'a GatewayClient,
    run: RunId,
    style: ConsoleStyle,
    given: PreparedAnswers,
    input: TerminalInput,
    out: W,
    renderer: RunRenderer,
    /// Questions that are open, the oldest first, with their number in the run.
    open: Vec<(usize, ClientMessage)>,
    asked: usize,
    /// Open questions that this program cannot read: their kinds, and whether the person knows.
    unreadable: Vec<(MessageId, String, bool)>,
    /// Messages of kinds that this program does not know: the last ones. One of them may be a question.
    unknown: VecDeque<(MessageId, String)>,
    /// The run has parked with questions that are to be looked for among those.
    parked: bool,
    /// Questions that were answered from here: their answers need not be shown again.
    answered_here: Vec<MessageId>,
    /// Questions that were answered elsewhere, and how: the last ones.
    answered_elsewhere: VecDeque<(MessageId, CountedAnswer)>,
    /// An answer that came too late, until the log tells who was first.
    late: Option<(MessageId, LateAnswer)>,
    /// Who reads; none: that is not known, or nobody signs in.
    reader: Option<String>,
    /// The person wants the run to end.
    cancelling: bool,
    live: bool,
}

/// How many of the questions that others have answered are kept in mind.
const KEPT_ANSWERS: usize = 16;
/// How many messages of unknown kinds are kept in mind.
const KEPT_UNKNOWN: usize = 100;

fn waits_for_others(who: &str) -> String {
    format!("this waits for {}", plain(who))
}

/// Whether a message of this kind is a question.
fn is_question(kind: &str) -> bool {
    matches!(kind, "text_input" | "multiple_choice" | "form" | "approval")
}

fn with_slash(url: &str) -> String {
    format!("{}/", url.trim_end_matches('/'))
}

/// What came first.
enum ConsoleEvent {
    Event(Option<ClientEvent>),
    Line(TypedInput),
    Interrupt,
}

impl<'a, W: Write> Console<'a, W> {
    /// Prepares a conversation with a run.
    pub fn new(client: &'a GatewayClient, run: RunId, style: ConsoleStyle, given: PreparedAnswers, out: W) -> Self {
        Self {
            client,
            run,
            style,
            given,
            input: TerminalInput::default(),
            out,
            renderer: RunRenderer::new(style.colour),
            open: Vec::new(),
            asked: 0,
            unreadable: Vec::new(),
            unknown: VecDeque::new(),
            parked: false,
            answered_here: Vec::new(),
            answered_elsewhere: VecDeque::new(),
            late: None,
            reader: None,
            cancelling: false,
            live: false,
        }
    }

    /// Holds the conversation until the run ends, or nobody can go on here.
    pub async fn talk(&mut self) -> Result<ConsoleEnd, Error> {
        let mut follower = self.client.follow(self.run, 0);
        let mut interrupts = InterruptSignal::new();
        // Without it the answers of all are shown by their names.
        self.reader = self.client.user().await.ok().flatten();
        self.renderer.read_by(self.reader.clone());
        // The question that the person is being asked.
        let mut asking: Option<ask::AskedQuestion> = None;
        loop {
            if self.live
                && asking.is_none()
                && !self.cancelling
                && let Some((number, question)) = self.next_to_ask()
            {
                if let Some(text) = self.given.take(number, &question) {
                    let refused = self.answer_given(&question, &text).await?;
                    if let (Some(refused), false) = (&refused, self.style.interactive) {
                        return Ok(self.unanswered(&question, Some(refused.clone())));
                    }
                    continue;
                }
                if !self.style.interactive {
                    return Ok(self.unanswered(&question, question.waits_for.as_deref().map(waits_for_others)));
                }
                let new = ask::AskedQuestion::new(question);
                let words = new.words();
                self.ask(&words)?;
                asking = Some(new);
            }
            if self.live && asking.is_none() && !self.cancelling {
                self.look_for_unknown_question().await;
                if let Some(words) = self.unreadable_question() {
                    self.note(&words)?;
                    if !self.style.interactive {
                        return Ok(ConsoleEnd::Unreadable { words });
                    }
                }
            }
            let next = tokio::select! {
                event = follower.next() => ConsoleEvent::Event(event?),
                () = interrupts.next() => ConsoleEvent::Interrupt,
                typed = self.input.next(asking.as_ref().map(ask::AskedQuestion::wants)) => ConsoleEvent::Line(typed?),
            };
            match next {
                ConsoleEvent::Event(None) => return Ok(ConsoleEnd::Interrupted),
                ConsoleEvent::Event(Some(event)) => {
                    let was = asking.as_ref().map(ask::AskedQuestion::id);
                    if let Some(ended) = self.take(event)? {
                        self.finish(&ended)?;
                        return Ok(ConsoleEnd::Ended(ended.outcome));
                    }
                    if was.is_some_and(|was| !self.is_open(was))
                        && let Some(unsent) = asking.take().and_then(|asked| asked.unsent())
                    {
                        self.note(&format!("what you had written and not sent: {unsent}"))?;
                    }
                }
                ConsoleEvent::Line(TypedInput::Interrupt) | ConsoleEvent::Interrupt if self.cancelling => {
                    return Ok(ConsoleEnd::Interrupted);
                }
                ConsoleEvent::Line(TypedInput::Interrupt) | ConsoleEvent::Interrupt => {
                    self.cancelling = true;
                    asking = None;
                    self.note("cancelling the run; Ctrl-C again leaves it at once")?;
                    let (client, run) = (self.client, self.run);
                    tokio::select! {
                        sent = patiently(ANSWER_TIMEOUT, async || client.cancel(run).await) => sent?,
                        () = interrupts.next() => return Ok(ConsoleEnd::Interrupted),
                    }
                }
                ConsoleEvent::Line(TypedInput::End) => {
                    let end = self.renderer.line_end();
                    self.show(&end)?;
                    let question = asking.as_ref().map(|asking| asking.question().clone());
                    return Ok(question.map_or(ConsoleEnd::Interrupted, |question| self.unanswered(&question, None)));
                }
                ConsoleEvent::Line(TypedInput::Text(text)) => {
                    self.renderer.typed();
                    let Some(current) = &mut asking else { continue };
                    match current.take(&text) {
                        ask::LineOutcome::More(words) => self.ask(&words)?,
                        ask::LineOutcome::Value(value) => {
                            let question = current.question().clone();
                            asking = None;
                            if let Some(refused) = self.answer(&question, &value).await? {
                                self.note(&refused)?;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The answers that no question has taken, as they were typed.
    pub fn unused_answers(&self) -> impl Iterator<Item = &str> {
        self.given.unused()
    }

    /// Takes what happened in; the end of the run is given back.
    fn take(&mut self, event: ClientEvent) -> io::Result<Option<Box<Ended>>> {
        match event {
            ClientEvent::CaughtUp { .. } => {
                self.live = true;
                if self.style.interactive {
                    for (_, question) in self.open.clone() {
                        self.note_whom_it_is_for(&question)?;
                    }
                }
            }
            ClientEvent::Delta(delta) if !self.style.json => {
                let words = self.renderer.delta(&delta);
                self.show(&words)?;
            }
            ClientEvent::Delta(_) => {}
            ClientEvent::Lost { why } => self.note(&format!("the connection was lost, trying again: {why}"))?,
            ClientEvent::Record(record) => {
                if self.style.json {
                    writeln!(self.out, "{}", record.json)?;
                    self.out.flush()?;
                } else {
                    let here = matches!(&record.body, Body::Answered { question, .. } if self.answered_here.contains(question));
                    if !here {
                        let words = self.renderer.record(&record.body, self.live);
                        self.show(&words)?;
                    }
                }
                match record.body {
                    Body::Said { message } => {
                        let message = ClientMessage::from(*message);
                        if message.says.asks() {
                            self.asked += 1;
                            if self.live && self.style.interactive {
                                self.note_whom_it_is_for(&message)?;
                            }
                            self.open.push((self.asked, message));
                        } else if let MessageContent::Other { kind, .. } = message.says {
                            self.heard_unknown(message.uuid, kind);
                        }
                    }
                    Body::Answered { question, value, by, on_timeout, .. } => {
                        self.open.retain(|(_, open)| open.uuid != question);
                        self.unreadable.retain(|(id, ..)| *id != question);
                        self.unknown.retain(|(id, _)| *id != question);
                        self.heard_answer(question, CountedAnswer { by, value, on_timeout })?;
                    }
                    Body::Reminded { question, waits_for, .. } => {
                        let asked = self.open.iter_mut().filter(|(_, open)| open.uuid == question);
                        asked.for_each(|(_, open)| open.waits_for.clone_from(&waits_for));
                    }
                    Body::Parked => self.parked = true,
                    Body::Ended(ended) => return Ok(Some(ended)),
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// The question that is to be answered here next. Where a person is there, those that are for others are left out.
    fn next_to_ask(&self) -> Option<(usize, ClientMessage)> {
        let is_ours = |(_, open): &&(usize, ClientMessage)| open.waits_for.is_none();
        let ours = self.open.iter().find(is_ours);
        ours.or_else(|| self.open.first().filter(|_| !self.style.interactive)).cloned()
    }

    /// Takes note of a message of a kind that this program cannot read.
    fn heard_unknown(&mut self, id: MessageId, kind: String) {
        if is_question(&kind) {
            self.unreadable.push((id, kind, false));
            return;
        }
        if self.unknown.len() == KEPT_UNKNOWN {
            self.unknown.pop_front();
        }
        self.unknown.push_back((id, kind));
    }

    /// Asks the gateway whether the run waits with a message of an unknown kind. Without an answer nothing is said.
    async fn look_for_unknown_question(&mut self) {
        if !std::mem::take(&mut self.parked) || !self.open.is_empty() || self.unknown.is_empty() {
            return;
        }
        let Ok(run) = self.client.get(self.run).await else { return };
        let asked = run.question.and_then(|asked| self.unknown.iter().position(|(id, _)| *id == asked.id));
        if let Some((id, kind)) = asked.and_then(|at| self.unknown.remove(at)) {
            self.unreadable.push((id, kind, false));
        }
    }

    /// What to say of the next question that cannot be read and that nothing was said of yet.
    fn unreadable_question(&mut self) -> Option<String> {
        let (id, kind, told) = self.unreadable.iter_mut().find(|(.., told)| !*told)?;
        *told = true;
        Some(format!(
            "this program cannot show a question of the run (of the kind {kind:?}); answer it on the chat page, or with \
             POST {}api/runs/{}/answers/{id}; a fastagency of the gateway's version can show it too",
            with_slash(self.client.url()),
            self.run
        ))
    }

    fn note_whom_it_is_for(&mut self, question: &ClientMessage) -> io::Result<()> {
        match &question.waits_for {
            Some(who) => self.note(&waits_for_others(who)),
            None => Ok(()),
        }
    }

    /// Takes note of the answer that counts, and says so if one from here came too late for it.
    fn heard_answer(&mut self, question: MessageId, counted: CountedAnswer) -> io::Result<()> {
        if let Some((_, late)) = self.late.take_if(|(id, _)| *id == question) {
            return self.note(&late.in_words(&counted, self.reader.as_deref()));
        }
        if self.answered_elsewhere.len() == KEPT_ANSWERS {
            self.answered_elsewhere.pop_front();
        }
        self.answered_elsewhere.push_back((question, counted));
        Ok(())
    }

    /// An answer from here came too late.
    fn came_late(&mut self, question: &ClientMessage, sent: &Value) -> io::Result<()> {
        let late = LateAnswer::new(&question.says, sent);
        match self.answered_elsewhere.iter().find(|(id, _)| *id == question.uuid) {
            Some((_, counted)) => {
                let words = late.in_words(counted, self.reader.as_deref());
                self.note(&words)
            }
            // The log tells it in a moment.
            None => {
                self.late = Some((question.uuid, late));
                Ok(())
            }
        }
    }

    fn is_open(&self, question: MessageId) -> bool {
        self.open.iter().any(|(_, open)| open.uuid == question)
    }

    async fn answer_given(&mut self, question: &ClientMessage, text: &str) -> Result<Option<String>, Error> {
        let value = value_of(&question.says, text);
        let shown = if question.says.is_secret() { "•••".to_owned() } else { plain(text) };
        self.note_answer(&shown)?;
        let refused = match value {
            Ok(value) => self.answer(question, &value).await?,
            Err(why) => Some(why),
        };
        if let Some(refused) = &refused {
            self.note(refused)?;
        }
        Ok(refused)
    }

    /// Sends an answer. What the gateway has against it is given back, and the question stays open.
    async fn answer(&mut self, question: &ClientMessage, value: &Value) -> Result<Option<String>, Error> {
        let (client, run, id) = (self.client, self.run, question.uuid);
        let mut tries = 0;
        let sent = patiently(ANSWER_TIMEOUT, async || {
            tries += 1;
            client.answer(run, id, value).await
        })
        .await;
        let repeated = tries > 1;
        match sent {
            Ok(()) => self.answered_here.push(id),
            Err(error) => match error.code() {
                Some("invalid_answer") => return Ok(Some(error.to_string())),
                Some("forbidden") => {
                    // The gateway names who may; it need not be asked here again.
                    let asked = self.open.iter_mut().filter(|(_, open)| open.uuid == id);
                    asked.for_each(|(_, open)| open.waits_for = Some("others".to_owned()));
                    return Ok(Some(error.to_string()));
                }
                // The first try may have arrived.
                Some("already_answered") if repeated => self.answered_here.push(id),
                Some("already_answered") => self.came_late(question, value)?,
                Some("run_ended") => self.note(&LateAnswer::new(&question.says, value).after_the_end())?,
                _ => return Err(error.into()),
            },
        }
        self.open.retain(|(_, open)| open.uuid != id);
        Ok(None)
    }

    fn unanswered(&mut self, question: &ClientMessage, refused: Option<String>) -> ConsoleEnd {
        let prompt = plain(question.says.prompt().unwrap_or_default());
        ConsoleEnd::Unanswered { prompt, refused, is_for_others: question.waits_for.is_some() }
    }

    fn finish(&mut self, ended: &Ended) -> io::Result<()> {
        if self.style.json {
            return Ok(());
        }
        if let Some((_, late)) = self.late.take() {
            self.note(&late.after_the_end())?;
        }
        let words = self.renderer.end(ended);
        self.show(&words)?;
        let late = self.cancelling.then(|| late_stop(ended.outcome, ended.reason.as_deref(), self.reader.as_deref()));
        late.flatten().map_or(Ok(()), |words| self.note(&words))
    }

    /// Shows what a person is asked; his line follows it.
    fn ask(&mut self, words: &str) -> io::Result<()> {
        self.renderer.prompted();
        self.show(words)
    }

    fn note_answer(&mut self, answer: &str) -> io::Result<()> {
        if self.style.json { Ok(()) } else { self.show(&format!("> {answer}\n")) }
    }

    /// Says something about the conversation, beside it.
    fn note(&mut self, words: &str) -> io::Result<()> {
        if self.style.json {
            eprintln!("{}", plain(words));
            return Ok(());
        }
        let words = self.renderer.note(words);
        self.show(&words)
    }

    fn show(&mut self, words: &str) -> io::Result<()> {
        if words.is_empty() || self.style.json {
            return Ok(());
        }
        self.out.write_all(words.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::{played, streamed};

    const ID: &str = "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c";

    fn said(kind: &str, content: &str) -> String {
        format!(
            "event: record\nid: 1\ndata: {{\"seq\":1,\"at\":\"2026-11-22T10:00:00.123Z\",\"kind\":\"said\",\"message\":{{\
             \"uuid\":\"{ID}\",\"type\":\"{kind}\",\"content\":{content}}}}}\n\n"
        )
    }

    fn parked(after: &str) -> String {
        let parked = r#"{"seq":2,"at":"2026-11-22T10:00:00.123Z","kind":"parked"}"#;
        format!("{after}event: record\nid: 2\ndata: {parked}\n\nevent: caught_up\ndata: {{\"seq\":2}}\n\n")
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    /// How a conversation without a terminal ends, and what it shows.
    async fn talked(answers: Vec<String>) -> (ConsoleEnd, String) {
        let (url, _asked) = played(answers).await;
        let client = GatewayClient::new(&url).unwrap();
        let style = ConsoleStyle { json: false, interactive: false, colour: false };
        let given = PreparedAnswers::parse(&["once".to_owned()]);
        let mut shown = Vec::new();
        let mut console = Console::new(&client, RunId::random(), style, given, &mut shown);
        let end = console.talk().await.unwrap();
        (end, String::from_utf8(shown).unwrap())
    }

    #[tokio::test]
    async fn a_question_that_cannot_be_read_ends_the_conversation_and_says_where_to_answer() {
        let nobody = answer("404 Not Found", "{}");
        let of_a_later_version = said("approval", r#"{"function_name": ["two", "names"]}"#);
        let (end, shown) = talked(vec![nobody.clone(), streamed(&parked(&of_a_later_version))]).await;
        let ConsoleEnd::Unreadable { words } = end else { panic!("{end:?}") };
        assert!(words.contains("the kind \"approval\"") && words.contains(&format!("/answers/{ID}")), "{words}");
        assert!(shown.contains(&format!("({words})")), "{shown}");
    }

    #[tokio::test]
    async fn a_message_of_an_unknown_kind_that_the_run_waits_with_is_a_question() {
        let nobody = answer("404 Not Found", "{}");
        let run = format!(
            r#"{{"id": "{ID}", "workflow": "w", "title": null, "state": "waiting", "outcome": null, "reason": null,
               "question": {{"id": "{ID}", "prompt": "Sign?"}}, "user": null, "created_at": "2026-11-22T10:00:00.123Z",
               "updated_at": "2026-11-22T10:00:00.123Z"}}"#
        );
        let stream = streamed(&parked(&said("signature", "{}")));
        let (end, _) = talked(vec![nobody.clone(), stream, answer("200 OK", &run)]).await;
        assert!(matches!(&end, ConsoleEnd::Unreadable { words } if words.contains("\"signature\"")), "{end:?}");
    }
}
