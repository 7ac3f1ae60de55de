//! Whether logs are what was written, and what was done to erase a person's data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::RunId;

/// What is wrong with a log, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The sequence of the record; left out: the log as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// In a sentence.
    pub what: String,
}

/// What is known of the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Its records that are chained, those included whose words were taken away.
    pub chained: u64,
    /// Records from before it was chained: nothing is known of them.
    pub unchained: u64,
    /// Whether it is known from elsewhere where the log ended.
    pub anchored: bool,
    /// Whether the run was removed, or somebody's data in it erased.
    pub removed: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Records that cannot be read, or not whole: whether they are what was written or not, nobody can tell what they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Finding>,
}

impl Verdict {
    /// Whether everything is as it was written, as far as that is known, and can be read.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.unreadable.is_empty()
    }
}

/// Whether the log of a run is what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunVerification {
    /// Whether everything is as it was written, as far as that is known, and can be read.
    pub clean: bool,
    /// The run.
    pub run: RunId,
    /// What is known of its log.
    pub verdict: Verdict,
}

impl From<(RunId, Verdict)> for RunVerification {
    fn from((run, verdict): (RunId, Verdict)) -> Self {
        Self { clean: verdict.is_clean(), run, verdict }
    }
}

/// What came of verifying many logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Runs that were looked at.
    pub runs: u64,
    /// Records of theirs that are chained.
    pub chained: u64,
    /// Runs that are not chained at all: nothing is known of them.
    pub unchained: Vec<RunId>,
    /// Runs that were removed or erased, and of which what is left is what was left then: who removed them, and what they were.
    #[serde(default)]
    pub removed: u64,
    /// Runs that were removed so long ago that nothing is left but their anchor.
    #[serde(default)]
    pub forgotten: u64,
    /// Runs of which the anchors know nothing: what was cut off at their end could not be noticed.
    pub unanchored: u64,
    /// Files of anchors that were read.
    pub anchor_files: usize,
    /// What is wrong with the anchors themselves.
    pub anchors_wrong: Vec<String>,
    /// The runs with which something is wrong.
    pub tampered: Vec<(RunId, Vec<Finding>)>,
    /// The runs with records that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<(RunId, Vec<Finding>)>,
}

impl Report {
    /// Whether everything is as it was written, as far as that is known, and can be read.
    pub fn is_clean(&self) -> bool {
        self.is_as_written() && self.unreadable.is_empty()
    }

    /// Whether everything is as it was written, as far as that is known.
    pub fn is_as_written(&self) -> bool {
        self.tampered.is_empty() && self.anchors_wrong.is_empty()
    }
}

/// Whether the logs of all runs are what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whether everything is as it was written, as far as that is known, and can be read.
    pub clean: bool,
    /// What is known of the logs.
    pub report: Report,
}

impl From<Report> for Verification {
    fn from(report: Report) -> Self {
        Self { clean: report.is_clean(), report }
    }
}

/// What was done to erase a person's data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Erased {
    /// Runs whose words are gone now.
    pub erased: Vec<RunId>,
    /// Within how many seconds their bytes are gone, once a worker with the cleaner's login runs (`nats.cleaner`); none: now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaned_within_secs: Option<u64>,
    /// Runs that could not be erased yet, because nobody ends them: they were cancelled, and are to be erased again later.
    pub not_ended: Vec<RunId>,
    /// Runs that were removed before: who they belonged to is gone now.
    pub removed: Vec<RunId>,
    /// Runs of others in which the person has answered something: those words are theirs too, and stay.
    pub answered_elsewhere: Vec<RunId>,
    /// Runs of which a record cannot be read, so that it is not known whose they are, or whether the person answered there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<RunId>,
}
