//! What is counted while conversations are held, and what came of all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::measurements::DurationPercentiles;
use super::secret::ConversationSecret;

/// Why a conversation did not end well.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ConversationProblem {
    /// No connection, or no start.
    NotStarted(String),
    /// It broke off.
    Broken(String),
    /// A step took too long.
    TooSlow(&'static str),
    /// What came cannot be read.
    Unreadable(String),
    /// The run failed.
    Failed(String),
    /// The answer was refused.
    Refused(String),
    /// The answer never came back.
    NotEchoed,
    /// It asks on and on: the answers do not fit its questions.
    NeverSatisfied,
}

impl fmt::Display for ConversationProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConversationProblem::NotStarted(why) => write!(f, "not started: {why}"),
            ConversationProblem::Broken(why) => write!(f, "broken off: {why}"),
            ConversationProblem::TooSlow(waiting_for) => write!(f, "timed out waiting for {waiting_for}"),
            ConversationProblem::Unreadable(why) => write!(f, "an answer that cannot be read: {why}"),
            ConversationProblem::Failed(why) => write!(f, "the run failed: {why}"),
            ConversationProblem::Refused(why) => write!(f, "the answer was refused: {why}"),
            ConversationProblem::NeverSatisfied => {
                write!(f, "more than {MOST_QUESTIONS} questions: the answers do not fit them")
            }
            ConversationProblem::NotEchoed => f.write_str("the answer did not come back"),
        }
    }
}

/// The most questions that a conversation answers. A question whose answer does not fit is asked again, for ever.
const MOST_QUESTIONS: usize = 100;

/// One conversation as it goes on.
pub(super) struct BenchConversation {
    pub secret: ConversationSecret,
    begun: Instant,
    held: Duration,
    questions: usize,
    question_at: Option<Instant>,
    answered_at: Option<Instant>,
    replies: Vec<Duration>,
    /// It was at its first question, and waited there.
    pub reached_question: bool,
    /// A question for a text was answered, with the secret.
    pub answered_text: bool,
    /// Its own secret came back.
    pub own_seen: bool,
    /// Messages that were not for it.
    crossed: u64,
}

impl BenchConversation {
    pub fn new(secret: ConversationSecret) -> Self {
        Self {
            secret,
            begun: Instant::now(),
            held: Duration::ZERO,
            questions: 0,
            question_at: None,
            answered_at: None,
            replies: Vec::new(),
            reached_question: false,
            answered_text: false,
            own_seen: false,
            crossed: 0,
        }
    }

    /// It begins now: the wait for a permit is no part of it.
    pub fn begins(&mut self) {
        self.begun = Instant::now();
    }

    /// A message came. `whole` is everything that is known of it; `mine` says whether it names this run.
    pub fn message(&mut self, whole: &str, mine: bool) {
        if let Some(answered) = self.answered_at.take() {
            self.replies.push(answered.elapsed());
        }
        let found = self.secret.look(whole);
        self.own_seen |= found.own;
        self.crossed += u64::from(found.foreign || !mine);
    }

    /// A question came.
    pub fn asked(&mut self) -> Result<(), ConversationProblem> {
        self.question_at = Some(Instant::now());
        self.questions += 1;
        if self.questions > MOST_QUESTIONS { Err(ConversationProblem::NeverSatisfied) } else { Ok(()) }
    }

    /// It was kept waiting on purpose since the question came.
    pub fn held(&mut self) {
        self.held += self.question_at.map(|at| at.elapsed()).unwrap_or_default();
    }

    /// The answer is about to be sent.
    pub fn answers(&mut self, with_secret: bool) {
        self.answered_text |= with_secret;
        self.answered_at = Some(Instant::now());
    }
}

/// What is counted over all conversations.
#[derive(Default)]
pub(super) struct BenchTally(Mutex<BenchCounts>);

#[derive(Default)]
struct BenchCounts {
    completed: usize,
    crossed: u64,
    replies: Vec<Duration>,
    conversations: Vec<Duration>,
    problems: BTreeMap<String, usize>,
}

/// The most kinds of problems that are told apart; the rest is one kind.
const KINDS: usize = 20;

impl BenchTally {
    pub fn problem(&self, problem: &ConversationProblem, secret: ConversationSecret) {
        let mut counts = self.0.lock();
        // With its secret in it, every conversation's problem would be a kind of its own.
        let mut kind = problem.to_string().replace(&secret.to_string(), "<secret>");
        if counts.problems.len() >= KINDS && !counts.problems.contains_key(&kind) {
            kind = "other problems".to_owned();
        }
        *counts.problems.entry(kind).or_default() += 1;
    }

    pub fn ended(&self, conversation: &BenchConversation, completed: bool) {
        let whole = conversation.begun.elapsed().saturating_sub(conversation.held);
        let mut counts = self.0.lock();
        counts.crossed += conversation.crossed;
        counts.replies.extend(&conversation.replies);
        if completed {
            counts.completed += 1;
            counts.conversations.push(whole);
        }
    }

    pub fn outcome(&self, elapsed: Duration, held: Option<usize>, generator_cpus: Option<f64>) -> BenchReport {
        let mut counts = self.0.lock();
        let seconds = elapsed.as_secs_f64();
        BenchReport {
            completed: counts.completed,
            seconds,
            per_second: if seconds > 0.0 { counts.completed as f64 / seconds } else { 0.0 },
            answer_to_next: DurationPercentiles::of(std::mem::take(&mut counts.replies)),
            conversation: DurationPercentiles::of(std::mem::take(&mut counts.conversations)),
            errors: counts.problems.values().sum(),
            errors_by_kind: std::mem::take(&mut counts.problems),
            crossed: counts.crossed,
            held_open: held,
            generator_cpus,
        }
    }
}

/// What came of a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// Conversations that ended well.
    pub completed: usize,
    /// How long it took, without the time that they were held.
    pub seconds: f64,
    /// Conversations per second.
    pub per_second: f64,
    /// From an answer to the next message.
    pub answer_to_next: DurationPercentiles,
    /// Whole conversations.
    pub conversation: DurationPercentiles,
    /// Conversations that did not end well.
    pub errors: usize,
    /// Why.
    pub errors_by_kind: BTreeMap<String, usize>,
    /// Messages that reached somebody else.
    pub crossed: u64,
    /// How many were open at once, if they were held.
    pub held_open: Option<usize>,
    /// How many processors the generator itself kept busy.
    pub generator_cpus: Option<f64>,
}

impl BenchReport {
    /// Whether nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.errors == 0 && self.crossed == 0
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conversations      {} in {:.2} s: {:.1}/s", self.completed, self.seconds, self.per_second)?;
        for (name, latencies) in [("answer to next", &self.answer_to_next), ("whole conversation", &self.conversation)]
        {
            writeln!(f, "{name:<18} {latencies}")?;
        }
        if let Some(open) = self.held_open {
            writeln!(f, "open at once       {open}")?;
        }
        writeln!(f, "crossed messages   {}", self.crossed)?;
        write!(f, "errors             {}", self.errors)?;
        for (kind, count) in &self.errors_by_kind {
            write!(f, "\n  {count} × {kind}")?;
        }
        if let Some(cpus) = self.generator_cpus {
            write!(f, "\ngenerator          {:.0} % of one processor", cpus * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_the_wrong_conversation_is_counted() {
        let mut conversation = BenchConversation::new(ConversationSecret { session: 1, number: 2 });
        let foreign = ConversationSecret { session: 1, number: 3 };
        conversation.message("hello", true);
        conversation.message(&format!("you said {}", conversation.secret), true);
        conversation.message(&format!("you said {foreign}"), true);
        conversation.message("hello", false);
        let tally = BenchTally::default();
        tally.ended(&conversation, true);
        tally.problem(&ConversationProblem::TooSlow("the question"), conversation.secret);
        let outcome = tally.outcome(Duration::from_secs(2), None, Some(0.25));
        assert!(conversation.own_seen && !outcome.is_clean());
        assert_eq!((outcome.completed, outcome.crossed, outcome.errors, outcome.per_second), (1, 2, 1, 0.5));
        let shown = outcome.to_string();
        assert!(shown.contains("1 × timed out waiting for the question"), "{shown}");
        assert!(shown.ends_with("25 % of one processor"), "{shown}");
    }
}
