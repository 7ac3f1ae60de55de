//! The Python process of a worker: started when it is first needed, and anew when it has ended, when its files have changed, or when a
//! call in it cannot be stopped.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::child::PythonChild;
use super::child_state::{CALLS_AT_ONCE, CalledFunction, ChildReply, ReturnedResult};
use super::frames::ChildRequest;
use crate::config::PythonConfig;
use crate::outside::hidden::HiddenTexts;
use crate::outside::secrets::Secrets;
use crate::outside::toolset::{ToolsetCall, ToolsetError};
use crate::workflow::PythonSource;

/// How long it may take to import a file and to list its functions.
const LIST_WITHIN: Duration = Duration::from_secs(120);
/// How long after a failed start Python is not started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How often in a row a list may meet files that have changed again.
const MOST_CHANGES: usize = 3;

/// Keeps the Python process of a project.
pub struct PythonHost {
    config: PythonConfig,
    /// What a text of the process must not hold.
    secrets: Arc<Secrets>,
    current: Mutex<CurrentChild>,
}

/// A start that goes on where it was when somebody stops waiting for it.
type ChildStarting = Shared<BoxFuture<'static, Result<Arc<PythonChild>, ToolsetError>>>;

#[derive(Default)]
struct CurrentChild {
    starting: Option<(Instant, ChildStarting)>,
    is_closed: bool,
}

impl PythonHost {
    /// The process is started when it is first needed.
    pub fn new(config: PythonConfig) -> Self {
        let secrets = Arc::new(Secrets::new(config.secrets()));
        Self { config, secrets, current: Mutex::default() }
    }

    /// The same, where these texts are hidden, too.
    pub fn beside(mut self, others: &Arc<HiddenTexts>) -> Self {
        self.secrets = Arc::new(Secrets::new(self.config.secrets()).beside(others));
        self
    }

    /// Ends the process, with everything that it has begun. From now on nothing can be called.
    pub async fn close(&self) {
        let starting = {
            let mut current = self.current.lock();
            current.is_closed = true;
            current.starting.take()
        };
        // One that is not ready yet ends when nobody holds it.
        if let Some((_, starting)) = starting
            && let Some(Ok(child)) = starting.peek()
        {
            child.stop().await;
        }
    }

    /// What no text of the process shows.
    pub(super) fn hidden_texts(&self) -> &HiddenTexts {
        self.secrets.hidden_texts()
    }

    /// A value in which the secrets of `python.env` are replaced by their names.
    pub(super) fn hidden_in(&self, value: Value) -> Value {
        self.secrets.hidden_in(value)
    }

    /// The list of a source's functions, as JSON.
    pub(super) async fn listed(&self, source: &PythonSource) -> Result<String, ToolsetError> {
        self.check_file(source)?;
        let too_late = |_| {
            ToolsetError::TimedOut(format!("{} was not imported within {} seconds", source.file, LIST_WITHIN.as_secs()))
        };
        timeout(LIST_WITHIN, self.list(source)).await.map_err(too_late)?
    }

    async fn list(&self, source: &PythonSource) -> Result<String, ToolsetError> {
        let mut before = None;
        for _ in 0..MOST_CHANGES {
            let child = self.child(before.as_ref()).await?;
            let turn = child.state.list_turns.clone().acquire_owned().await;
            let turn = turn.expect("the turns are never closed");
            let request = |id| ChildRequest::list(id, source, self.hidden_texts().longest());
            let Some(mut reply) = child.ask(None, turn, request, None) else { continue };
            match reply.answer().await {
                Some(ChildReply::Listed(listing)) => return Ok(listing),
                Some(ChildReply::Unfit(why)) => return Err(ToolsetError::Unavailable(why)),
                Some(_) => {
                    drop(reply);
                    before = Some(child);
                }
                None => {
                    let (file, how) = (&source.file, child.state.ended());
                    let words = format!("the Python process ended while {file} was imported ({how})");
                    return Err(ToolsetError::Unavailable(words));
                }
            }
        }
        Err(ToolsetError::Unavailable(format!("{} changes again and again", source.file)))
    }

    /// What a function returned.
    pub(super) async fn called(
        &self,
        source: &PythonSource,
        call: &ToolsetCall<'_>,
    ) -> Result<ReturnedResult, ToolsetError> {
        let ToolsetCall { tool, within, .. } = *call;
        self.check_file(source)?;
        let deadline = Instant::now() + within;
        let request = |id| {
            let (file, function) = (source.file.as_str(), source.function.as_deref());
            let hidden = self.hidden_texts().longest();
            ChildRequest::Call { id, file, function, tool, max_result: call.max_result, hidden }
        };
        loop {
            let (child, turn) = self.turn(tool, deadline).await?;
            let called = CalledFunction { name: tool.to_owned(), run: call.run.to_owned() };
            let Some(mut reply) = child.ask(Some(called), turn, request, Some(call.arguments)) else { continue };
            return match timeout(within, reply.answer()).await {
                Ok(Some(ChildReply::Value(value))) => Ok(value),
                Ok(Some(ChildReply::Failed(why))) => Err(ToolsetError::Failed(why)),
                Ok(Some(ChildReply::Unfit(why))) => Err(ToolsetError::Unavailable(why)),
                Ok(Some(_)) => Err(ToolsetError::Failed(format!("{tool} was stopped"))),
                Ok(None) => {
                    let how = child.state.ended();
                    let words =
                        format!("the Python process ended during {tool} ({how}), so nobody knows whether it was done");
                    Err(ToolsetError::Lost(words))
                }
                Err(_) => Err(ToolsetError::TimedOut(format!("{tool} did not return within {within:?}"))),
            };
        }
    }

    /// A process, and a turn to call something in it.
    async fn turn(
        &self,
        tool: &str,
        deadline: Instant,
    ) -> Result<(Arc<PythonChild>, OwnedSemaphorePermit), ToolsetError> {
        let starts = timeout_at(deadline, self.child(None)).await;
        let late = |why: &str| ToolsetError::Unavailable(format!("{tool} was not called: {why}"));
        let child = starts.map_err(|_| late("Python is still starting"))??;
        match timeout_at(deadline, child.state.call_turns.clone().acquire_owned()).await {
            Ok(turn) => Ok((child, turn.expect("the turns are never closed"))),
            Err(_) => Err(late(&format!("{CALLS_AT_ONCE} other calls were under way all the time"))),
        }
    }

    /// The process that takes requests, or another than one whose files have changed; that one ends when its last call has.
    async fn child(&self, other_than: Option<&Arc<PythonChild>>) -> Result<Arc<PythonChild>, ToolsetError> {
        let starting = {
            let mut current = self.current.lock();
            if current.is_closed {
                return Err(ToolsetError::Unavailable("the worker is ending".to_owned()));
            }
            let is_good = |since: &Instant, starting: &ChildStarting| match starting.peek() {
                None => true,
                Some(Ok(child)) => {
                    child.state.takes_requests() && other_than.is_none_or(|other| !Arc::ptr_eq(child, other))
                }
                Some(Err(_)) => since.elapsed() < RESTART_PAUSE,
            };
            match &current.starting {
                Some((since, starting)) if is_good(since, starting) => starting.clone(),
                _ => {
                    let starting = self.starting()?;
                    current.starting = Some((Instant::now(), starting.clone()));
                    starting
                }
            }
        };
        starting.await
    }

    fn starting(&self) -> Result<ChildStarting, ToolsetError> {
        let (config, folder, secrets) = (self.config.clone(), self.folder()?, self.secrets.clone());
        let starting = async move { PythonChild::start(&config, &folder, secrets).await.map(Arc::new) };
        Ok(starting.boxed().shared())
    }

    /// The folder of the project's Python, without links.
    fn folder(&self) -> Result<PathBuf, ToolsetError> {
        let missing = |_| ToolsetError::Unavailable("the folder of python.folder is not there".to_owned());
        self.config.folder.canonicalize().map_err(missing)
    }

    /// Refuses a file that is not there, or that a link leads to from elsewhere.
    fn check_file(&self, source: &PythonSource) -> Result<(), ToolsetError> {
        let folder = self.folder()?;
        let refused = |why: &str| Err(ToolsetError::Unavailable(format!("{}: {why}", source.file)));
        match folder.join(&source.file).canonicalize() {
            Ok(path) if !path.starts_with(&folder) => refused("the file is outside of python.folder"),
            Ok(path) if !path.is_file() => refused("this is not a file"),
            Ok(_) => Ok(()),
            Err(_) => refused("there is no such file"),
        }
    }
}

impl fmt::Debug for PythonHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PythonHost").field("config", &self.config).finish_non_exhaustive()
    }
}
