//! What a bench prints: text for people, or one JSON object.

use std::fmt;
use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde_json::{Value, json};

use crate::bench::cost::ConversationCost;
use crate::bench::{BenchReport, LoadAverage};
use crate::broker::nats::baseline;
use crate::cli::outcome::CliError;

/// What came of many conversations at once.
pub(super) struct LoadReport {
    /// `None`: only the baseline was measured.
    pub conversations: Option<BenchReport>,
    pub cost: Option<ConversationCost>,
    /// The baseline in conversations per second, before and after.
    pub baselines: Vec<f64>,
    /// How busy the machine was, before and after.
    pub machine: Vec<LoadAverage>,
}

impl LoadReport {
    pub fn is_clean(&self) -> bool {
        self.conversations.as_ref().is_none_or(BenchReport::is_clean)
    }

    pub fn print(&self, json: bool) -> Result<(), CliError> {
        if json { print(&self.json()) } else { print(self) }
    }

    fn baseline(&self) -> Option<f64> {
        (!self.baselines.is_empty()).then(|| self.baselines.iter().sum::<f64>() / self.baselines.len() as f64)
    }

    /// The conversations per second, in those of the baseline.
    fn ratio(&self) -> Option<f64> {
        self.baseline().zip(self.conversations.as_ref()).map(|(baseline, report)| report.per_second / baseline)
    }

    fn json(&self) -> Value {
        json!({
            "conversations": self.conversations,
            "cost": self.cost,
            "baseline_per_second": self.baselines,
            "ratio": self.ratio(),
            "machine": self.machine,
        })
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(conversations) = &self.conversations {
            writeln!(f, "{conversations}")?;
        }
        if let Some(cost) = &self.cost {
            writeln!(f, "{cost}")?;
        }
        if let Some(baseline) = self.baseline() {
            let each: Vec<String> = self.baselines.iter().map(|baseline| format!("{baseline:.1}")).collect();
            let each = if each.len() > 1 { format!(" (before and after: {})", each.join(", ")) } else { String::new() };
            let (messages, bytes) = (baseline::MESSAGES, baseline::BYTES);
            writeln!(f, "baseline           {baseline:.1}/s of {messages} stored messages of {bytes} bytes{each}")?;
        }
        if let Some(ratio) = self.ratio() {
            writeln!(f, "ratio to baseline  {ratio:.2}")?;
        }
        write!(f, "{}", machine(&self.machine))
    }
}

/// How busy the machine was, before and after.
pub(super) fn machine(loads: &[LoadAverage]) -> String {
    match loads {
        [] => "machine            its load is not known here".to_owned(),
        [first, .., last] => format!(
            "machine            {} processors; load average {:.1} before, {:.1} after",
            first.processors, first.one_minute, last.one_minute
        ),
        [one] => format!("machine            {} processors; load average {:.1}", one.processors, one.one_minute),
    }
}

/// Prints something and a line's end. The tiers that a bench has started are stopped before it ends.
pub(super) fn print(what: &impl fmt::Display) -> Result<(), CliError> {
    match writeln!(std::io::stdout().lock(), "{what}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(CliError::Unread),
        printed => Ok(printed.context("could not print the measurements")?),
    }
}
