//! Looking after the runs that nobody else looks after. Whoever starts, answers or drives a run may die between two steps:
//! after `created` and before the job, after the answer and before the wake. A job may be lost with its queue. One worker at
//! a time goes round all runs now and then; a run that ought to go on and shows no sign of it is queued again. That is
//! always harmless: what is to be done is decided by the log.
//!
//! On the same tour ended runs are removed when their time is over, what logs say is over is removed for ever (`run::clean`),
//! and wrong lines in the lists are set right.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::broker::{Broker, Cleaner, Job, Reason, RemovalMethod, ScannedItem, Shelf, Slot, TOMBSTONE_KEPT};
use crate::clock::{self, Clock, SystemClock, Timestamp};
use crate::ids::{Name, RunId, UserId, WorkerId};
use crate::metrics::metrics;
use crate::protocol::log::{Body, Created, LogEntry, Origin, Record, Removal};
use crate::protocol::queue_name::QueueName;
use crate::redact::Redactor;
use crate::run::assembler::Assembler;
use crate::run::claim::{is_alive, last_claim};
use crate::run::directory::WorkerCard;
use crate::run::lease::Lease;
use crate::run::remove::remove;
use crate::run::summary::{self, Summary};
use crate::run::{self, Result, clean, directory, look, redaction};

/// How long a job, a wake or a timer may be under way before it counts as lost.
const UNDER_WAY: Duration = Duration::from_secs(20);
/// How long a run whose worker lives may show no sign of life before somebody looks: longer than a model may take.
const SILENT: Duration = Duration::from_secs(30 * 60);
/// How soon a run that was queued again is queued once more; doubles each time, up to the second.
const AGAIN: Duration = Duration::from_secs(60);
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);
/// How long a line in the lists may be late.
const LINE_LATE: Duration = Duration::from_secs(5);
/// Removals a second: so few where there is time, that clearing up after a busy day disturbs nobody, and never more than that.
const REMOVALS: f64 = 200.0;
const MOST_REMOVALS: f64 = 2000.0;
/// How long a removal may take on a busy machine; so many of them are under way at once that the pace is kept.
const REMOVAL: Duration = Duration::from_millis(100);
/// How long a tour may remove; what is left is for the next one.
const REMOVE_FOR: Duration = Duration::from_secs(60);
/// Runs that are cleaned at once, and how long a tour may clean.
const CLEANED_AT_ONCE: usize = 32;
const CLEAN_FOR: Duration = Duration::from_secs(30);
/// How often it is said that nobody cleans.
const SAY_EVERY: Duration = Duration::from_secs(600);
/// How long no tour may be heard of before the next of the living workers goes round, each further one so much later: the
/// first by name may stand still, or be no worker of ours.
const NO_TOUR: Duration = Duration::from_secs(60);
/// So many workers later at most.
const LAST_IN_LINE: u32 = 10;
/// A tour may take as many times as long as the one before, with the rest after it, before it counts as none.
const TOUR_AND_REST: u32 = 25;
/// Each worker goes round once in that time whatever it hears of others: what it hears may not be so.
const OWN_TOUR: Duration = Duration::from_secs(3600);
/// Where the last tour is noted, among the workers.
const TOUR_MARK: &str = "tour";
/// How far the clock of a worker may be from the store's, and how far it may be set while the worker runs, before nothing is
/// removed by it.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5 * 60);
/// How long a clock that was set must go on without another leap before it is believed again.
const CLOCK_SETTLES: Duration = Duration::from_secs(3600);
/// Logs that one tour names to be stored anew.
const MOST_IN_CLEAR: usize = 20_000;

/// Goes round the runs. One for each worker; only the first of the living workers is to call it.
pub struct Sweeper {
    broker: Broker,
    /// How long an ended run is kept.
    keep_ended: Duration,
    /// How long it is kept what a removed run was.
    keep_evidence: Duration,
    /// The runs that were queued again and have not moved since.
    called: HashMap<RunId, Called>,
    /// Who lived on the last tour; a worker that has gone without a word may have left wrong lines.
    living: Option<BTreeSet<WorkerId>>,
    /// When the last tour came to what was to be removed, and how long that took.
    removed_at: Option<Instant>,
    removing: Duration,
    /// Runs that have ended and whose logs are as they were written.
    ended_in_clear: Vec<RunId>,
    /// Runs of which there is nothing left to clean, by the sequence of what their log ends with.
    clean: HashMap<RunId, u64>,
    /// When it was last said that nobody cleans.
    said: Option<Instant>,
    /// The last note of a tour, and when it was first seen.
    noted: Option<(Bytes, Instant)>,
    /// When this worker began, or went round last.
    went_round: Instant,
    /// How long its last tour took.
    took: Duration,
    /// Whether removals wait until the clock can be believed.
    checks_clock: bool,
    /// What lines in the lists are not to show.
    redactor: Redactor,
    /// The clock as it was found, by a clock that cannot be set.
    clock_was: Option<(Instant, Timestamp)>,
    /// Until when a clock that was set is not believed.
    unsettled: Option<Instant>,
}

/// What a worker notes of its tour.
#[derive(Serialize, Deserialize)]
struct TourNote {
    toured_by: WorkerId,
    at: Timestamp,
    took_ms: u64,
}

struct Called {
    /// The run's last record then.
    seq: u64,
    times: u32,
    next: Instant,
}

/// What was done on a tour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
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

/// A run as it was met.
struct Met {
    seq: u64,
    at: Timestamp,
    stand: Stand,
    /// The history was stored anew, without what is not to be kept.
    kept: bool,
    /// The newest answer or cancel in its inbox.
    asked: Option<(u64, Timestamp)>,
    /// There is a key that its passwords are sealed with.
    has_key: bool,
    /// There is an older record under the other lane.
    has_older: bool,
}

/// Where a run stands by its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Created,
    UnderWay,
    Parked { until: Option<Timestamp> },
    Ended,
    Removed,
}

impl Sweeper {
    /// One that removes ended runs after `keep_ended`, and keeps for `keep_evidence` what they were.
    pub fn new(broker: Broker, keep_ended: Duration, keep_evidence: Duration) -> Self {
        Self {
            broker,
            keep_ended,
            keep_evidence,
            called: HashMap::new(),
            living: None,
            removed_at: None,
            removing: Duration::ZERO,
            ended_in_clear: Vec::new(),
            clean: HashMap::new(),
            said: None,
            noted: None,
            went_round: Instant::now(),
            took: Duration::ZERO,
            checks_clock: false,
            redactor: Redactor::default(),
            clock_was: None,
            unsettled: None,
        }
    }

    /// Removes nothing by a clock that differs from the store's, or that was set while the worker runs.
    pub fn checking_the_clock(mut self) -> Self {
        self.checks_clock = true;
        self
    }

    /// Takes out of the lines that it sets right what is not to be seen.
    pub fn redacting(self, redactor: Redactor) -> Self {
        Self { redactor, ..self }
    }

    /// Goes round once, if `lease` is that of the first of the living workers, or if those before it have not gone round for long. `spare`: it could take more runs, so that
    /// a new run that nobody has taken does not just wait in a long line.
    pub async fn sweep(&mut self, lease: &Lease, spare: bool) -> Result<Swept> {
        self.removing = Duration::ZERO;
        let workers = directory::workers(&self.broker).await?;
        let living: BTreeSet<WorkerId> = workers.iter().map(|card| card.id).collect();
        if !lease.may_take_over() || !self.is_next(lease.worker(), &workers).await? {
            // Whoever sweeps next knows nothing of what this one has seen.
            if self.living.take().is_some() {
                metrics().forget_stand();
            }
            return Ok(Swept::default());
        }
        let begun = Instant::now();
        self.note_tour(lease).await?;
        let served: BTreeSet<Name> = workers.into_iter().flat_map(|card| card.workflows).collect();
        // After a tour that failed the lines are looked at, too: it may have taken a run away and left its line.
        let somebody_died = self.living.take().is_none_or(|before| !before.is_subset(&living));
        let runs = self.look().await?;
        let there = runs.values().filter(|met| met.stand != Stand::Removed).count();
        let mut swept = Swept { runs: there, ..Swept::default() };
        let now = lease.clock().now();
        show(&runs, now);
        self.called.retain(|run, called| runs.get(run).is_some_and(|met| met.seq == called.seq));
        for (run, met) in &runs {
            if (spare || met.stand != Stand::Created)
                && self.needs_a_call(*run, met, now, lease).await?
                && self.call(*run, met.seq, &served).await?
            {
                swept.called += 1;
            }
        }
        if somebody_died {
            swept.lines = self.correct_lines(&runs, now).await?;
        }
        swept.cleaned = self.clean(&runs, now).await?;
        let in_clear = |met: &Met| met.stand == Stand::Ended && !met.kept;
        self.ended_in_clear =
            runs.iter().filter(|(_, met)| in_clear(met)).map(|(run, _)| *run).take(MOST_IN_CLEAR).collect();
        if self.is_clock_right(lease).await? {
            swept.removed = self.remove_old(&runs, now).await?;
        }
        self.living = Some(living);
        self.took = begun.elapsed().saturating_sub(self.removing);
        self.note_tour(lease).await?;
        Ok(swept)
    }

    /// Whether it is this worker that goes round now: it is the first of the living, or nothing is heard of a tour although those
    /// before it have had their time.
    async fn is_next(&mut self, own: WorkerId, workers: &[WorkerCard]) -> Result<bool> {
        let Some(place) = place_in_line(own, workers) else { return Ok(false) };
        if place == 0 {
            return Ok(true);
        }
        let note = self.broker.catalogue.get(Shelf::Workers, TOUR_MARK).await?.unwrap_or_default();
        let read = crate::bounds::parse::<TourNote>(&note).ok();
        let (known, since) = self.noted.get_or_insert_with(|| (note.clone(), Instant::now()));
        if *known != note {
            (*known, *since) = (note, Instant::now());
        }
        // A worker that has begun to stand in goes on until it hears of another one.
        let stands_in = read.as_ref().is_some_and(|read| read.toured_by == own);
        let took = read.map_or(Duration::ZERO, |read| Duration::from_millis(read.took_ms)).min(NO_TOUR);
        let patience = NO_TOUR.max(took * TOUR_AND_REST) * place.min(LAST_IN_LINE);
        Ok(stands_in || since.elapsed() >= patience || self.went_round.elapsed() >= OWN_TOUR)
    }

    /// Notes that this worker goes round.
    async fn note_tour(&mut self, lease: &Lease) -> Result<()> {
        let took_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let note = TourNote { toured_by: lease.worker(), at: lease.clock().now(), took_ms };
        let note = serde_json::to_vec(&note).expect("a note is JSON");
        self.broker.catalogue.put(Shelf::Workers, TOUR_MARK, note.into(), Some(OWN_TOUR)).await?;
        self.went_round = Instant::now();
        Ok(())
    }

    /// Whether the clock is one that history may be removed by.
    async fn is_clock_right(&mut self, lease: &Lease) -> Result<bool> {
        if !self.checks_clock {
            return Ok(true);
        }
        let (now, then) = (lease.clock().now(), Instant::now());
        if let Some(put) = self.broker.catalogue.put_at(Shelf::Workers, TOUR_MARK).await? {
            let differ = clock::until(now, put).max(clock::until(put, now).saturating_sub(then - self.went_round));
            if differ > CLOCKS_DIFFER {
                tracing::error!(
                    "nothing is removed: the clock of this machine and the store's differ by {} s",
                    differ.as_secs()
                );
                return Ok(false);
            }
        }
        let (before, was) = self.clock_was.replace((then, now)).unwrap_or((then, now));
        let passed = then - before;
        let leapt = clock::until(now, was).max(clock::until(was, now).saturating_sub(passed));
        if leapt > CLOCKS_DIFFER {
            tracing::warn!(
                "the clock of this machine was set by {} s: nothing is removed for an hour",
                leapt.as_secs()
            );
            self.unsettled = Some(then + CLOCK_SETTLES);
        }
        Ok(self.unsettled.is_none_or(|until| then >= until))
    }

    /// The runs that the last tour met ended, with logs that are as they were written.
    pub fn ended_in_clear(&mut self) -> Vec<RunId> {
        std::mem::take(&mut self.ended_in_clear)
    }

    /// How long the last tour took its time over removals. The rest of it was work.
    pub fn removing(&self) -> Duration {
        self.removing
    }

    /// The place of every run.
    async fn look(&self) -> Result<HashMap<RunId, Met>> {
        let mut runs: HashMap<RunId, Met> = HashMap::new();
        let mut inboxes: HashMap<RunId, (u64, Timestamp)> = HashMap::new();
        let mut keys: BTreeSet<RunId> = BTreeSet::new();
        let mut tour = self.broker.log.survey().await?;
        while let Some(sighting) = tour.next().await {
            match sighting? {
                ScannedItem::Record { run, stored } => {
                    let mut has_older = false;
                    if let Some(met) = runs.get_mut(&run) {
                        if met.seq > stored.seq {
                            met.has_older = true;
                            continue;
                        }
                        has_older = true;
                    }
                    let mut taken = Assembler::default().look(run, &stored);
                    // It may be the last piece of a large record.
                    if taken.records.is_empty() && !taken.unreadable.is_empty() {
                        let looked = look(&self.broker, run, 0).await?;
                        // A record that this program cannot read at all is for a newer worker, and so is the run.
                        if looked.unreadable.iter().any(|unread| unread.seq >= stored.seq) {
                            runs.remove(&run);
                            continue;
                        }
                        taken.records = looked.records;
                    }
                    let placed = taken.records.pop();
                    let kept = placed.as_ref().is_some_and(|placed| placed.seq != stored.seq);
                    let stand = placed.map_or(Stand::UnderWay, |placed| Stand::of(&placed.record.body));
                    let (seq, at) = (stored.seq, stored.at);
                    runs.insert(run, Met { seq, at, stand, kept, asked: None, has_key: false, has_older });
                }
                ScannedItem::Inbox { run, slot: Slot::Key, .. } => {
                    keys.insert(run);
                }
                ScannedItem::Inbox { run, seq, at, .. } => {
                    let newest = inboxes.entry(run).or_insert((seq, at));
                    *newest = (*newest).max((seq, at));
                }
            }
        }
        for (run, asked) in inboxes {
            if let Some(met) = runs.get_mut(&run) {
                met.asked = Some(asked);
            }
        }
        for run in keys {
            if let Some(met) = runs.get_mut(&run) {
                met.has_key = true;
            }
        }
        Ok(runs)
    }

    /// Whether a run ought to go on and shows no sign of it.
    async fn needs_a_call(&self, run: RunId, met: &Met, now: Timestamp, lease: &Lease) -> Result<bool> {
        let late = |since: Timestamp| clock::until(since, now) >= UNDER_WAY;
        let silent_for = clock::until(met.at, now);
        Ok(match met.stand {
            Stand::Ended | Stand::Removed => false,
            Stand::Created => late(met.at),
            Stand::Parked { until } => {
                // An answer that came before the run was parked was seen by whoever parked it, or its job is still there.
                let answered = met.asked.is_some_and(|(seq, at)| seq > met.seq && late(at));
                answered || until.is_some_and(|until| late(until.max(met.at)))
            }
            Stand::UnderWay if silent_for >= SILENT => true,
            Stand::UnderWay if silent_for >= lease.span() + UNDER_WAY => {
                match last_claim(&look(&self.broker, run, 0).await?.records) {
                    Some((worker, _)) => !is_alive(&self.broker, worker).await?,
                    None => true,
                }
            }
            Stand::UnderWay => false,
        })
    }

    /// Queues a run again, unless that was done lately and changed nothing.
    async fn call(&mut self, run: RunId, seq: u64, served: &BTreeSet<Name>) -> Result<bool> {
        let times = match self.called.get(&run) {
            Some(called) if called.next > Instant::now() => return Ok(false),
            Some(called) => called.times,
            None => 0,
        };
        let Some(created) = run::created(&self.broker, run).await? else { return Ok(false) };
        if created.origin == Origin::ForeignWorker || !served.contains(&created.workflow) {
            return Ok(false);
        }
        let job = Job { run, reason: Reason::Wake };
        let queue = QueueName::Workflow(created.workflow.clone());
        self.broker.queue.enqueue(&queue, &job, &format!("{run}.sweep.{seq}.{times}")).await?;
        let rest = AGAIN.saturating_mul(1 << times.min(16)).min(AGAIN_AT_MOST);
        self.called.insert(run, Called { seq, times: times + 1, next: Instant::now() + rest });
        tracing::info!(run.id = %run, workflow = %created.workflow, "the run showed no sign of life and was queued again");
        Ok(true)
    }

    /// Sets right the lines of runs whose log says something else, and takes away those of runs that are gone.
    async fn correct_lines(&self, runs: &HashMap<RunId, Met>, now: Timestamp) -> Result<usize> {
        let lines = summary::list_all(&self.broker).await?;
        let mut corrected = 0;
        let mut shown: HashMap<RunId, u64> = HashMap::with_capacity(lines.len());
        for line in lines {
            let gone = runs.get(&line.id).is_none_or(|met| met.stand == Stand::Removed);
            if gone && clock::until(line.updated_at, now) >= UNDER_WAY && self.is_gone(line.id).await? {
                summary::unshelve(&self.broker, line.user.as_ref(), line.id).await?;
                corrected += 1;
            }
            shown.insert(line.id, line.seq);
        }
        for (run, met) in runs {
            let right = met.stand == Stand::Removed || shown.get(run).is_some_and(|seq| *seq >= met.seq);
            if right || clock::until(met.at, now) < LINE_LATE {
                continue;
            }
            let records = look(&self.broker, *run, 0).await?.records;
            if self.is_shown_wrong(*run, &records).await? {
                redaction::summary_of(&self.redactor, *run, &records).shelve(&self.broker).await?;
                corrected += 1;
            }
        }
        Ok(corrected)
    }

    /// Whether a run that was not met on the tour is really not there: it may have been created meanwhile.
    async fn is_gone(&self, run: RunId) -> Result<bool> {
        let looked = look(&self.broker, run, 0).await?;
        Ok(looked.is_empty()
            || looked.records.first().is_some_and(|first| matches!(first.record.body, Body::Removed(_))))
    }

    /// Whether the line still says something else: its worker may have written it meanwhile.
    async fn is_shown_wrong(&self, run: RunId, records: &[LogEntry]) -> Result<bool> {
        let Some(Body::Created(Created { user, .. })) = records.first().map(|first| &first.record.body) else {
            return Ok(false);
        };
        let line = self.broker.catalogue.get(Shelf::Runs, &line_key(user.as_ref(), run)).await?;
        let shown = line.and_then(|line| crate::bounds::parse::<Summary>(&line).ok()).map_or(0, |line| line.seq);
        Ok(records.last().is_some_and(|last| last.seq > shown))
    }

    /// Removes for ever what is over and still there: no cleaner was called, or the call was lost, or the cleaner died.
    async fn clean(&mut self, runs: &HashMap<RunId, Met>, now: Timestamp) -> Result<usize> {
        self.clean.retain(|run, seq| runs.get(run).is_some_and(|met| met.seq == *seq));
        let is_over = |met: &Met| match met.stand {
            Stand::Removed => true,
            Stand::Ended => met.kept || met.has_key,
            _ => false,
        };
        let tombstones_kept = self.keep_evidence.max(TOMBSTONE_KEPT).saturating_add(TOMBSTONE_KEPT);
        let is_left = |met: &Met| met.has_older || met.has_key || met.asked.is_some();
        let mut over: Vec<Over> = runs
            .iter()
            .filter(|(run, met)| is_over(met) && (is_left(met) || self.clean.get(run) != Some(&met.seq)))
            .map(|(run, met)| Over {
                run: *run,
                seq: met.seq,
                is_left: is_left(met),
                // One that does not vanish by itself.
                is_old: met.stand == Stand::Removed && clock::until(met.at, now) > tombstones_kept,
            })
            .collect();
        let Some(cleaner) = self.broker.cleaner.clone() else {
            let waiting = over.iter().filter(|over| over.is_left).count();
            if waiting > 0 && self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                self.said = Some(Instant::now());
                tracing::warn!(
                    "{waiting} removed or ended runs wait to be cleaned: no worker that is up has the cleaner's login (nats.cleaner)"
                );
            }
            return Ok(0);
        };
        over.sort_unstable_by_key(|over| over.seq);
        let until = Instant::now() + CLEAN_FOR;
        let mut over = over.into_iter();
        let mut under_way = FuturesUnordered::new();
        let mut cleaned = 0;
        loop {
            while under_way.len() < CLEANED_AT_ONCE
                && Instant::now() < until
                && let Some(next) = over.next()
            {
                under_way.push(clean_one(&self.broker, &*cleaner, next));
            }
            match under_way.next().await {
                Some(Ok((run, seq, done))) => {
                    cleaned += usize::from(done);
                    self.clean.insert(run, seq);
                }
                // One that cannot be cleaned does not keep the others.
                Some(Err(error)) => tracing::warn!("what is over could not be removed yet: {error}"),
                None => return Ok(cleaned),
            }
        }
    }

    /// Removes the runs that ended long enough ago, the oldest first.
    async fn remove_old(&mut self, runs: &HashMap<RunId, Met>, now: Timestamp) -> Result<usize> {
        let is_old = |met: &Met| met.stand == Stand::Ended && clock::until(met.at, now) >= self.keep_ended;
        let mut old: Vec<(Timestamp, RunId)> =
            runs.iter().filter(|(_, met)| is_old(met)).map(|(run, met)| (met.at, *run)).collect();
        old.sort_unstable();
        let begun = Instant::now();
        let pace = pace(old.len(), self.removed_at.replace(begun).map(|last| begun - last));
        old.truncate((pace * REMOVE_FOR.as_secs_f64()) as usize);
        let at_once = (pace * REMOVAL.as_secs_f64()) as usize;
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / pace));
        let mut old = old.into_iter();
        let mut under_way = FuturesUnordered::new();
        let mut removed = 0;
        let mut clean = Vec::new();
        loop {
            let all_started = old.len() == 0;
            tokio::select! {
                _ = ticks.tick(), if !all_started && under_way.len() < at_once => {
                    under_way.extend(old.next().map(|(_, run)| self.remove_one(run)));
                }
                Some(done) = under_way.next() => {
                    if let Some((run, left)) = done? {
                        removed += 1;
                        clean.push((run, left));
                    }
                }
                else => break,
            }
        }
        drop(under_way);
        if self.broker.cleaner.is_some() {
            self.clean.extend(clean);
        }
        self.removing = begun.elapsed();
        Ok(removed)
    }

    /// Removes a run; none: it is gone already.
    async fn remove_one(&self, run: RunId) -> Result<Option<(RunId, u64)>> {
        let created = match run::created(&self.broker, run).await? {
            Some(created) => created,
            // It is gone, or how it began cannot be read.
            None => match summary::line_of(&self.broker, run).await? {
                Some(line) => line.as_created(),
                None => return Ok(None),
            },
        };
        let rule = format!("keep_ended: {}", in_days(self.keep_ended));
        let removal = Removal { at: Some(SystemClock.now()), rule: Some(rule), ..Removal::default() };
        let left = remove(&self.broker, run, &created, removal, self.keep_evidence, RemovalMethod::Remove).await?;
        Ok(Some((run, left)))
    }
}

/// As a rule is written in the configuration.
fn in_days(span: Duration) -> String {
    let seconds = span.as_secs();
    match [(86_400, "d"), (3600, "h"), (60, "m")].iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// A worker's place in the line of those who go round: first those who may clean. None: it is not among the living.
fn place_in_line(own: WorkerId, workers: &[WorkerCard]) -> Option<u32> {
    let mut line: Vec<(bool, WorkerId)> = workers.iter().map(|card| (!card.cleans, card.id)).collect();
    line.sort_unstable();
    let place = line.iter().position(|(_, worker)| *worker == own)?;
    Some(u32::try_from(place).unwrap_or(u32::MAX))
}

/// A run that is over and may have to be cleaned.
struct Over {
    run: RunId,
    seq: u64,
    is_left: bool,
    is_old: bool,
}

/// Cleans a run, if there is anything to clean; returns where its log ends, and whether there was.
async fn clean_one(broker: &Broker, cleaner: &dyn Cleaner, over: Over) -> Result<(RunId, u64, bool)> {
    let Over { run, seq, is_left, is_old } = over;
    if is_old {
        cleaner.forget(run, u64::MAX >> 1, RemovalMethod::Remove).await?;
    } else if is_left || starts_with_the_old(broker, run, seq).await? {
        clean::look(broker, cleaner, run).await?;
    } else {
        return Ok((run, seq, false));
    }
    Ok((run, seq, true))
}

/// Whether the log of a run that is over still begins with what was there before.
async fn starts_with_the_old(broker: &Broker, run: RunId, over: u64) -> Result<bool> {
    let Some(first) = broker.log.first(run).await? else { return Ok(false) };
    let is_new = |record: Record| matches!(record.body, Body::Part { .. } | Body::Kept(_));
    Ok(first.seq != over && !crate::bounds::parse(&first.payload).is_ok_and(is_new))
}

/// Removals a second where so many are due: twice as many as became due since the last tour came to them, so that there is an
/// end of them however many runs there are, and yet no rush.
fn pace(due: usize, since: Option<Duration>) -> f64 {
    let became_due = since.map_or(0.0, |since| due as f64 / since.as_secs_f64().max(1.0));
    (2.0 * became_due).clamp(REMOVALS, MOST_REMOVALS)
}

fn line_key(user: Option<&UserId>, run: RunId) -> String {
    Summary { user: user.cloned(), ..Summary::new(run) }.key()
}

/// Shows operators where all runs stand.
fn show(runs: &HashMap<RunId, Met>, now: Timestamp) {
    let mut places = [("created", 0, now), ("under_way", 0, now), ("parked", 0, now), ("ended", 0, now)];
    for met in runs.values() {
        let place = match met.stand {
            Stand::Created => 0,
            Stand::UnderWay => 1,
            Stand::Parked { .. } => 2,
            Stand::Ended => 3,
            Stand::Removed => continue,
        };
        let (_, count, oldest) = &mut places[place];
        *count += 1;
        *oldest = met.at.min(*oldest);
    }
    metrics().stand(&places.map(|(state, count, oldest)| (state, count, clock::until(oldest, now))));
}

impl Stand {
    fn of(body: &Body) -> Self {
        match body {
            Body::Created(_) => Stand::Created,
            Body::Parked { until } => Stand::Parked { until: *until },
            Body::Ended(_) => Stand::Ended,
            Body::Removed(_) => Stand::Removed,
            _ => Stand::UnderWay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_keep_pace_with_what_becomes_due_and_are_gentle_otherwise() {
        let minute = Some(Duration::from_secs(60));
        // Nothing is known yet, little is due, as much as comes, and more than is ever removed.
        for (due, since, wanted) in
            [(1_000_000, None, 200.0), (600, minute, 200.0), (30_000, minute, 1000.0), (600_000, minute, 2000.0)]
        {
            assert_eq!(pace(due, since), wanted, "{due} in {since:?}");
        }
    }
}
