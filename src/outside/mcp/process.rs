//! A server that is a program: started in a process group of its own with almost no environment, and never left behind.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use super::program_record::ProgramRecord;
use crate::config::McpCommand;
use crate::ids::Name;

/// What a program's environment holds besides what the configuration says.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// How long a program may take to end by itself when its input is closed, and again when it was asked to.
const ENDS_WITHIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(1)];
/// The longest line of a program's own words in the log, in bytes.
const LONGEST_LINE: usize = 2000;
/// Lines of these in a minute.
pub(super) const LINES_A_MINUTE: u32 = 60;

/// A program that runs. Dropped, it is killed, with all that it has started.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    group: Option<u32>,
}

/// What a program is talked to through.
#[derive(Debug)]
pub(super) struct ProcessPipes {
    /// Its input.
    pub(super) input: ChildStdin,
    /// Its output.
    pub(super) output: ChildStdout,
    /// Its own words.
    pub(super) words: ChildStderr,
}

impl ServerProcess {
    /// Starts a program.
    pub(super) fn start(command: &McpCommand) -> std::io::Result<(Self, ProcessPipes)> {
        let program = Path::new(&command.program);
        let is_path = program.components().count() > 1;
        let program = if is_path { command.folder.join(program) } else { program.to_owned() };
        let mut wanted = Command::new(program);
        wanted.args(&command.arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        wanted.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        wanted.envs(command.environment.iter().map(|(name, value)| (name, value.expose_secret())));
        if !command.folder.as_os_str().is_empty() {
            wanted.current_dir(&command.folder);
        }
        #[cfg(unix)]
        wanted.process_group(0);
        let mut child = wanted.kill_on_drop(true).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = child.id();
        let this = Self { child, group };
        let (Some(input), Some(output), Some(words)) = pipes else {
            return Err(std::io::Error::other("its input or output cannot be had"));
        };
        Ok((this, ProcessPipes { input, output, words }))
    }

    /// Waits for its end, and helps it along: its input is closed already. What it has started ends with it. Gives how it ended if it
    /// did so by itself.
    pub(super) async fn stop(&mut self) -> Option<ExitStatus> {
        let [by_itself, when_asked] = ENDS_WITHIN;
        let ended = tokio::time::timeout(by_itself, self.child.wait()).await;
        if ended.is_err() {
            self.signal(EndSignal::Ask);
            // It is killed below if it does not end.
            let _ = tokio::time::timeout(when_asked, self.child.wait()).await;
        }
        self.signal(EndSignal::Kill);
        self.group = None;
        let _ = self.child.wait().await;
        ended.ok().and_then(Result::ok)
    }

    fn signal(&self, signal: EndSignal) {
        #[cfg(unix)]
        if let Some(group) = self.group.and_then(|group| rustix::process::Pid::from_raw(group.cast_signed())) {
            let signal = match signal {
                EndSignal::Ask => rustix::process::Signal::TERM,
                EndSignal::Kill => rustix::process::Signal::KILL,
            };
            // An empty group is none any more: all of it has ended.
            let _ = rustix::process::kill_process_group(group, signal);
        }
        #[cfg(not(unix))]
        let _ = (signal, &self.group);
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.signal(EndSignal::Kill);
    }
}

/// How a program is told to end.
#[derive(Debug, Clone, Copy)]
enum EndSignal {
    Ask,
    Kill,
}

/// Writes a program's own words into the log, until it ends: so many lines a minute, and none of its secrets.
pub(super) async fn log_words(server: Name, words: ChildStderr, record: Arc<ProgramRecord>, ending: CancellationToken) {
    let mut words = BufReader::new(words);
    let mut budget = StrayLineBudget::new();
    loop {
        let line = tokio::select! {
            line = next_line(&mut words) => line,
            () = record.is_left.cancelled() => break,
            () = ending.cancelled() => break,
        };
        let Ok(Some(line)) = line else { break };
        let shown = record.hear(&line, line.len() < LONGEST_LINE);
        match budget.take() {
            LineFate::Shown => tracing::info!(mcp.server = %server, "{server}: {shown}"),
            LineFate::LastShown => {
                tracing::warn!(
                    mcp.server = %server,
                    "{server} writes more than {LINES_A_MINUTE} lines a minute: the rest of them is left out"
                );
            }
            LineFate::LeftOut => {}
        }
    }
    record.is_quiet.cancel();
}

/// What becomes of a line.
#[derive(Debug, PartialEq)]
pub(super) enum LineFate {
    Shown,
    LastShown,
    LeftOut,
}

/// How many lines of a program may still be shown in this minute.
#[derive(Debug)]
pub(super) struct StrayLineBudget {
    since: tokio::time::Instant,
    taken: u32,
}

impl StrayLineBudget {
    pub(super) fn new() -> Self {
        Self { since: tokio::time::Instant::now(), taken: 0 }
    }

    pub(super) fn take(&mut self) -> LineFate {
        if self.since.elapsed() >= Duration::from_secs(60) {
            *self = Self::new();
        }
        self.taken = self.taken.saturating_add(1);
        match self.taken {
            taken if taken <= LINES_A_MINUTE => LineFate::Shown,
            taken if taken == LINES_A_MINUTE + 1 => LineFate::LastShown,
            _ => LineFate::LeftOut,
        }
    }
}

/// The next line, of which no more than so much is kept; none: there is no more.
async fn next_line(words: &mut BufReader<ChildStderr>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let piece = words.fill_buf().await?;
        if piece.is_empty() {
            return Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()));
        }
        let end = memchr::memchr(b'\n', piece);
        let length = end.map_or(piece.len(), |end| end + 1);
        let room = LONGEST_LINE.saturating_sub(line.len());
        line.extend_from_slice(&piece[..length.min(room)]);
        words.consume(length);
        if end.is_some() {
            return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_program_that_talks_much_is_heard_again_in_the_next_minute() {
        let mut budget = StrayLineBudget::new();
        for _ in 0..LINES_A_MINUTE {
            assert_eq!(budget.take(), LineFate::Shown);
        }
        assert_eq!((budget.take(), budget.take()), (LineFate::LastShown, LineFate::LeftOut));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(budget.take(), LineFate::Shown);
    }
}
