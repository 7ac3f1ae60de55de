//! What a run says, as text for a terminal: pure, from records and deltas to words. Every text that is not ours goes through
//! [`plain`], so that no escape sequence of a model or of another person reaches the terminal.

use serde_json::Value;

use crate::client::event::{Body, ClientMessage, Ended};
use crate::ids::MessageId;
use crate::legible::{self, legible};
use crate::message::MessageContent;
use crate::protocol::log::RunOutcome;
use crate::protocol::participant::transfer_target;
use crate::run::attach::TextDelta;
use crate::visible::{is_hidden, is_joining, written_out};

/// The longest function call or result that is shown, in characters: they are for machines, and may be of any size.
const CALL_SHOWN: usize = 2000;

/// A text without anything that a terminal would take for a command: control characters (new lines and tabs stay), and
/// characters that turn the direction of writing. No letter has more marks than it needs.
pub fn plain(text: &str) -> String {
    without_controls(&legible(text))
}

fn without_controls(text: &str) -> String {
    text.chars().filter(|c| is_plain(*c)).collect()
}

fn is_plain(c: char) -> bool {
    matches!(c, '\n' | '\t') || !is_bidi(c) && !c.is_control() && (!is_hidden(c) || is_joining(c))
}

/// What turns the direction of writing.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text in one line.
pub(super) fn line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Renders one run.
pub(super) struct RunRenderer {
    colour: bool,
    streaming: Option<StreamedText>,
    /// Between whom the last text was.
    heading: Option<(Option<String>, Option<String>)>,
    /// Nothing is on the line yet.
    at_start: bool,
    /// Who reads; none: that is not known, or nobody signs in.
    reader: Option<String>,
}

/// A text that is being written.
struct StreamedText {
    message: MessageId,
    attempt: u32,
    /// What was shown of it, as it came.
    text: String,
    /// How far that had come.
    flow: legible::LegibleFlow,
    /// A piece of it was missed: the rest is shown when it has been said.
    broken: bool,
}

impl RunRenderer {
    pub fn new(colour: bool) -> Self {
        Self { colour, streaming: None, heading: None, at_start: true, reader: None }
    }

    /// Says who reads: what that person answered is theirs, and all else is shown by its names.
    pub fn read_by(&mut self, reader: Option<String>) {
        self.reader = reader;
    }

    /// A piece of text.
    pub fn delta(&mut self, delta: &TextDelta) -> String {
        let mut words = String::new();
        match &mut self.streaming {
            // One text at a time: another one is shown when it has been said.
            Some(streaming) if streaming.message != delta.message => return words,
            Some(streaming) if delta.attempt < streaming.attempt => return words,
            Some(streaming) if delta.attempt > streaming.attempt => {
                let shown = !streaming.text.is_empty();
                *streaming = StreamedText {
                    message: delta.message,
                    attempt: delta.attempt,
                    text: String::new(),
                    flow: legible::LegibleFlow::default(),
                    broken: delta.offset > 0,
                };
                if shown {
                    words.push_str(&self.note("it is written anew"));
                }
            }
            Some(_) => {}
            None => {
                // Whoever comes in the middle waits for the whole.
                if delta.offset > 0 {
                    return words;
                }
                words.push_str(&self.head(&delta.sender, &delta.recipient));
                self.streaming = Some(StreamedText {
                    message: delta.message,
                    attempt: delta.attempt,
                    text: String::new(),
                    flow: legible::LegibleFlow::default(),
                    broken: false,
                });
            }
        }
        let Some(streaming) = &mut self.streaming else { return words };
        let shown = streaming.text.chars().count();
        if delta.offset > shown {
            streaming.broken = true;
        }
        if streaming.broken {
            return words;
        }
        // A piece may repeat what came before.
        let new: String = delta.text.chars().skip(shown - delta.offset).collect();
        streaming.text.push_str(&new);
        let new = without_controls(&streaming.flow.take(&new));
        words.push_str(&self.put(&new));
        words
    }

    /// A record. `live` tells what happens now from history, where answers were given by somebody.
    pub fn record(&mut self, body: &Body, live: bool) -> String {
        match body {
            Body::Said { message } => self.said(&ClientMessage::from(&**message)),
            Body::Answered { text, refused, by, on_timeout, .. } => {
                self.answered(text.as_deref(), refused.as_deref(), by.as_deref(), *on_timeout, live)
            }
            Body::Reminded { escalated_to: Some(to), .. } => {
                self.note(&format!("nobody has answered yet; now also for {}", line(&to.to_string())))
            }
            Body::Reminded { .. } => self.note("nobody has answered yet"),
            Body::Created { user: Some(user), .. } if self.reader.as_ref() != Some(user) => {
                self.note(&format!("started by {}", line(user)))
            }
            Body::Created { .. } | Body::Claimed { .. } | Body::Parked | Body::Ended(_) | Body::Unknown => {
                String::new()
            }
        }
    }

    fn said(&mut self, message: &ClientMessage) -> String {
        let mut words = String::new();
        if let MessageContent::TextMessage { body, stopped, cut } = &message.says {
            let body = body.as_deref().unwrap_or_default();
            match self.streaming.take_if(|streaming| streaming.message == message.uuid) {
                Some(streaming) if body.starts_with(&streaming.text) => {
                    words.push_str(&self.put(&plain(&body[streaming.text.len()..])));
                }
                Some(_) => {
                    words.push_str(&self.note("it was written anew"));
                    words.push_str(&self.put(&plain(body)));
                }
                None => {
                    words.push_str(&self.over());
                    words.push_str(&self.head(&message.sender, &message.recipient));
                    words.push_str(&self.put(&plain(body)));
                }
            }
            if *stopped {
                words.push_str(&self.note("stopped here"));
            }
            if let Some(cut) = cut {
                words.push_str(&self.note(&format!("this reply {}", cut.in_words())));
            }
            words.push_str(&self.line_end());
            return words;
        }
        let Some(text) = in_words(&message.says) else { return words };
        words.push_str(&self.over());
        words.push_str(&self.head(&message.sender, &message.recipient));
        words.push_str(&self.put(&text));
        words.push_str(&self.line_end());
        words
    }

    fn answered(
        &mut self,
        text: Option<&str>,
        refused: Option<&str>,
        by: Option<&str>,
        on_timeout: bool,
        live: bool,
    ) -> String {
        let answer = plain(text.unwrap_or("•••"));
        let is_reader = by.is_some() && by == self.reader.as_deref();
        let other = by.filter(|_| !is_reader).map(line);
        let by = match &other {
            Some(other) => format!(" by {other}"),
            None if is_reader => " by you".to_owned(),
            None => String::new(),
        };
        let note = match (refused, on_timeout, live) {
            (Some(refused), ..) => return self.note(&format!("the answer does not fit: {refused}")),
            (None, true, _) => match text {
                Some(_) => format!("nobody answered in time; the workflow takes {answer:?}"),
                None => "nobody answered in time; the workflow goes on".to_owned(),
            },
            (None, false, true) => format!("answered elsewhere{by}: {answer}"),
            (None, false, false) => return format!("{}{}> {answer}\n", self.line_end(), other.unwrap_or_default()),
        };
        self.note(&note)
    }

    /// How it ended, and its result.
    pub fn end(&mut self, ended: &Ended) -> String {
        let mut words = self.over();
        let said = match (ended.outcome, &ended.reason) {
            (RunOutcome::Completed, _) => "completed".to_owned(),
            (RunOutcome::Failed, Some(reason)) => {
                let place = ended.place.as_deref().map(|place| format!(" ({})", plain(place))).unwrap_or_default();
                format!("failed: {}{place}", plain(reason))
            }
            (RunOutcome::Failed, None) => "failed".to_owned(),
            (RunOutcome::Cancelled, _) => "cancelled".to_owned(),
        };
        let result = match &ended.result {
            Value::Null => String::new(),
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!(": {}", plain(text)),
            other => format!(": {}", plain(&format!("{other:#}"))),
        };
        // A failed run's result is its reason again.
        let result = if ended.outcome == RunOutcome::Completed { result } else { String::new() };
        words.push('\n');
        words.push_str(&self.bold(&said));
        words.push_str(&result);
        words.push('\n');
        if ended.usage.llm_calls > 0 {
            let usage = &ended.usage;
            let calls = if usage.llm_calls == 1 { "call" } else { "calls" };
            let cost = if usage.cost_usd.is_zero() { String::new() } else { format!(", {}", usage.cost_usd) };
            let about = if usage.estimated_calls > 0 { " (estimated)" } else { "" };
            words.push_str(&self.faint(&format!(
                "{} model {calls}, {} tokens read, {} written{cost}{about}",
                usage.llm_calls, usage.prompt_tokens, usage.completion_tokens
            )));
            words.push('\n');
        }
        words
    }

    /// Something about the conversation, on a line of its own.
    pub fn note(&mut self, words: &str) -> String {
        let end = self.line_end();
        self.heading = None;
        format!("{end}{}\n", self.faint(&format!("({})", plain(words))))
    }

    /// A prompt stands on the line, and what a person types follows it.
    pub fn prompted(&mut self) {
        self.at_start = false;
    }

    /// The person has ended the line.
    pub fn typed(&mut self) {
        self.at_start = true;
    }

    /// Ends a text that is still being written.
    fn over(&mut self) -> String {
        self.streaming = None;
        self.line_end()
    }

    fn head(&mut self, sender: &Option<String>, recipient: &Option<String>) -> String {
        let between = (sender.clone(), recipient.clone());
        if self.heading.as_ref() == Some(&between) {
            return "\n".to_owned();
        }
        let names: Vec<String> = [sender, recipient].into_iter().flatten().map(|name| line(name)).collect();
        self.heading = Some(between);
        if names.is_empty() { "\n".to_owned() } else { format!("\n{}\n", self.bold(&names.join(" → "))) }
    }

    fn put(&mut self, text: &str) -> String {
        if let Some(last) = text.chars().last() {
            self.at_start = last == '\n';
        }
        text.to_owned()
    }

    /// What ends the line, if something stands on it.
    pub fn line_end(&mut self) -> String {
        if std::mem::replace(&mut self.at_start, true) { String::new() } else { "\n".to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn faint(&self, text: &str) -> String {
        if self.colour { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A message that is no text, in words; none: it is nothing for people.
pub(super) fn in_words(says: &MessageContent) -> Option<String> {
    let words = match says {
        MessageContent::TextMessage { body, .. } => body.clone()?,
        MessageContent::SuggestedFunctionCall { function_name: Some(name), .. } if transfer_target(name).is_some() => {
            format!("hands over to {}", written_out(transfer_target(name).unwrap_or_default()))
        }
        MessageContent::FunctionCallExecution { function_name: Some(name), retval, .. }
            if transfer_target(name).is_some() && retval.get("target").is_some() =>
        {
            return None;
        }
        MessageContent::SuggestedFunctionCall { function_name, arguments, .. } => {
            let arguments = serde_json::to_string(arguments).unwrap_or_default();
            let name = written_out(function_name.as_deref().unwrap_or("?"));
            format!("calls {name}({})", shortened(&written_out(&arguments)))
        }
        MessageContent::FunctionCallExecution { function_name, retval, .. } => {
            let returned = retval.as_str().map_or_else(|| retval.to_string(), str::to_owned);
            format!("{} returned {}", function_name.as_deref().unwrap_or("?"), shortened(&returned))
        }
        MessageContent::TextInput(_) | MessageContent::MultipleChoice(_) | MessageContent::Form(_) => {
            says.prompt().unwrap_or("?").to_owned()
        }
        MessageContent::Approval(asked) => {
            let prompt = asked.prompt.as_deref().unwrap_or("May this be called?");
            // What is decided on is written out: every letter and digit of it.
            let arguments = Value::Object(asked.arguments.clone()).to_string();
            let call = format!("{prompt}\n{}({})", written_out(&asked.function_name), written_out(&arguments));
            match asked.injected.is_empty() {
                true => call,
                false => {
                    let injected = Value::Object(asked.injected.clone()).to_string();
                    format!("{call}\ngiven by the workflow: {}", written_out(&injected))
                }
            }
        }
        MessageContent::SystemMessage { message } => match message.get("body").and_then(Value::as_str) {
            Some(body) => match message.get("heading").and_then(Value::as_str) {
                Some(heading) => format!("{heading}\n{body}"),
                None => body.to_owned(),
            },
            None => serde_json::to_string_pretty(message).unwrap_or_default(),
        },
        MessageContent::Error { short, long } => {
            let mut words = format!("error: {}", short.as_deref().unwrap_or("something went wrong"));
            if let Some(long) = long.as_deref().filter(|long| !long.is_empty()) {
                words.push('\n');
                words.push_str(long);
            }
            words
        }
        MessageContent::Other { kind, content } => format!("{kind}: {}", shortened(&content.to_string())),
        MessageContent::KeepAlive
        | MessageContent::WorkflowStarted { .. }
        | MessageContent::WorkflowCompleted { .. } => return None,
    };
    Some(plain(&words))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CALL_SHOWN {
        text.to_owned()
    } else {
        text.chars().take(CALL_SHOWN).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api::MessageView;
    use crate::protocol::log::RunUsage;

    fn message(digit: char, says: MessageContent) -> Box<MessageView> {
        Box::new(MessageView {
            uuid: id(digit),
            sender: Some("Teacher".into()),
            recipient: Some("Student".into()),
            auto_reply: false,
            kind: says.kind().to_owned(),
            content: crate::message::shown(&says),
            within: Vec::new(),
            html: None,
        })
    }

    fn id(digit: char) -> MessageId {
        MessageId::parse(&digit.to_string().repeat(32)).unwrap()
    }

    fn delta(attempt: u32, offset: usize, text: &str) -> TextDelta {
        TextDelta {
            message: id('1'),
            attempt,
            offset,
            text: text.into(),
            sender: Some("Teacher".into()),
            recipient: Some("Student".into()),
            within: Vec::new(),
        }
    }

    fn said(digit: char, text: &str) -> Body {
        Body::Said { message: message(digit, MessageContent::text(text)) }
    }

    #[test]
    fn a_text_is_streamed_once_whatever_is_repeated_or_missed() {
        let mut renderer = RunRenderer::new(false);
        let mut shown = String::new();
        for piece in [delta(1, 0, "A tri"), delta(1, 0, "A triangle"), delta(1, 10, " has"), delta(1, 10, " has")] {
            shown += &renderer.delta(&piece);
        }
        // A gap: the rest comes with the record.
        shown += &renderer.delta(&delta(1, 20, "sides"));
        shown += &renderer.record(&said('1', "A triangle has three sides."), true);
        shown += &renderer.record(&said('2', "And a square four."), true);
        assert_eq!(shown, "\nTeacher → Student\nA triangle has three sides.\n\nAnd a square four.\n");
    }

    #[test]
    fn a_second_attempt_replaces_the_first_and_another_text_waits() {
        let mut renderer = RunRenderer::new(false);
        let mut shown = renderer.delta(&delta(1, 0, "Wrong"));
        shown += &renderer.delta(&TextDelta { message: id('2'), ..delta(1, 0, "somebody else") });
        shown += &renderer.delta(&delta(2, 0, "Right"));
        shown += &renderer.delta(&delta(1, 5, "er"));
        shown += &renderer.record(&said('1', "Right."), true);
        shown += &renderer.record(&said('2', "somebody else"), true);
        assert_eq!(
            shown,
            "\nTeacher → Student\nWrong\n(it is written anew)\nRight.\n\nTeacher → Student\nsomebody else\n"
        );
    }

    #[test]
    fn the_head_of_a_run_says_whose_it_is_where_the_reader_did_not_start_it() {
        let created = |user: Option<&str>| Body::Created {
            workflow: "echo".to_owned(),
            params: Default::default(),
            user: user.map(str::to_owned),
        };
        for (reader, user, words) in [
            (Some("sue"), Some("ann"), "(started by ann)\n"),
            (None, Some("ann\n\u{1b}[2J"), "(started by ann [2J)\n"),
            (Some("ann"), Some("ann"), ""),
            (Some("ann"), None, ""),
            (None, None, ""),
        ] {
            let mut renderer = RunRenderer::new(false);
            renderer.read_by(reader.map(str::to_owned));
            assert_eq!(renderer.record(&created(user), false), words, "{reader:?} {user:?}");
        }
    }

    #[test]
    fn no_escape_sequence_reaches_the_terminal() {
        let hostile = "a\x1b[2J\x1b]0;title\x07b\r\u{9b}31m\u{202e}c\u{7f}\u{0}";
        assert_eq!(plain(hostile), "a[2J]0;titleb31mc");
        assert_eq!(plain("tab\tand\nline"), "tab\tand\nline");
        let mut renderer = RunRenderer::new(false);
        let mut shown = renderer.delta(&delta(1, 0, hostile));
        let mut from = message('2', MessageContent::text(hostile));
        from.sender = Some(hostile.into());
        shown += &renderer.record(&Body::Said { message: from }, true);
        for says in [
            MessageContent::SuggestedFunctionCall {
                function_name: Some(hostile.into()),
                call_id: None,
                arguments: Default::default(),
            },
            MessageContent::FunctionCallExecution { function_name: None, call_id: None, retval: hostile.into() },
            MessageContent::Error { short: Some(hostile.into()), long: Some(hostile.into()) },
            MessageContent::Other { kind: hostile.into(), content: hostile.into() },
        ] {
            shown += &renderer.record(&Body::Said { message: message('3', says) }, true);
        }
        shown += &renderer.note(hostile);
        let answered = Body::Answered {
            question: id('1'),
            text: Some(hostile.into()),
            refused: None,
            by: Some(hostile.into()),
            on_timeout: false,
            value: None,
            arguments_text: None,
        };
        shown += &renderer.record(&answered, true);
        let ended = Ended {
            outcome: RunOutcome::Failed,
            reason: Some(hostile.into()),
            place: Some(hostile.into()),
            result: Value::Null,
            usage: RunUsage::default(),
            message: None,
        };
        shown += &renderer.end(&ended);
        assert!(!shown.chars().any(|c| c != '\n' && c.is_control()), "{shown:?}");
    }

    #[test]
    fn colour_is_there_only_if_it_is_wanted() {
        let ended = Ended {
            outcome: RunOutcome::Completed,
            reason: None,
            place: None,
            result: "done".into(),
            usage: RunUsage { llm_calls: 2, prompt_tokens: 3, completion_tokens: 4, ..RunUsage::default() },
            message: None,
        };
        assert_eq!(RunRenderer::new(false).end(&ended), "\ncompleted: done\n2 model calls, 3 tokens read, 4 written\n");
        assert!(RunRenderer::new(true).end(&ended).starts_with("\n\x1b[1mcompleted\x1b[0m: done\n"));
    }

    #[test]
    fn answers_of_others_are_noticed_and_those_of_the_past_are_shown() {
        let answered = |text: Option<&str>, on_timeout| Body::Answered {
            question: id('1'),
            text: text.map(str::to_owned),
            refused: None,
            by: None,
            on_timeout,
            value: None,
            arguments_text: None,
        };
        let mut renderer = RunRenderer::new(false);
        assert_eq!(renderer.record(&answered(Some("triangles"), false), false), "> triangles\n");
        assert_eq!(renderer.record(&answered(None, false), false), "> •••\n");
        assert_eq!(renderer.record(&answered(Some("circles"), false), true), "(answered elsewhere: circles)\n");
        assert_eq!(renderer.record(&answered(None, true), true), "(nobody answered in time; the workflow goes on)\n");
    }
}
