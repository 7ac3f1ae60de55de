//! A run by how it began: what must be known of one to answer it or to end it.

use crate::ids::{Name, RunId, UserId};
use crate::protocol::log::{RunCreation, RunOrigin};

/// A run by how it began.
#[derive(Debug, Clone)]
pub struct RunRef {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// Who it belongs to.
    pub user: Option<UserId>,
    /// Who works at it.
    pub origin: RunOrigin,
}

impl RunRef {
    /// The run that began so.
    pub fn of(run: RunId, created: &RunCreation) -> Self {
        Self { run, workflow: created.workflow.clone(), user: created.user.clone(), origin: created.origin }
    }
}
