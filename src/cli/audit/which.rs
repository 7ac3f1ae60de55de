//! Which runs are meant: the same options for lists and exports.

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::audit::Selection;
use crate::cli::bench::span;
use crate::clock::{Clock, SystemClock, Timestamp};

/// Which runs.
#[derive(Args)]
pub(super) struct Which {
    /// Only runs of this workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only this user's.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only those that are so, or that ended so.
    #[arg(long, value_enum)]
    state: Option<How>,
    /// Only those that this worker claimed last.
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// Only those created since then: a time (2026-11-22T10:00:00Z), a day (2026-11-22), or how long ago (2h, 3d).
    #[arg(long, value_parser = since, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only those created before then.
    #[arg(long, value_parser = since, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only those with this in their title, workflow, user, id or reason.
    #[arg(long, short, value_name = "WORDS")]
    q: Option<String>,
}

/// How a run is doing, or how it ended.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    Queued,
    Running,
    Waiting,
    Ended,
    Completed,
    Failed,
    Cancelled,
}

impl How {
    /// Its name.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Which {
    /// Whether a worker is named.
    pub(super) fn names_worker(&self) -> bool {
        self.worker.is_some()
    }

    /// As the audit selects.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            workflow: self.workflow.clone(),
            user: self.user.clone(),
            state: self.state.and_then(|how| serde_json::from_value(json!(how.name())).ok()),
            worker: self.worker.clone(),
            since: self.since,
            until: self.until,
            q: self.q.clone(),
        }
    }

    /// As a gateway is asked.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("workflow", self.workflow.clone()),
            ("user", self.user.clone()),
            ("state", self.state.map(|how| how.name())),
            ("worker", self.worker.clone()),
            ("since", self.since.map(|time| time.to_string())),
            ("until", self.until.map(|time| time.to_string())),
            ("q", self.q.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A time, a day, or how long ago.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(day) = format!("{text}T00:00:00Z").parse() {
        return Ok(day);
    }
    let ago = span(text).map_err(|_| format!("{text:?} is no time, no day, and not how long ago (like 2h)"))?;
    Ok(SystemClock.now().checked_sub(ago).unwrap_or(Timestamp::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_while_ago() {
        assert_eq!(since("2026-11-22T10:00:00Z").unwrap().to_string(), "2026-11-22T10:00:00Z");
        assert_eq!(since("2026-11-22").unwrap().to_string(), "2026-11-22T00:00:00Z");
        assert!(since("2h").unwrap() < SystemClock.now());
        assert!(since("yesterday").is_err());
    }
}
