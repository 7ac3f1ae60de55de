//! Which runs are meant: the same options for lists and exports.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::audit::{RunSelection, RunStatus};
use crate::cli::bench::span;
use crate::clock::{Clock, SystemClock, Timestamp};

/// Which runs.
#[derive(Clone, Args)]
pub(super) struct RunFilterArguments {
    /// Only runs of this workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Only runs of this user.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only runs with this state or outcome.
    #[arg(long, value_parser = how())]
    state: Option<RunStatus>,
    /// Only runs that this worker claimed last.
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// Only runs created since then: a time (2026-11-22T10:00:00Z), a day (2026-11-22), or how long ago (2h, 3d).
    #[arg(long, value_parser = since, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only runs created before then.
    #[arg(long, value_parser = since, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only runs with these words in their title, or with words that begin so.
    #[arg(long, value_name = "WORDS")]
    title: Option<String>,
    /// Only runs with this text in their title, workflow, user, id or reason.
    #[arg(long, short, value_name = "WORDS")]
    q: Option<String>,
}

impl RunFilterArguments {
    /// As the audit selects.
    pub(super) fn selection(&self) -> RunSelection {
        let Self { workflow, user, state, worker, since, until, title, q } = self.clone();
        RunSelection { workflow, user, state, worker, since, until, title, q }
    }
}

/// A way to be, by its name.
fn how() -> impl TypedValueParser<Value = RunStatus> {
    PossibleValuesParser::new(RunStatus::ALL.map(RunStatus::name))
        .map(|name| RunStatus::ALL.into_iter().find(|how| how.name() == name).expect("one of these names"))
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
