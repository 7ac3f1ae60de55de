//! One Python process: how it begins, what is asked of it, and how it ends with everything that it has begun.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::child_log::{show, show_lines, shown_line, shown_traceback, shown_words};
use super::child_state::{CALLS_AT_ONCE, CalledFunction, ChildReply, ChildState, ReturnedResult};
use super::frames::{ChildFrame, ChildRequest, ChildStart, FrameError, read_frame, request_frame, start_frame};
use crate::config::PythonConfig;
use crate::outside::secrets::Secrets;
use crate::outside::toolset::ToolsetError;

/// How long Python may take until it takes requests: `uv run` may install packages first.
const START_WITHIN: Duration = Duration::from_secs(120);
/// How long a call that nobody waits for may take to end, before its process takes no new calls.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);
/// How long the last lines of a process are waited for.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);
/// Requests that wait until the process reads them: of each there is one, and its cancelling.
const REQUEST_QUEUE: usize = 4 * CALLS_AT_ONCE;
/// What the process inherits of the worker's environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// What Python executes first.
const START: &str = include_str!("scripts/fastagency_start.py");
/// What it is given then: its modules, each after those that it needs.
const MODULES: [(&str, &str); 6] = [
    ("fastagency_values", include_str!("scripts/fastagency_values.py")),
    ("fastagency_output", include_str!("scripts/fastagency_output.py")),
    ("fastagency_types", include_str!("scripts/fastagency_types.py")),
    ("fastagency_tools", include_str!("scripts/fastagency_tools.py")),
    ("fastagency_files", include_str!("scripts/fastagency_files.py")),
    ("fastagency_child", include_str!("scripts/fastagency_child.py")),
];

/// A process that takes requests. Dropped: everything that belongs to it is killed.
pub(super) struct PythonChild {
    pub state: Arc<ChildState>,
    requests: mpsc::Sender<Vec<u8>>,
    _tasks: JoinSet<()>,
}

/// An answer that is waited for. Dropped before it is there: the call is to be stopped.
pub(super) struct AwaitedReply<'c> {
    child: &'c PythonChild,
    id: u64,
    reply: oneshot::Receiver<ChildReply>,
    is_over: bool,
}

impl PythonChild {
    /// Starts Python, and waits until it takes requests.
    pub(super) async fn start(
        config: &PythonConfig,
        folder: &Path,
        secrets: Arc<Secrets>,
    ) -> Result<Self, ToolsetError> {
        let shown = config.shown_interpreter();
        let failed = |why: String| ToolsetError::Unavailable(format!("Python ({shown}) {why}"));
        let mut process = command(config, folder).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                failed("is not there: set python.interpreter in fastagency.yaml, or install it".to_owned())
            }
            _ => failed(format!("cannot be started: {error}")),
        })?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(mut stdout), Some(stderr)) = pipes else { unreachable!("all three are piped") };
        let state = Arc::new(ChildState::new(process.id()));
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(process, state.clone()));
        tasks.spawn(write(stdin, queue, state.clone()));
        let (log_state, log_secrets) = (state.clone(), secrets.clone());
        tasks.spawn(async move { show_lines(stderr, &log_state, &log_secrets).await });
        let mut child = Self { state: state.clone(), requests, _tasks: tasks };
        let folder = folder.to_str().ok_or_else(|| failed("needs a folder whose path is UTF-8".to_owned()))?;
        child.send(beginning());
        child.send(start_frame(&ChildStart { folder, threads: CALLS_AT_ONCE }));
        match timeout(START_WITHIN, read_frame(&mut stdout)).await {
            Ok(Ok((ChildFrame::Ready { version }, _))) => {
                tracing::info!("Python {version} ({shown}) is ready");
                child._tasks.spawn(listen(stdout, state.clone(), secrets));
                child._tasks.spawn(retire(state));
                Ok(child)
            }
            Ok(Ok(_) | Err(FrameError::Unknown(_))) => Err(failed("printed something before it was ready".to_owned())),
            Ok(Err(FrameError::Closed)) => Err(failed(child.last_words().await)),
            Err(_) => {
                let seconds = START_WITHIN.as_secs();
                Err(ToolsetError::TimedOut(format!("Python ({shown}) was not ready within {seconds} seconds")))
            }
        }
    }

    /// Why it ended before it was ready.
    async fn last_words(&self) -> String {
        self.stop().await;
        match self.state.last_words.lock().said() {
            None => format!("ended at once ({})", self.state.ended()),
            Some(words) => format!("ended at once: {words}"),
        }
    }

    /// Asks what a source holds, or calls a function; none: it takes no requests any more.
    pub(super) fn ask<'r>(
        &self,
        call: Option<CalledFunction>,
        turn: OwnedSemaphorePermit,
        request: impl FnOnce(u64) -> ChildRequest<'r>,
        arguments: Option<&Map<String, Value>>,
    ) -> Option<AwaitedReply<'_>> {
        let (id, reply) = self.state.open(call, turn)?;
        self.send(request_frame(&request(id), arguments));
        Some(AwaitedReply { child: self, id, reply, is_over: false })
    }

    fn send(&self, frame: Vec<u8>) {
        // Turns bound the requests, so the queue is full only if the process reads none of them.
        if self.requests.try_send(frame).is_err() {
            self.state.ending.cancel();
        }
    }

    /// Ends it, with everything that it has begun.
    pub(super) async fn stop(&self) {
        self.state.ending.cancel();
        self.state.over.cancelled().await;
    }
}

impl Drop for PythonChild {
    fn drop(&mut self) {
        self.state.kill();
    }
}

impl AwaitedReply<'_> {
    /// The answer; none: the process has ended.
    pub(super) async fn answer(&mut self) -> Option<ChildReply> {
        let reply = (&mut self.reply).await.ok();
        self.is_over = true;
        reply
    }
}

impl Drop for AwaitedReply<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.child.send(request_frame(&ChildRequest::Cancel { id: self.id }, None));
            self.child.state.leave(self.id);
        }
    }
}

fn command(config: &PythonConfig, folder: &Path) -> Command {
    let (program, arguments) = config.command(folder);
    let mut command = Command::new(program);
    command.args(arguments).arg("-c").arg(START).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    for (name, variable) in &config.env {
        command.envs(variable.value.as_ref().map(|value| (name, value.expose_secret())));
    }
    // A group of its own: it ends with the programs that its functions have started, and a Ctrl-C at the worker is not theirs.
    #[cfg(unix)]
    command.process_group(0);
    command.kill_on_drop(true);
    command
}

/// The modules, as the start reads them.
fn beginning() -> Vec<u8> {
    let modules = serde_json::to_string(&MODULES).expect("texts can be written");
    format!("{}\n{modules}", modules.len()).into_bytes()
}

/// Waits until the process is to end or has ended, and ends the rest of its group.
async fn watch(mut process: Child, state: Arc<ChildState>) {
    state.ending.cancelled().await;
    state.kill();
    // Where there are no groups.
    let _ = process.start_kill();
    let how = match process.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let _ = timeout(LAST_LINES_WITHIN, state.quiet.cancelled()).await;
    state.end(how);
}

/// Writes requests, one after the other.
async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Vec<u8>>, state: Arc<ChildState>) {
    while let Some(frame) = queue.recv().await {
        if stdin.write_all(&frame).await.is_err() || stdin.flush().await.is_err() {
            break;
        }
    }
    state.ending.cancel();
}

/// Hears what the process says, until it says no more.
async fn listen(mut stdout: ChildStdout, state: Arc<ChildState>, secrets: Arc<Secrets>) {
    loop {
        match read_frame(&mut stdout).await {
            Ok((frame, body)) => take(frame, body, &state, &secrets),
            Err(FrameError::Closed) => break,
            Err(error @ FrameError::Unknown(_)) => {
                tracing::error!("the Python process is stopped: {error}");
                break;
            }
        }
    }
    state.ending.cancel();
}

fn take(frame: ChildFrame, body: String, state: &ChildState, secrets: &Secrets) {
    let (id, reply) = match frame {
        ChildFrame::Ready { .. } => return,
        ChildFrame::Said { by, id, is_broken_off } => {
            return show(&by, state.run_of(id).as_deref(), &shown_line(&body, is_broken_off, secrets));
        }
        ChildFrame::Raised { by, id, is_broken_off } => {
            let words = shown_traceback(&body, is_broken_off, secrets);
            let run = state.run_of(Some(id));
            // A line each: what has several in it is shown on one, with marks, so that nobody can write lines of the log.
            for line in words.lines().filter(|line| !line.trim().is_empty()) {
                tracing::warn!(run.id = run, function = by, "{line}");
            }
            return;
        }
        ChildFrame::Listed { id } => (id, ChildReply::Listed(body)),
        ChildFrame::Unfit { id, is_broken_off } => (id, ChildReply::Unfit(shown_words(&body, is_broken_off, secrets))),
        ChildFrame::Stale { id } => (id, ChildReply::Stale),
        ChildFrame::Value { id, is_text, is_broken_off } => {
            (id, ChildReply::Value(ReturnedResult { text: body, is_text, is_broken_off }))
        }
        ChildFrame::Failed { id, is_broken_off } => {
            (id, ChildReply::Failed(shown_words(&body, is_broken_off, secrets)))
        }
        ChildFrame::Cancelled { id } => (id, ChildReply::Cancelled),
    };
    state.close(id, reply);
}

/// No thread can be stopped from outside. A process with a call that nobody waits for any more, and that goes on all the same, takes no
/// new calls, and ends when its other calls have ended.
async fn retire(state: Arc<ChildState>) {
    loop {
        state.left.notified().await;
        tokio::time::sleep(CANCEL_WITHIN).await;
        if state.open_requests().1 > 0 {
            break;
        }
    }
    state.retire();
    loop {
        let closed = state.closed.notified();
        if state.open_requests().0 == 0 {
            break;
        }
        closed.await;
    }
    state.ending.cancel();
}
