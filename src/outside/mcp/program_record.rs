//! What is known of a program beside its messages: its last words, what it wrote where messages belong, and how it ended. The
//! log has all of it. Models and people read how it ended alone: the words of a program name paths of this machine.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bounds::{cut_mark, cut_off};
use crate::ids::Name;
use crate::outside::secrets::Secrets;

/// Lines that count as a program's last words: a Node program says why it ends a dozen lines before the last one.
const MOST_LAST_WORDS: usize = 16;
/// So much of each of them, and of a line that is no message, is shown, in bytes.
const LONGEST_SHOWN: usize = 300;
/// So much of a line that is no message is searched for secrets, in bytes.
const LONGEST_READ: usize = 2000;
/// How long the words of a program may take to come when it has ended.
const WORDS_WITHIN: Duration = Duration::from_millis(500);
/// How long it may take to learn how a program ended whose output has ended: it is killed before.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// What is known of a program.
#[derive(Debug)]
pub(super) struct ProgramRecord {
    /// The server that it is.
    pub(super) server: Name,
    secrets: Arc<Secrets>,
    heard: Mutex<HeardOutput>,
    /// Cancelled when all its words have come.
    pub(super) is_quiet: CancellationToken,
    /// Cancelled when nobody waits for its words any more.
    pub(super) is_left: CancellationToken,
    is_over: CancellationToken,
}

/// What came from a program.
#[derive(Debug, Default)]
struct HeardOutput {
    last_words: VecDeque<String>,
    /// It wrote a message.
    has_answered: bool,
    /// It wrote lines that are no messages before its first message.
    has_banner: bool,
    /// Its output ended before it was asked to end.
    ended_itself: bool,
    status: Option<ExitStatus>,
}

/// What a line that is no message is to the log.
#[derive(Debug, PartialEq)]
pub(super) enum StrayLine {
    /// It came before all messages, as the first one: so it is no half of a result, and may be shown.
    Banner(String),
    /// Another one that came before all messages.
    BannerGoesOn,
    /// It came between messages.
    BetweenMessages,
}

impl ProgramRecord {
    /// Of a program that was just started.
    pub(super) fn new(server: Name, secrets: Arc<Secrets>) -> Self {
        Self {
            server,
            secrets,
            heard: Mutex::default(),
            is_quiet: CancellationToken::new(),
            is_left: CancellationToken::new(),
            is_over: CancellationToken::new(),
        }
    }

    /// Notes a line of its own words, and gives it without secrets. `is_whole`: nothing was cut off its end.
    pub(super) fn hear(&self, line: &str, is_whole: bool) -> String {
        let line = self.without_secrets(line.trim_end(), is_whole);
        if !line.trim().is_empty() {
            let mut heard = self.heard.lock();
            if heard.last_words.len() == MOST_LAST_WORDS {
                heard.last_words.pop_front();
            }
            heard.last_words.push_back(cut(&line));
        }
        line
    }

    /// Notes that a message came.
    pub(super) fn note_message(&self) {
        self.heard.lock().has_answered = true;
    }

    /// Notes a line that is no message.
    pub(super) fn note_stray(&self, line: &[u8]) -> StrayLine {
        let mut heard = self.heard.lock();
        match (heard.has_answered, heard.has_banner) {
            (true, _) => StrayLine::BetweenMessages,
            (false, true) => StrayLine::BannerGoesOn,
            (false, false) => {
                heard.has_banner = true;
                drop(heard);
                let start = &line[..line.len().min(LONGEST_READ)];
                let text = self.without_secrets(&String::from_utf8_lossy(start), start.len() == line.len());
                StrayLine::Banner(cut(&text))
            }
        }
    }

    /// A text without secrets. The end of one that is not whole may be half a secret.
    fn without_secrets(&self, text: &str, is_whole: bool) -> String {
        let text = self.secrets.hidden(text);
        if is_whole {
            return text;
        }
        let end = text.floor_char_boundary(text.len().saturating_sub(self.secrets.hidden_texts().longest()));
        text[..end].to_owned() + &cut_mark(end, "bytes")
    }

    /// Notes that its output has ended, and nobody has asked for it.
    pub(super) fn note_end_of_output(&self) {
        self.heard.lock().ended_itself = true;
    }

    /// Notes how it ended, when all its words have come; none: it had to be ended. Later calls change nothing.
    pub(super) async fn end(&self, status: Option<ExitStatus>) {
        if self.is_over.is_cancelled() {
            return;
        }
        let _ = tokio::time::timeout(WORDS_WITHIN, self.is_quiet.cancelled()).await;
        self.is_left.cancel();
        self.heard.lock().status = status;
        self.is_over.cancel();
    }

    /// Writes into the log how it ended: as a warning with its last words if it failed.
    pub(super) fn log_end(&self) {
        let heard = self.heard.lock();
        let has_failed = heard.ended_itself && !heard.status.is_some_and(|status| status.success());
        drop(heard);
        match has_failed {
            true => self.log_failure(),
            false => tracing::info!(mcp.server = %self.server, "{}: {}", self.server, self.how_it_ended()),
        }
    }

    /// Writes into the log that it cannot be used, with its last words.
    pub(super) fn log_failure(&self) {
        let (server, how) = (&self.server, self.how_it_ended());
        let words = self.last_words();
        match words.is_empty() {
            true => tracing::warn!(mcp.server = %server, "{server}: {how}, without a word on its standard error"),
            false => tracing::warn!(mcp.server = %server, "{server}: {how}. Its last words: {words}"),
        }
    }

    /// Writes into the log what was heard of a program that did not begin in time.
    pub(super) fn log_silence(&self) {
        let words = self.last_words();
        if !words.is_empty() {
            let server = &self.server;
            tracing::warn!(mcp.server = %server, "{server} did not begin in time. Its words so far: {words}");
        }
    }

    fn last_words(&self) -> String {
        let words: Vec<String> = self.heard.lock().last_words.iter().cloned().collect();
        words.join(" | ")
    }

    /// How it ended, for everybody.
    pub(super) fn how_it_ended(&self) -> String {
        let heard = self.heard.lock();
        let how = how(heard.status, heard.ended_itself);
        let when = if heard.has_answered { "" } else { " before it answered anything" };
        format!("{how}{when}")
    }

    /// How it ended, and what the log has to say.
    pub(super) fn why_it_ended(&self) -> String {
        format!("{}{}", self.how_it_ended(), self.where_to_look())
    }

    /// What the log has to say of a program that cannot be used.
    pub(super) fn where_to_look(&self) -> &'static str {
        let heard = self.heard.lock();
        match (heard.has_banner && !heard.has_answered, heard.last_words.is_empty()) {
            (true, true) => "; what it wrote to its standard output is no MCP: the log has the first line",
            (true, false) => {
                "; what it wrote to its standard output is no MCP: the log has the first line, and its last words"
            }
            (false, false) => "; the log has its last words",
            (false, true) => "",
        }
    }

    /// Why nothing comes any more, once that is known.
    pub(super) async fn why_lost(&self) -> String {
        if !self.heard.lock().ended_itself {
            return "the connection was closed".to_owned();
        }
        let _ = tokio::time::timeout(ENDS_WITHIN, self.is_over.cancelled()).await;
        self.why_it_ended()
    }
}

/// A text as far as it is shown.
fn cut(text: &str) -> String {
    match text.len() <= LONGEST_SHOWN {
        true => text.to_owned(),
        false => cut_off(text, LONGEST_SHOWN),
    }
}

fn how(status: Option<ExitStatus>, ended_itself: bool) -> String {
    #[cfg(unix)]
    if let Some(signal) = status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status)) {
        return format!("its program was ended by signal {signal}");
    }
    match status.and_then(|status| status.code()) {
        Some(code) => format!("its program ended with exit code {code}"),
        None if ended_itself => "its program closed its output".to_owned(),
        None => "its program ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretConfig;

    fn record() -> ProgramRecord {
        let secret = SecretConfig::only_hidden(Some("sesame-0815".into()));
        let secrets = Secrets::new([("key".to_owned(), secret)].into());
        ProgramRecord::new(Name::parse("docs").unwrap(), Arc::new(secrets))
    }

    #[test]
    fn the_last_words_are_bounded_and_without_secrets() {
        let record = record();
        for number in 0..40 {
            record.hear(&format!("line {number} {}", "x".repeat(500)), true);
            record.hear("  ", true);
        }
        assert_eq!(
            record.hear("a word and sesame-08", false),
            "a word an… [cut off after 9 bytes]",
            "it may be half a secret"
        );
        assert_eq!(record.hear("sesame-0815 is wrong\n", true), "[secret key] is wrong");
        let heard = record.heard.lock();
        assert_eq!(heard.last_words.len(), MOST_LAST_WORDS);
        assert!(
            heard.last_words.iter().all(|line| line.len() <= LONGEST_SHOWN + cut_mark(LONGEST_SHOWN, "bytes").len())
        );
        assert_eq!(heard.last_words.back().unwrap(), "[secret key] is wrong");
    }

    #[test]
    fn the_first_line_that_is_no_message_is_quoted_and_none_that_may_be_half_a_result() {
        let record = record();
        let banner = record.note_stray(b"Listening with sesame-0815");
        assert_eq!(banner, StrayLine::Banner("Listening with [secret key]".to_owned()));
        assert_eq!(record.note_stray(b"and more"), StrayLine::BannerGoesOn);
        record.note_message();
        assert_eq!(record.note_stray(b"half a result"), StrayLine::BetweenMessages);
    }

    #[cfg(unix)]
    #[test]
    fn the_end_of_a_program_is_said_by_its_code_or_its_signal() {
        let status = |raw: i32| Some(std::os::unix::process::ExitStatusExt::from_raw(raw));
        assert_eq!(how(status(2 << 8), true), "its program ended with exit code 2");
        assert_eq!(how(status(9), true), "its program was ended by signal 9");
        assert_eq!(how(None, true), "its program closed its output");
    }
}
