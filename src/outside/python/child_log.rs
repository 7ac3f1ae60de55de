//! What the Python process prints, in the worker's log: so many lines in a minute, each cut off where it is too long. Secrets are hidden
//! before that: what a cut leaves of one would be found by nobody.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::Instant;

use super::child_state::ChildState;
use crate::bounds::cut_mark;
use crate::outside::secrets::Secrets;

/// So much of a line that is printed past Python is shown, in bytes.
const LONGEST_LINE: usize = 4000;
/// So much of a line that a function prints is shown, in characters.
const LONGEST_PRINTED_LINE: usize = 2000;
/// So much of the words of an exception is shown, in characters.
const LONGEST_WORDS: usize = 2000;
/// So much of a traceback is shown, in characters: its end is what matters.
const LONGEST_TRACEBACK: usize = 8000;
/// So many lines of one process are shown in a minute.
const LINES_PER_MINUTE: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);

/// How many lines may still be shown.
pub(super) struct LineBudget {
    since: Instant,
    shown: u32,
    hidden: u32,
}

impl LineBudget {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), shown: 0, hidden: 0 }
    }

    /// Whether one more line may be shown.
    pub(super) fn admits(&mut self) -> bool {
        if self.since.elapsed() >= MINUTE {
            if self.hidden > 0 {
                tracing::info!("{} lines that Python printed were not shown", self.hidden);
            }
            *self = Self::new();
        }
        let is_shown = self.shown < LINES_PER_MINUTE;
        *(if is_shown { &mut self.shown } else { &mut self.hidden }) += 1;
        is_shown
    }
}

/// Shows a line that a function has printed.
pub(super) fn show(function: &str, run: Option<&str>, line: &str) {
    tracing::info!(run.id = run, function, "{line}");
}

/// A line that a function has printed, as it is shown.
pub(super) fn shown_line(line: &str, is_broken_off: bool, secrets: &Secrets) -> String {
    beginning(line, is_broken_off, LONGEST_PRINTED_LINE, secrets)
}

/// The words of an exception as they are shown.
pub(super) fn shown_words(words: &str, is_broken_off: bool, secrets: &Secrets) -> String {
    beginning(words, is_broken_off, LONGEST_WORDS, secrets)
}

fn beginning(text: &str, is_broken_off: bool, most: usize, secrets: &Secrets) -> String {
    let text = secrets.hidden_texts().hidden_beginning(text, is_broken_off);
    match text.char_indices().nth(most) {
        Some((end, _)) => text[..end].to_owned() + &cut_mark(most, "characters"),
        None if is_broken_off => text + &cut_mark(most, "characters"),
        None => text,
    }
}

/// The end of a traceback.
pub(super) fn shown_traceback(text: &str, is_broken_off: bool, secrets: &Secrets) -> String {
    let text = secrets.hidden_texts().hidden_end(text, is_broken_off);
    match text.char_indices().nth_back(LONGEST_TRACEBACK - 1) {
        Some((start, _)) => text[start..].to_owned(),
        None => text,
    }
}

/// Shows what is printed past Python: by other programs, and by code that is not Python.
pub(super) async fn show_lines(pipe: impl AsyncRead + Unpin, state: &ChildState, secrets: &Secrets) {
    let mut reader = BufReader::new(pipe);
    let mut budget = LineBudget::new();
    while let Some(line) = read_line(&mut reader, secrets).await {
        if line.trim().is_empty() {
            continue;
        }
        if budget.admits() {
            match state.only_call() {
                Some(call) => tracing::info!(run.id = call.run, function = call.name, "{line}"),
                None => tracing::info!("Python: {line}"),
            }
        }
        state.last_words.lock().heard(line);
    }
    state.quiet.cancel();
}

/// The next line, as far as it is shown; none: there are no more.
async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin), secrets: &Secrets) -> Option<String> {
    let mut line = Vec::new();
    let most = LONGEST_LINE + secrets.hidden_texts().longest();
    let shown = |line: &[u8]| shown(line, most, secrets);
    loop {
        let piece = reader.fill_buf().await.ok()?;
        if piece.is_empty() {
            return (!line.is_empty()).then(|| shown(&line));
        }
        let end = memchr::memchr(b'\n', piece);
        let part = &piece[..end.unwrap_or(piece.len())];
        let room = (most + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(piece.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Some(shown(&line));
        }
    }
}

/// A line of which no more than so much was read, as it is shown.
fn shown(line: &[u8], most: usize, secrets: &Secrets) -> String {
    let text = secrets.hidden_texts().hidden_beginning(&String::from_utf8_lossy(line), line.len() > most);
    let mark = if line.len() > LONGEST_LINE { cut_mark(LONGEST_LINE, "bytes") } else { String::new() };
    let text = &text[..text.floor_char_boundary(LONGEST_LINE)];
    format!("{}{mark}", text.trim_end_matches(['\r', '\u{fffd}']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretConfig;

    fn secrets() -> Secrets {
        Secrets::new([("key".to_owned(), SecretConfig::only_hidden(Some("sesame-0815".into())))].into())
    }

    #[tokio::test]
    async fn a_cut_leaves_no_part_of_a_secret() {
        let secrets = secrets();
        for before in LONGEST_LINE - 15..=LONGEST_LINE + 15 {
            let text = format!("sesame-0815 {}sesame-0815{}", "x".repeat(before - 12), "y".repeat(100));
            let line = read_line(&mut BufReader::new(text.as_bytes()), &secrets).await.unwrap();
            assert!(!line.contains("ses"), "{before}: {}", &line[line.len() - 30..]);
        }
        for before in LONGEST_PRINTED_LINE - 15..=LONGEST_PRINTED_LINE + 15 {
            let text = format!("{}sesame-0815{}", "x".repeat(before), "y".repeat(100));
            let line = shown_line(&text[..LONGEST_PRINTED_LINE + 11], true, &secrets);
            assert!(!line.contains("ses") && line.ends_with("characters]"), "{before}: {}", &line[line.len() - 30..]);
        }
        for behind in LONGEST_TRACEBACK - 15..=LONGEST_TRACEBACK + 15 {
            let text = format!("{}sesame-0815{}", "x".repeat(100), "y".repeat(behind));
            let shown = shown_traceback(&text[text.len() - LONGEST_TRACEBACK - 11..], true, &secrets);
            assert!(!shown.contains("815"), "{behind}: {}", &shown[..30]);
        }
    }

    #[tokio::test]
    async fn lines_are_cut_and_counted() {
        let text = format!("one\r\n{}\n\nlast", "x".repeat(3 * LONGEST_LINE));
        let mut reader = BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut reader, &secrets()).await {
            lines.push(line);
        }
        assert_eq!(
            lines,
            [
                "one".to_owned(),
                format!("{}… [cut off after 4000 bytes]", "x".repeat(LONGEST_LINE)),
                String::new(),
                "last".to_owned()
            ]
        );
        let mut budget = LineBudget::new();
        let admitted = (0..LINES_PER_MINUTE + 5).filter(|_| budget.admits()).count();
        assert_eq!(admitted, LINES_PER_MINUTE as usize);
    }
}
