//! Which runs are meant.

use serde::{Deserialize, Serialize};

use crate::broker::run_lists::{LineFilter, LineOwner, SearchedText};
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::protocol::api::query_pairs;
use crate::protocol::log::RunOutcome;
use crate::protocol::run_line::{LineStatus, has_words, title_words};
use crate::run::summary::{RunState, RunSummary};

/// How a run is doing, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names are their documentation")]
pub enum RunStatus {
    Queued,
    Running,
    Waiting,
    Ended,
    Completed,
    Failed,
    Cancelled,
    Removed,
}

/// Which runs are meant: those to which everything that is said applies. Queries of `/api/audit` are read as one, and
/// written from one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunSelection {
    /// Only runs of this workflow.
    pub workflow: Option<String>,
    /// Only this user's.
    pub user: Option<String>,
    /// Only those that are so, or that ended so.
    pub state: Option<RunStatus>,
    /// Only those that this worker claimed last.
    pub worker: Option<String>,
    /// Only those created then or later.
    pub since: Option<Timestamp>,
    /// Only those created before then.
    pub until: Option<Timestamp>,
    /// Only those with these words in their title, or with words that begin so.
    #[serde(default)]
    pub title: Option<String>,
    /// Only those with this in their title, workflow, user, id or reason. One answer looks through 10000 runs; `next` goes on.
    pub q: Option<String>,
}

impl RunStatus {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Ended,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Removed,
    ];

    /// What it is called where one is asked for.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Ended => "ended",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::Removed => "removed",
        }
    }

    /// What the lines of such runs say; none: those are not found by their lines.
    fn line_statuses(self) -> Option<Vec<LineStatus>> {
        Some(match self {
            RunStatus::Queued => LineStatus::of_state(RunState::Queued).to_vec(),
            RunStatus::Running => LineStatus::of_state(RunState::Running).to_vec(),
            RunStatus::Waiting => LineStatus::of_state(RunState::Waiting).to_vec(),
            RunStatus::Ended => LineStatus::of_state(RunState::Ended).to_vec(),
            RunStatus::Completed => vec![LineStatus::Completed],
            RunStatus::Failed => vec![LineStatus::Failed],
            RunStatus::Cancelled => vec![LineStatus::Cancelled],
            RunStatus::Removed => return None,
        })
    }

    fn fits(self, run: &RunSummary) -> bool {
        match self {
            RunStatus::Queued => run.state == RunState::Queued,
            RunStatus::Running => run.state == RunState::Running,
            RunStatus::Waiting => run.state == RunState::Waiting,
            RunStatus::Ended => run.state == RunState::Ended,
            RunStatus::Completed => run.outcome == Some(RunOutcome::Completed),
            RunStatus::Failed => run.outcome == Some(RunOutcome::Failed),
            RunStatus::Cancelled => run.outcome == Some(RunOutcome::Cancelled),
            RunStatus::Removed => run.removed.is_some(),
        }
    }
}

impl RunSelection {
    /// As a gateway is asked: names and values of a query.
    pub fn query(&self) -> Vec<(String, String)> {
        query_pairs(self)
    }

    /// The lines that are meant, with those of runs that people have removed. None: a rule may have removed what is meant, and left no
    /// line of it.
    pub fn lines(&self) -> Option<LineFilter> {
        let statuses = self.state.map_or(Some(Vec::new()), RunStatus::line_statuses)?;
        Some(LineFilter {
            owner: self.user.as_ref().map_or(LineOwner::Everybody, |user| LineOwner::User(UserId::new(user.as_str()))),
            statuses,
            workflow: self.workflow.clone(),
            worker: self.worker.clone(),
            since: self.since,
            until: self.until,
            words: title_words(self.title.as_deref().unwrap_or_default()),
            text: SearchedText::new(self.q.as_deref().unwrap_or_default(), true),
            access: None,
            with_removed: true,
            with_unknown: true,
        })
    }

    /// Whether a run is meant.
    pub fn takes(&self, run: &RunSummary) -> bool {
        let workflow = run.workflow.as_ref().map(|name| name.as_str()).unwrap_or_default();
        let user = run.user.as_ref().map(|user| user.as_str()).unwrap_or_default();
        // Whose run it is cannot be read: it may be the one that is meant.
        let unknown = run.workflow.is_none() && run.user.is_none();
        let same =
            |wanted: &Option<String>, found: &str| unknown || wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.workflow, workflow)
            && same(&self.user, user)
            && self.state.is_none_or(|how| how.fits(run))
            && self.worker.as_deref().is_none_or(|wanted| run.worker.is_some_and(|id| id.to_string() == wanted))
            && self.since.is_none_or(|since| run.created_at >= since)
            && self.until.is_none_or(|until| run.created_at < until)
            && has_words(
                run.title.as_deref().unwrap_or_default(),
                &title_words(self.title.as_deref().unwrap_or_default()),
            )
            && self.q.as_deref().map(str::trim).filter(|words| !words.is_empty()).is_none_or(|words| {
                let words = words.to_lowercase();
                let texts = [run.title.as_deref(), run.reason.as_deref(), Some(workflow), Some(user)];
                texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&words))
                    || run.id.to_string().contains(&words.replace('-', ""))
            })
    }

    /// Those that are meant, the newest first.
    pub fn of(&self, runs: Vec<RunSummary>) -> Vec<RunSummary> {
        let mut runs: Vec<RunSummary> = runs.into_iter().filter(|run| self.takes(run)).collect();
        runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id)));
        runs
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ids::{Name, RunId, WorkerId};

    #[test]
    fn a_run_is_meant_if_everything_applies_to_it_and_the_newest_comes_first() {
        let worker = WorkerId::random();
        let run = |digit: char, millis: i64, user: &str, outcome| RunSummary {
            workflow: Some(Name::parse("lesson").unwrap()),
            user: UserId::new(user),
            title: Some("Triangles".into()),
            state: RunState::Ended,
            outcome: Some(outcome),
            worker: Some(worker),
            created_at: Timestamp::from_millisecond(millis).unwrap(),
            ..RunSummary::new(RunId::parse(&digit.to_string().repeat(32)).unwrap())
        };
        let all = vec![
            run('1', 1, "ann", RunOutcome::Completed),
            run('2', 2, "bob", RunOutcome::Failed),
            run('3', 2, "ann", RunOutcome::Failed),
        ];
        let ids = |selection: &RunSelection| -> String {
            selection.of(all.clone()).iter().map(|run| run.id.to_string()[..1].to_owned()).collect()
        };
        let any = RunSelection::default;
        assert_eq!(ids(&any()), "321");
        assert_eq!(ids(&RunSelection { state: Some(RunStatus::Failed), ..any() }), "32");
        assert_eq!(ids(&RunSelection { user: Some("ann".into()), state: Some(RunStatus::Ended), ..any() }), "31");
        assert_eq!(ids(&RunSelection { user: Some("an".into()), ..any() }), "");
        assert_eq!(ids(&RunSelection { since: Some(all[1].created_at), ..any() }), "32");
        assert_eq!(ids(&RunSelection { until: Some(all[1].created_at), ..any() }), "1");
        assert_eq!(ids(&RunSelection { q: Some("BOB".into()), ..any() }), "2");
        assert_eq!(ids(&RunSelection { q: Some("triang".into()), worker: Some(worker.to_string()), ..any() }), "321");
        assert_eq!(ids(&RunSelection { worker: Some("other".into()), ..any() }), "");
    }

    #[test]
    fn what_is_asked_is_read_as_it_was_meant() {
        for how in RunStatus::ALL {
            let asked = RunSelection {
                workflow: Some("a b&c".into()),
                user: Some("ann".into()),
                state: Some(how),
                worker: Some("w".into()),
                since: Some(Timestamp::UNIX_EPOCH),
                until: Some(Timestamp::MAX),
                title: Some("beginning".into()),
                q: Some("words".into()),
            };
            let query = asked.query();
            assert_eq!(query.len(), 8);
            assert!(query.contains(&("state".to_owned(), how.name().to_owned())));
            let fields = query.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            assert_eq!(crate::bounds::from_value::<RunSelection>(Value::Object(fields)).unwrap(), asked);
        }
        assert_eq!(RunSelection::default().query(), []);
    }
}
