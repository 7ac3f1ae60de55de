//! What the Python process prints, in the worker's log: so many lines in a minute, each cut off where it is too long.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::time::Instant;

use super::child_state::ChildState;
use crate::outside::secrets::Secrets;

/// So much of a line is shown, in bytes.
const LONGEST_LINE: usize = 4000;
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
pub(super) fn show(function: &str, run: Option<&str>, line: &str, secrets: &Secrets) {
    tracing::info!(run.id = run, function, "{}", secrets.hidden(line));
}

/// Shows what is printed past Python: by other programs, and by code that is not Python.
pub(super) async fn show_lines(pipe: impl AsyncRead + Unpin, state: &ChildState, secrets: &Secrets) {
    let mut reader = BufReader::new(pipe);
    let mut budget = LineBudget::new();
    while let Some(line) = read_line(&mut reader).await {
        if line.trim().is_empty() {
            continue;
        }
        let line = secrets.hidden(&line);
        if budget.admits() {
            match state.only_call() {
                Some(call) => tracing::info!(run.id = call.run, function = call.name, "{line}"),
                None => tracing::info!("Python: {line}"),
            }
        }
        *state.last_line.lock() = line;
    }
    state.quiet.cancel();
}

/// The next line, as far as it is shown; none: there are no more.
async fn read_line(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let piece = reader.fill_buf().await.ok()?;
        if piece.is_empty() {
            return (!line.is_empty()).then(|| shown(&line));
        }
        let end = memchr::memchr(b'\n', piece);
        let part = &piece[..end.unwrap_or(piece.len())];
        let room = (LONGEST_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(piece.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Some(shown(&line));
        }
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST_LINE)]);
    let mark = if line.len() > LONGEST_LINE { "…" } else { "" };
    format!("{}{mark}", text.trim_end_matches(['\r', '\u{fffd}']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_and_counted() {
        let text = format!("one\r\n{}\n\nlast", "x".repeat(3 * LONGEST_LINE));
        let mut reader = BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut reader).await {
            lines.push(line);
        }
        assert_eq!(
            lines,
            ["one".to_owned(), format!("{}…", "x".repeat(LONGEST_LINE)), String::new(), "last".to_owned()]
        );
        let mut budget = LineBudget::new();
        let admitted = (0..LINES_PER_MINUTE + 5).filter(|_| budget.admits()).count();
        assert_eq!(admitted, LINES_PER_MINUTE as usize);
    }
}
