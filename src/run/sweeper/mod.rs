//! Looking after the runs that nobody else looks after. Whoever starts, answers or drives a run may die between two steps:
//! after `created` and before the job, after the answer and before the wake. A job may be lost with its queue. One worker at
//! a time goes round all runs now and then; a run that ought to go on and shows no sign of it is queued again. That is
//! always harmless: what is to be done is decided by the log.
//!
//! On the same scan ended runs are removed when their time is over, what logs say is over is removed for ever (`run::clean`),
//! and wrong lines in the lists are set right.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;
use crate::ids::{Name, RunId, WorkerId};
use crate::metrics::metrics;
use crate::redact::Redactor;
use crate::run::lease::Lease;
use crate::run::{Result, directory};

mod calls;
mod cleaning;
mod clock_check;
mod lines;
mod removals;
mod stand;
mod turn;

use calls::{RequeuedRuns, needs_a_call};
use cleaning::RunCleaning;
use clock_check::ClockCheck;
use lines::{CorrectedLines, correct_lines};
use removals::RunRemovals;
use stand::{ObservedRun, RunPhase};
use turn::ScanTurns;

/// Logs that one scan names to be stored anew.
const MOST_IN_CLEAR: usize = 20_000;

/// Goes round the runs. One for each worker; only the first of the living workers is to call it.
pub struct RunSweeper {
    broker: Broker,
    turns: ScanTurns,
    clock: ClockCheck,
    calls: RequeuedRuns,
    cleaning: RunCleaning,
    removals: RunRemovals,
    /// Who lived on the last scan; a worker that has gone without a word may have left wrong lines.
    living: Option<BTreeSet<WorkerId>>,
    /// Some lines were left to the next scan.
    looks_again: bool,
    /// Runs that have ended and whose logs are as they were written.
    ended_in_clear: Vec<RunId>,
    /// What lines in the lists are not to show.
    redactor: Redactor,
}

/// What was done on a scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Runs that were seen, removed ones not counted.
    pub runs: usize,
    /// Runs that were queued again.
    pub called: usize,
    /// Runs that were removed.
    pub removed: usize,
    /// Lines in the lists that were set right.
    pub lines: usize,
    /// Runs of which was removed for ever what the log says is over.
    pub cleaned: usize,
}

impl RunSweeper {
    /// One that removes ended runs after `keep_ended`, and keeps for `keep_evidence` what they were.
    pub fn new(broker: Broker, keep_ended: Duration, keep_evidence: Duration) -> Self {
        Self {
            broker,
            turns: ScanTurns::new(),
            clock: ClockCheck::default(),
            calls: RequeuedRuns::default(),
            cleaning: RunCleaning::default(),
            removals: RunRemovals::new(keep_ended, keep_evidence),
            living: None,
            looks_again: false,
            ended_in_clear: Vec::new(),
            redactor: Redactor::default(),
        }
    }

    /// Removes nothing by a clock that differs from the store's, or that was set while the worker runs.
    pub fn checking_the_clock(mut self) -> Self {
        self.clock.is_wanted = true;
        self
    }

    /// Takes out of the lines that it sets right what is not to be seen.
    pub fn redacting(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    /// Goes round once, if `lease` is that of the first of the living workers, or if those before it have not gone round for long. `spare`: it could take more runs, so that
    /// a new run that nobody has taken does not just wait in a long line.
    pub async fn sweep(&mut self, lease: &Lease, spare: bool) -> Result<SweepReport> {
        self.removals.took = Duration::ZERO;
        let workers = directory::workers(&self.broker).await?;
        let living: BTreeSet<WorkerId> = workers.iter().map(|card| card.id).collect();
        if !lease.may_take_over() || !self.turns.is_next(&self.broker, lease.worker(), &workers).await? {
            // Whoever sweeps next knows nothing of what this one has seen.
            if self.living.take().is_some() {
                metrics().forget_stand();
            }
            return Ok(SweepReport::default());
        }
        let begun = Instant::now();
        self.turns.note_scan(&self.broker, lease).await?;
        let served: BTreeSet<Name> = workers.into_iter().flat_map(|card| card.workflows).collect();
        // After a scan that failed the lines are looked at, too: it may have taken a run away and left its line.
        let somebody_died = self.living.take().is_none_or(|before| !before.is_subset(&living));
        let looks_again = std::mem::take(&mut self.looks_again);
        let runs = stand::scan(&self.broker).await?;
        let there = runs.values().filter(|met| met.stand != RunPhase::Removed).count();
        let mut swept = SweepReport { runs: there, ..SweepReport::default() };
        let now = lease.clock().now();
        stand::show(&runs, now);
        self.calls.retain(&runs);
        for (run, met) in &runs {
            if (spare || met.stand != RunPhase::Created)
                && needs_a_call(&self.broker, *run, met, now, lease).await?
                && self.calls.call(&self.broker, *run, met.seq, &served).await?
            {
                swept.called += 1;
            }
        }
        let mut lines = CorrectedLines::default();
        if somebody_died || looks_again {
            lines = correct_lines(&self.broker, &self.redactor, &runs, now).await?;
            swept.lines = lines.corrected;
        }
        swept.cleaned = self.cleaning.clean(&self.broker, self.removals.keep_evidence, &runs, now).await?;
        let in_clear = |met: &ObservedRun| met.stand == RunPhase::Ended && !met.kept;
        self.ended_in_clear =
            runs.iter().filter(|(_, met)| in_clear(met)).map(|(run, _)| *run).take(MOST_IN_CLEAR).collect();
        if self.clock.is_right(&self.broker, lease, self.turns.went_round()).await? {
            let removed = self.removals.remove_old(&self.broker, &runs, now).await?;
            swept.removed = removed.len();
            if self.broker.cleaner.is_some() {
                self.cleaning.are_clean(removed);
            }
        }
        self.living = Some(living);
        // Those that may be on their way yet have come by the next scan, or never come.
        self.looks_again = somebody_died && lines.some_left;
        self.turns.took(begun.elapsed().saturating_sub(self.removals.took));
        self.turns.note_scan(&self.broker, lease).await?;
        Ok(swept)
    }

    /// The runs that the last scan met ended, with logs that are as they were written.
    pub fn ended_in_clear(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.ended_in_clear)
    }

    /// How long the last scan took its time over removals. The rest of it was work.
    pub fn removing(&self) -> Duration {
        self.removals.took
    }
}
