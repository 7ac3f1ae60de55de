//! What follows a run's log as it is written.

use std::sync::Arc;

use crate::broker::FORGET_EVERY;
use crate::engine::run_metrics::RunMetrics;
use crate::engine::summary_publisher::SummaryPublisher;
use crate::ids::RunId;
use crate::metrics::WorkflowMetrics;
use crate::protocol::log::LogEntry;
use crate::run::redaction;
use crate::run::summary::RunSummary;

/// What follows a run's log as it is written.
pub(super) trait LogProjection: Send {
    /// Takes note of a record that is stored.
    fn apply(&mut self, entry: &LogEntry);

    /// All records of one append were applied.
    fn appended(&mut self) {}
}

/// The run in a few words, as lists and operators see it.
pub(super) struct PublishedSummary {
    summary: RunSummary,
    watch: RunMetrics,
    publisher: Arc<SummaryPublisher>,
    /// How many records the run's log has.
    records: usize,
    /// How many it had when the summary was last published.
    published: usize,
}

impl PublishedSummary {
    /// That of a run, which is published if the run was claimed.
    pub(super) fn begin(
        run: RunId,
        history: &[LogEntry],
        workflow_metrics: Arc<WorkflowMetrics>,
        publisher: Arc<SummaryPublisher>,
    ) -> Self {
        let (mut summary, watch) = RunMetrics::begin(run, history, workflow_metrics);
        let redactor = publisher.redactor();
        if !redactor.is_empty() {
            summary = RunSummary::new(run);
            history.iter().for_each(|entry| summary.apply(&redaction::placed(redactor, entry)));
        }
        // A run that is not claimed yet may be another worker's by now, who has said more of it.
        if !matches!(history, [_created]) {
            publisher.put(&summary, false);
        }
        Self { summary, watch, publisher, records: history.len(), published: history.len() }
    }
}

impl LogProjection for PublishedSummary {
    fn apply(&mut self, entry: &LogEntry) {
        self.records += 1;
        self.summary.apply(&redaction::placed(self.publisher.redactor(), entry));
        self.watch.saw(&self.summary, entry);
    }

    fn appended(&mut self) {
        // Told from the place in the log, so that it is due whoever has the run.
        let forget_older = self.published / FORGET_EVERY < self.records / FORGET_EVERY;
        self.publisher.put(&self.summary, forget_older);
        self.published = self.records;
    }
}
