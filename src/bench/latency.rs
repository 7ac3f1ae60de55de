//! How long a person waits: conversations one after the other, and between them the round trip of one stored message, so that
//! both are from the same machine in the same second. Meanwhile others may wait at their questions, and others come at a rate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::measurements::{CpuTime, DurationPercentiles};
use super::tally::BenchReport;
use super::{BenchContext, BenchObserver, BenchPlan, ConversationCounter, converse, drive};
use crate::broker::nats::baseline::{self, BaselineStream};
use crate::client::GatewayClient;

/// Stored round trips after each conversation. The first one meets what the conversation has left to do.
const ROUND_TRIPS_EACH: usize = 3;
/// The most conversations of the offered load that are under way at once: more come than the system can take.
const MOST_UNDER_WAY: usize = 2000;

/// What goes on while conversations are timed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LatencySetting {
    /// Conversations that are open and wait at their question.
    pub others_open: usize,
    /// Conversations that begin each second.
    pub offered_per_second: f64,
}

/// What came of timing conversations in one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyReport {
    /// What went on meanwhile.
    #[serde(flatten)]
    pub setting: LatencySetting,
    /// The conversations that were timed, one at a time.
    pub timed: BenchReport,
    /// One message, stored in a file stream with the replicas of the runs' and acknowledged; `None`: there is no NATS server.
    pub stored_round_trip: Option<DurationPercentiles>,
    /// The p50 from an answer to the next message, in p50s of the stored round trip.
    pub answer_in_round_trips: Option<f64>,
    /// The conversations of the offered load.
    pub load: Option<BenchReport>,
    /// The conversations that waited.
    pub others: Option<BenchReport>,
}

/// Why the measurements are not complete.
#[derive(Debug, thiserror::Error)]
pub enum LatencyError {
    /// The stored round trip could not be measured.
    #[error("the stored round trip could not be measured")]
    Baseline(#[from] baseline::Error),
    /// A part of the measurement broke down.
    #[error("a part of the measurement ended early")]
    Ended(#[from] JoinError),
}

/// Times `plan.conversations` conversations, one after the other, in a setting. `yardstick` takes the stored messages.
pub async fn measure(
    client: &GatewayClient,
    plan: &BenchPlan,
    setting: LatencySetting,
    yardstick: Option<&BaselineStream>,
) -> Result<LatencyReport, LatencyError> {
    let over = CancellationToken::new();
    let mut beside = JoinSet::new();
    let waiting = OpenConversations::open(client, plan, setting.others_open, &over, &mut beside).await;
    let mut load = JoinSet::new();
    if setting.offered_per_second > 0.0 {
        load.spawn(offer(client.clone(), plan.clone(), setting.offered_per_second, over.clone()));
    }
    let context = BenchContext::new(client, plan.clone(), Arc::<ConversationCounter>::default());
    let (cpu, start) = (CpuTime::now(), Instant::now());
    let mut round_trips = Vec::new();
    for number in 0..plan.conversations {
        converse(&context, number).await;
        if let Some(yardstick) = yardstick {
            for _ in 0..ROUND_TRIPS_EACH {
                round_trips.push(yardstick.round_trip().await?);
            }
        }
    }
    let timed = context.tally.outcome(start.elapsed(), waiting, cpu.since());
    over.cancel();
    let load = load.join_next().await.transpose()?;
    let others = beside.join_next().await.transpose()?;
    let stored_round_trip = (!round_trips.is_empty()).then(|| DurationPercentiles::of(round_trips));
    let answer_in_round_trips = stored_round_trip
        .filter(|trip| !trip.p50.is_zero())
        .map(|trip| timed.answer_to_next.p50.as_secs_f64() / trip.p50.as_secs_f64());
    Ok(LatencyReport { setting, timed, stored_round_trip, answer_in_round_trips, load, others })
}

/// Conversations that wait until the measurement is over.
struct OpenConversations {
    opened: watch::Sender<Option<usize>>,
    over: CancellationToken,
}

impl OpenConversations {
    /// Opens so many, and returns how many wait when no more can be opened. They are answered when `over` is cancelled.
    async fn open(
        client: &GatewayClient,
        plan: &BenchPlan,
        count: usize,
        over: &CancellationToken,
        beside: &mut JoinSet<BenchReport>,
    ) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let (opened, mut open) = watch::channel(None);
        let watcher = Arc::new(Self { opened, over: over.clone() });
        let plan = BenchPlan { conversations: count, hold: true, ..plan.clone() };
        let client = client.clone();
        beside.spawn(async move { drive(&client, plan, watcher).await });
        // Fails only if the task has ended, and then none is open.
        open.wait_for(Option::is_some).await.ok().and_then(|open| *open)
    }
}

#[async_trait]
impl BenchObserver for OpenConversations {
    fn step(&self) {}
    async fn hold(&self, open: usize) {
        self.opened.send_replace(Some(open));
        self.over.cancelled().await;
    }
}

/// Begins conversations at a rate until it is over, whether or not those before have ended, and waits for the ends of all.
async fn offer(client: GatewayClient, plan: BenchPlan, per_second: f64, over: CancellationToken) -> BenchReport {
    let context = BenchContext::new(&client, plan, Arc::<ConversationCounter>::default());
    let mut under_way = JoinSet::new();
    let mut due = interval(Duration::from_secs_f64(1.0 / per_second));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (cpu, start) = (CpuTime::now(), Instant::now());
    for number in 0.. {
        tokio::select! {
            () = over.cancelled() => break,
            _ = due.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= MOST_UNDER_WAY {
            under_way.join_next().await;
        }
        let context = context.clone();
        under_way.spawn(async move { converse(&context, number).await });
    }
    let took = start.elapsed();
    while under_way.join_next().await.is_some() {}
    context.tally.outcome(took, None, cpu.since())
}

impl LatencyReport {
    /// Whether nothing went wrong.
    pub fn is_clean(&self) -> bool {
        let clean = |report: &Option<BenchReport>| report.as_ref().is_none_or(BenchReport::is_clean);
        self.timed.is_clean() && clean(&self.load) && clean(&self.others)
    }
}

impl fmt::Display for LatencySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.others_open, self.offered_per_second) {
            (0, 0.0) => f.write_str("one conversation at a time, and no other"),
            (0, rate) => write!(f, "one conversation at a time, while {rate}/s others come"),
            (open, 0.0) => write!(f, "one conversation at a time, while {open} others wait"),
            (open, rate) => write!(f, "one conversation at a time, while {open} others wait and {rate}/s come"),
        }
    }
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        write!(f, "  answer to next     {}", self.timed.answer_to_next)?;
        if let Some(trip) = &self.stored_round_trip {
            write!(f, "\n  stored round trip  {trip}")?;
        }
        if let Some(times) = self.answer_in_round_trips {
            write!(f, "\n  an answer takes    {times:.2} stored round trips (p50)")?;
        }
        if let Some(load) = &self.load {
            let (completed, rate) = (load.completed, load.per_second);
            write!(
                f,
                "\n  the load           {completed} conversations, {rate:.1}/s; answer to next {}",
                load.answer_to_next
            )?;
        }
        for (whose, report) in
            [("timed", Some(&self.timed)), ("load", self.load.as_ref()), ("waiting", self.others.as_ref())]
        {
            let Some(report) = report.filter(|report| !report.is_clean()) else { continue };
            write!(f, "\n  {whose}: {} crossed messages, {} errors", report.crossed, report.errors)?;
            for (kind, count) in &report.errors_by_kind {
                write!(f, "\n    {count} × {kind}")?;
            }
        }
        Ok(())
    }
}
