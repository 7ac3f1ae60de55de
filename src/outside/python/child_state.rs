//! What is known of the Python process: the requests that wait for it, and whether it goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

/// Functions that are called at once in one process: each that is not async has a thread of its own.
pub(super) const CALLS_AT_ONCE: usize = 64;
/// Lists that are asked for at once.
const LISTS_AT_ONCE: usize = 16;

/// What came of a request.
#[derive(Debug)]
pub(super) enum ChildReply {
    /// What is in a file.
    Listed(String),
    /// The file cannot be used.
    Unfit(String),
    /// The files have changed.
    Stale,
    /// What a function returned.
    Value(ReturnedResult),
    /// Why it returned nothing.
    Failed(String),
    /// It was stopped.
    Cancelled,
}

/// What a function returned, with all secrets that are in it.
#[derive(Debug)]
pub(super) struct ReturnedResult {
    /// Its text or its JSON, or the beginning of it.
    pub text: String,
    /// It is a text, and not JSON.
    pub is_text: bool,
    /// The end is missing.
    pub is_broken_off: bool,
}

/// A request that has no answer yet.
struct OpenRequest {
    /// Who waits; none: nobody any more.
    waits: Option<oneshot::Sender<ChildReply>>,
    /// The function, and the run that calls it; none: a list.
    call: Option<CalledFunction>,
    /// Its turn.
    _turn: OwnedSemaphorePermit,
}

/// A function that is called.
#[derive(Debug, Clone)]
pub(super) struct CalledFunction {
    /// Its name.
    pub name: String,
    /// The run that calls it.
    pub run: String,
}

/// The last lines that a program printed: what it says of an error, and what it says in the end, which may be a hint alone.
#[derive(Default)]
pub(super) struct LastWords {
    /// The last line that begins with "error".
    error: String,
    /// The last line.
    end: String,
}

impl LastWords {
    /// Takes note of a line.
    pub(super) fn heard(&mut self, line: String) {
        const ERROR: &str = "error";
        if line.get(..ERROR.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(ERROR)) {
            self.error.clone_from(&line);
        }
        self.end = line;
    }

    /// What to tell people; none: nothing was printed.
    pub(super) fn said(&self) -> Option<String> {
        match (self.error.as_str(), self.end.as_str()) {
            ("", "") => None,
            ("", end) => Some(end.to_owned()),
            (error, end) if error == end => Some(error.to_owned()),
            (error, end) => Some(format!("{error} … {}", end.trim_start())),
        }
    }
}

/// The state of a process.
pub(super) struct ChildState {
    /// The number of the process, and of the group that it leads.
    process: Option<u32>,
    open: Mutex<HashMap<u64, OpenRequest>>,
    next: AtomicU64,
    is_killed: AtomicBool,
    /// The turns of calls.
    pub call_turns: Arc<Semaphore>,
    /// The turns of lists.
    pub list_turns: Arc<Semaphore>,
    /// It takes no new requests: a call that cannot be stopped is in it.
    is_retired: AtomicBool,
    /// It is to end, or is ending.
    pub ending: CancellationToken,
    /// It has ended, and nothing of it is left.
    pub over: CancellationToken,
    /// Nothing more is printed.
    pub quiet: CancellationToken,
    /// Somebody gave up waiting for a call.
    pub left: Notify,
    /// A request is no longer open.
    pub closed: Notify,
    /// How it ended, for people.
    ended: Mutex<String>,
    /// What was printed last outside of calls.
    pub last_words: Mutex<LastWords>,
}

impl ChildState {
    pub(super) fn new(process: Option<u32>) -> Self {
        Self {
            process,
            open: Mutex::default(),
            next: AtomicU64::new(1),
            is_killed: AtomicBool::new(false),
            call_turns: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
            list_turns: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
            is_retired: AtomicBool::new(false),
            ending: CancellationToken::new(),
            over: CancellationToken::new(),
            quiet: CancellationToken::new(),
            left: Notify::new(),
            closed: Notify::new(),
            ended: Mutex::default(),
            last_words: Mutex::default(),
        }
    }

    /// Whether new requests may go to it.
    pub(super) fn takes_requests(&self) -> bool {
        !self.is_retired.load(Ordering::SeqCst) && !self.ending.is_cancelled()
    }

    /// No new requests go to it.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
    }

    /// Notes a request, and who waits for it; none: it takes no requests any more.
    pub(super) fn open(
        &self,
        call: Option<CalledFunction>,
        turn: OwnedSemaphorePermit,
    ) -> Option<(u64, oneshot::Receiver<ChildReply>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let request = OpenRequest { waits: Some(sender), call, _turn: turn };
        // Below the lock: who ends it counts the requests afterwards.
        let mut open = self.open.lock();
        if !self.takes_requests() {
            return None;
        }
        open.insert(id, request);
        Some((id, receiver))
    }

    /// Gives an answer to who waits for it.
    pub(super) fn close(&self, id: u64, reply: ChildReply) {
        if let Some(OpenRequest { waits: Some(waits), .. }) = self.open.lock().remove(&id) {
            // Who waited may have gone in this moment.
            let _ = waits.send(reply);
        }
        self.closed.notify_waiters();
    }

    /// Nobody waits for a request any more.
    pub(super) fn leave(&self, id: u64) {
        if let Some(request) = self.open.lock().get_mut(&id) {
            request.waits = None;
        }
        self.left.notify_one();
    }

    /// How many requests somebody waits for, and how many nobody does.
    pub(super) fn open_requests(&self) -> (usize, usize) {
        let open = self.open.lock();
        let waited = open.values().filter(|request| request.waits.is_some()).count();
        (waited, open.len() - waited)
    }

    /// The function that is called now, if it is one alone.
    pub(super) fn only_call(&self) -> Option<CalledFunction> {
        let open = self.open.lock();
        let mut calls = open.values().filter_map(|request| request.call.as_ref());
        calls.next().filter(|_| calls.next().is_none()).cloned()
    }

    /// The run whose call this is.
    pub(super) fn run_of(&self, id: Option<u64>) -> Option<String> {
        Some(self.open.lock().get(&id?)?.call.as_ref()?.run.clone())
    }

    /// Ends everything that belongs to the process. Before the process is waited for: afterwards its number may be another's.
    pub(super) fn kill(&self) {
        #[cfg(unix)]
        if !self.is_killed.swap(true, Ordering::SeqCst)
            && let Some(process) = self.process
            && let Ok(process) = process.try_into()
            && let Some(group) = rustix::process::Pid::from_raw(process)
        {
            // There may be nothing left to end.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }

    /// It has ended: nobody waits for it any longer.
    pub(super) fn end(&self, how: String) {
        *self.ended.lock() = how;
        let mut open = self.open.lock();
        self.over.cancel();
        open.clear();
        drop(open);
        self.closed.notify_waiters();
    }

    /// How it ended.
    pub(super) fn ended(&self) -> String {
        self.ended.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_told_though_a_hint_comes_after_it() {
        let told = |lines: &[&str]| {
            let mut words = LastWords::default();
            lines.iter().for_each(|line| words.heard((*line).to_owned()));
            words.said()
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["starting", "No module named x"]).unwrap(), "No module named x");
        assert_eq!(told(&["error: no network"]).unwrap(), "error: no network");
        assert_eq!(
            told(&["Resolving", "error: no network", "  Caused by: a certificate", "hint: use the system's"]).unwrap(),
            "error: no network … hint: use the system's"
        );
    }
}
