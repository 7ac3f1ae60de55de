//! The sets of tools that runs of a worker use, each opened once: runs share what is behind it.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::toolset::{Toolset, ToolsetError};
use crate::workflow::ToolsetSource;

/// Sets that are kept open. Workflows name few; those of definitions that nobody uses any more are let go.
const MOST_OPEN: usize = 256;

/// Opens the sets of one kind.
#[async_trait]
pub trait ToolsetOpener: Send + Sync + std::fmt::Debug {
    /// Opens a set; none: it is of another kind.
    fn open(&self, source: &ToolsetSource) -> Option<Result<Arc<dyn Toolset>, ToolsetError>>;

    /// Ends what runs beside the worker. Nothing is opened after it.
    async fn close(&self);
}

/// The sets of tools of a worker.
#[derive(Debug, Default)]
pub struct Toolsets {
    openers: Vec<Arc<dyn ToolsetOpener>>,
    open: Mutex<HashMap<ToolsetSource, Arc<dyn Toolset>>>,
}

impl Toolsets {
    /// With these kinds.
    pub fn new(openers: Vec<Arc<dyn ToolsetOpener>>) -> Self {
        Self { openers, open: Mutex::default() }
    }

    /// The set of this source.
    pub fn get(&self, source: &ToolsetSource) -> Result<Arc<dyn Toolset>, ToolsetError> {
        let mut open = self.open.lock();
        if let Some(known) = open.get(source) {
            return Ok(known.clone());
        }
        let Some(opened) = self.openers.iter().find_map(|opener| opener.open(source)) else {
            let kind = match source {
                ToolsetSource::OpenApi(_) => "openapi",
                ToolsetSource::Python(_) => "python",
                ToolsetSource::Mcp(_) => "mcp",
            };
            return Err(ToolsetError::Unavailable(format!("this worker has no tools of the kind {kind}")));
        };
        let opened = opened?;
        if open.len() >= MOST_OPEN
            && let Some(idle) =
                open.iter().find(|(_, set)| Arc::strong_count(set) == 1).map(|(source, _)| source.clone())
        {
            open.remove(&idle);
        }
        open.insert(source.clone(), opened.clone());
        Ok(opened)
    }

    /// Ends what runs beside the worker.
    pub async fn close(&self) {
        futures_util::future::join_all(self.openers.iter().map(|opener| opener.close())).await;
    }
}
