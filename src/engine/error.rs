//! Why a run cannot go on at this worker although nothing is wrong with its workflow. The rules of conversation carry it
//! through unread, as [`WorkflowStop::Halted`]; the worker decides by it what becomes of the run.

use std::sync::Arc;

use crate::broker;
use crate::chat::WorkflowStop;
use crate::ids::RunId;
use crate::run;

/// Why a run cannot go on at this worker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another worker owns the run now: this one says nothing more of it.
    #[error("run {run} belongs to another worker now")]
    Lost {
        /// The run.
        run: RunId,
    },
    /// The run was new, and something was stored for it before it was claimed: it is to be claimed with all that there is.
    #[error("something was stored for run {run} before it was claimed")]
    Touched {
        /// The run.
        run: RunId,
    },
    /// The broker refuses, or cannot be reached. The run is still this worker's by its log.
    #[error(transparent)]
    Broker(#[from] Arc<broker::Error>),
    /// The log holds what this program cannot go on from; another version of the program may.
    #[error("{0}")]
    Unreadable(ErrorCause),
}

/// What is behind an error.
type ErrorCause = Arc<dyn std::error::Error + Send + Sync>;

impl Error {
    /// The log remembers something that does not fit the workflow: what it is.
    pub(super) fn unreadable(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreadable(what.into().into())
    }
}

impl From<broker::Error> for Error {
    fn from(error: broker::Error) -> Self {
        Self::Broker(Arc::new(error))
    }
}

impl From<run::Error> for Error {
    fn from(error: run::Error) -> Self {
        match error {
            run::Error::Broker(error) => error.into(),
            run::Error::Lost { run } => Self::Lost { run },
            run::Error::Touched { run } => Self::Touched { run },
            // A run that is driven is known: its log is gone, or holds what it cannot hold.
            unusable @ (run::Error::Unreadable(_) | run::Error::Unstorable { .. } | run::Error::Unknown { .. }) => {
                Self::unreadable(unusable)
            }
        }
    }
}

impl From<WorkflowStop> for Error {
    fn from(stop: WorkflowStop) -> Self {
        match stop {
            WorkflowStop::Halted(why) => why.downcast_ref().cloned().unwrap_or(Self::Unreadable(why)),
            // Not even that can be written into the log.
            WorkflowStop::Failed(failure) => Self::unreadable(failure.message),
        }
    }
}

impl From<Error> for WorkflowStop {
    fn from(error: Error) -> Self {
        WorkflowStop::Halted(Arc::new(error))
    }
}

impl From<broker::Error> for WorkflowStop {
    fn from(error: broker::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<run::Error> for WorkflowStop {
    fn from(error: run::Error) -> Self {
        Error::from(error).into()
    }
}
