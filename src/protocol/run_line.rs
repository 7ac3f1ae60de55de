//! What the lists are ordered and chosen by, read from a run's stored line. `run::summary` writes the line, and knows all of it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::api::Cost;
use super::run_state::{RunOutcome, RunState};
use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId, UserId, WorkerId};
use crate::money::Usd;

/// The first token of the keys of the lines of runs that people have removed: no user's token is this one.
pub const REMOVED_LINES: &str = "~removed";
/// The last token of the key under which a person's title of a run is kept, beside its line.
pub const TITLE_KEY: &str = "title";

/// The most words of a title that are looked for, and the most letters of one.
const MOST_WORDS: usize = 32;
const LONGEST_WORD: usize = 40;

/// The most that one run adds to totals, so that many add up: a model's server may say any number.
const MOST_TOKENS: u64 = 1 << 40;
/// The same in money: some 9000 dollars.
const MOST_COST: Usd = Usd::from_picos(1 << 53);

/// How a run is doing, or how it ended: what lists are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "their names are their documentation")]
pub enum LineStatus {
    Queued,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
    /// It is not known how.
    Ended,
}

impl LineStatus {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::Cancelled, Self::Ended];

    /// Those of a state.
    pub fn of_state(state: RunState) -> &'static [Self] {
        match state {
            RunState::Queued => &[Self::Queued],
            RunState::Running => &[Self::Running],
            RunState::Waiting => &[Self::Waiting],
            RunState::Ended => &[Self::Completed, Self::Failed, Self::Cancelled, Self::Ended],
        }
    }

    /// That of an outcome.
    pub fn of_outcome(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Completed => Self::Completed,
            RunOutcome::Failed => Self::Failed,
            RunOutcome::Cancelled => Self::Cancelled,
        }
    }

    /// Whether the run has ended.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }
}

/// An open question of a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LineQuestion {
    /// Its id.
    pub id: MessageId,
    /// When it was asked.
    #[serde(default)]
    pub at: Timestamp,
}

/// What the lists look at in a run's line.
#[derive(Debug, Clone, Deserialize)]
pub struct RunLineHead {
    /// The run.
    pub id: RunId,
    /// Its workflow.
    pub workflow: Option<String>,
    /// The first answer that says something.
    pub title: Option<String>,
    state: RunState,
    outcome: Option<RunOutcome>,
    /// Why it did not end well.
    #[serde(default)]
    pub reason: Option<String>,
    /// The open questions, the oldest first.
    pub questions: Vec<LineQuestion>,
    /// Who it belongs to.
    pub user: Option<UserId>,
    /// The worker that claimed it last.
    #[serde(default)]
    pub worker: Option<WorkerId>,
    #[serde(default)]
    tokens: u64,
    #[serde(default)]
    cost_usd: Usd,
    #[serde(default)]
    estimated: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

impl RunLineHead {
    /// How it is doing, or how it ended.
    pub fn status(&self) -> LineStatus {
        match (self.state, self.outcome) {
            (RunState::Ended, Some(outcome)) => LineStatus::of_outcome(outcome),
            (RunState::Ended, None) => LineStatus::Ended,
            (RunState::Queued, _) => LineStatus::Queued,
            (RunState::Running, _) => LineStatus::Running,
            (RunState::Waiting, _) => LineStatus::Waiting,
        }
    }

    /// What it adds to the totals.
    pub fn cost(&self) -> Cost {
        Cost {
            runs: 1,
            tokens: self.tokens.min(MOST_TOKENS),
            cost_usd: self.cost_usd.min(MOST_COST),
            estimated: self.estimated,
        }
    }
}

/// What a key of the lists' bucket is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKey<'a> {
    /// The line of a run.
    Line(&'a str),
    /// The title that a person gave the run with this line.
    Title(&'a str),
    /// Something else that is kept beside a line.
    Other,
}

impl<'a> LineKey<'a> {
    /// Reads a key.
    pub fn of(key: &'a str) -> Self {
        match key.split('.').count() {
            2 => Self::Line(key),
            _ => key.strip_suffix(TITLE_KEY).and_then(|line| line.strip_suffix('.')).map_or(Self::Other, Self::Title),
        }
    }
}

/// The words of a title, in small letters.
pub fn title_words(title: &str) -> BTreeSet<String> {
    let words = title.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word.to_lowercase().chars().take(LONGEST_WORD).collect()).take(MOST_WORDS).collect()
}

/// Whether each of these words is a word of the title, or the beginning of one.
pub fn has_words(title: &str, wanted: &BTreeSet<String>) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let words = title_words(title);
    wanted.iter().all(|wanted| words.range::<String, _>(wanted..).next().is_some_and(|word| word.starts_with(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_found_by_its_words_and_their_beginnings() {
        let title = "Der Preis für Äpfel (Mai 2026)";
        for (wanted, found) in [
            ("äpfel", true),
            ("ÄPF", true),
            ("pre der", true),
            ("pfel", false),
            ("mai 2026", true),
            ("mai juni", false),
        ] {
            assert_eq!(has_words(title, &title_words(wanted)), found, "{wanted}");
        }
        assert!(has_words(title, &title_words(" ,")), "no word is no condition");
    }

    #[test]
    fn a_key_says_what_it_is_of() {
        assert_eq!(LineKey::of("ann.1"), LineKey::Line("ann.1"));
        assert_eq!(LineKey::of("~removed.1"), LineKey::Line("~removed.1"));
        assert_eq!(LineKey::of("ann.1.title"), LineKey::Title("ann.1"));
        assert_eq!(LineKey::of("ann.1.renames"), LineKey::Other);
        assert_eq!(LineKey::of("all"), LineKey::Other);
    }
}
