//! Driving whole conversations against a gateway, to know how many it bears: many at once, each with a secret of its own in
//! its answers, so that a message that reaches somebody else is noticed. What it measures is what a person would feel.
//!
//! The generator shares its machine with what it measures: it is frugal, and tells how much of the processor it took.
//!
//! [`drive`] holds many conversations at once, [`latency`] times one after the other, [`cost`] reads what they took of NATS and
//! of the processor, [`tiers`] starts what is measured, and [`comparison`] sums up rounds of two programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::GatewayClient;

pub mod comparison;
pub mod cost;
pub mod latency;
mod measurements;
mod secret;
mod sse;
mod tally;
pub mod tiers;
mod websocket;

pub use measurements::{CpuTime, DurationPercentiles, LoadAverage};
pub use tally::BenchReport;

use secret::ConversationSecret;
use tally::{BenchConversation, BenchTally, ConversationProblem};

/// How conversations are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BenchTransport {
    /// FastAgency's WebSocket.
    WebSocket,
    /// `/api` with server-sent events.
    Sse,
}

/// What is to be driven.
#[derive(Debug, Clone)]
pub struct BenchPlan {
    /// The workflow.
    pub workflow: String,
    /// How many conversations in all.
    pub conversations: usize,
    /// How many at once; with [`BenchPlan::hold`] how many are being opened or answered at once.
    pub concurrency: usize,
    /// How they are held.
    pub via: BenchTransport,
    /// What each answer to a question for a text begins with; the secret follows.
    pub answer: String,
    /// Whether the workflow gives the answer back, so that one that does not come is an error.
    pub echoes: bool,
    /// Open all conversations, keep them at their first question until [`BenchObserver::hold`] returns, then answer all.
    pub hold: bool,
    /// The longest that one step of a conversation (to the question, to the next message) may take.
    pub patience: Duration,
}

/// What is told while it goes on.
#[async_trait]
pub trait BenchObserver: Send + Sync {
    /// One more conversation has begun to wait, or has ended.
    fn step(&self);
    /// Every conversation that could be opened is open. They stay so until this returns.
    async fn hold(&self, open: usize);
}

/// What every conversation is given.
struct BenchContext {
    load: BenchPlan,
    client: GatewayClient,
    socket_url: String,
    /// Distinguishes this bench's secrets from those of another one at the same time.
    session: u64,
    next: AtomicUsize,
    tally: BenchTally,
    gate: HoldGate,
    watcher: Arc<dyn BenchObserver>,
}

/// Where conversations wait with their first question, if they are held.
struct HoldGate {
    /// Who is being opened or answered now.
    busy: Semaphore,
    /// How many have their question, or will never have one.
    arrived: AtomicUsize,
    waiting: AtomicUsize,
    all_here: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

/// Holds the conversations, and says what came of it.
pub async fn drive(client: &GatewayClient, load: BenchPlan, watcher: Arc<dyn BenchObserver>) -> BenchReport {
    let context = BenchContext::new(client, load, watcher);
    let cpu = CpuTime::now();
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    // Held conversations have a task each: all are open at once.
    let tasks_needed = if context.load.hold {
        context.load.conversations
    } else {
        context.load.concurrency.clamp(1, context.load.conversations.max(1))
    };
    for _ in 0..tasks_needed {
        tasks.spawn(converse_until_enough(context.clone()));
    }
    let mut held = None;
    let mut held_for = Duration::ZERO;
    if context.load.hold {
        // Fails only if the sender is gone, and the context holds it.
        let _ = context.gate.all_here.subscribe().wait_for(|all| *all).await;
        let open = context.gate.waiting.load(Ordering::Relaxed);
        held = Some(open);
        let since = Instant::now();
        context.watcher.hold(open).await;
        held_for = since.elapsed();
        context.gate.open.send_replace(true);
    }
    while tasks.join_next().await.is_some() {}
    context.tally.outcome(start.elapsed() - held_for, held, cpu.since())
}

/// Holds conversations, one after the other, until there are enough.
async fn converse_until_enough(context: Arc<BenchContext>) {
    loop {
        let number = context.next.fetch_add(1, Ordering::Relaxed);
        if number >= context.load.conversations {
            return;
        }
        converse(&context, number).await;
    }
}

/// Holds one conversation, from its start to its end.
async fn converse(context: &BenchContext, number: usize) {
    let secret = ConversationSecret { session: context.session, number: number as u64 };
    let mut conversation = BenchConversation::new(secret);
    let outcome = match context.load.via {
        BenchTransport::WebSocket => websocket::converse(context, &mut conversation).await,
        BenchTransport::Sse => sse::converse(context, &mut conversation).await,
    };
    if !conversation.reached_question {
        context.arrive();
    }
    if outcome.is_ok() && context.load.echoes && conversation.answered_text && !conversation.own_seen {
        context.tally.problem(&ConversationProblem::NotEchoed, conversation.secret);
    } else if let Err(problem) = &outcome {
        context.tally.problem(problem, conversation.secret);
    }
    context.tally.ended(&conversation, outcome.is_ok());
    context.watcher.step();
}

impl BenchContext {
    fn new(client: &GatewayClient, load: BenchPlan, watcher: Arc<dyn BenchObserver>) -> Arc<Self> {
        Arc::new(Self {
            socket_url: websocket::url(client.url()),
            client: client.clone(),
            session: rand::random(),
            next: AtomicUsize::new(0),
            tally: BenchTally::default(),
            gate: HoldGate {
                busy: Semaphore::new(load.concurrency.max(1)),
                arrived: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
                all_here: watch::Sender::new(false),
                open: watch::Sender::new(!load.hold),
            },
            watcher,
            load,
        })
    }

    /// The permit to be opened, where conversations are held.
    async fn may_begin(&self) -> Option<SemaphorePermit<'_>> {
        if self.load.hold { self.gate.busy.acquire().await.ok() } else { None }
    }

    /// Waits at the first question until all have theirs, where conversations are held. `permit` is the one to be opened;
    /// the one returned is to be answered.
    async fn at_question<'a>(
        &'a self,
        conversation: &mut BenchConversation,
        permit: Option<SemaphorePermit<'a>>,
    ) -> Option<SemaphorePermit<'a>> {
        if !self.load.hold || std::mem::replace(&mut conversation.reached_question, true) {
            return permit;
        }
        drop(permit);
        self.gate.waiting.fetch_add(1, Ordering::Relaxed);
        self.watcher.step();
        self.arrive();
        let _ = self.gate.open.subscribe().wait_for(|open| *open).await;
        conversation.held();
        self.gate.busy.acquire().await.ok()
    }

    fn arrive(&self) {
        if self.gate.arrived.fetch_add(1, Ordering::Relaxed) + 1 == self.load.conversations {
            self.gate.all_here.send_replace(true);
        }
    }

    /// Ends a step that takes too long.
    async fn in_time<T>(
        &self,
        waiting_for: &'static str,
        step: impl Future<Output = T>,
    ) -> Result<T, ConversationProblem> {
        tokio::time::timeout(self.load.patience, step).await.map_err(|_| ConversationProblem::TooSlow(waiting_for))
    }

    /// The answer to a question for a text.
    fn text_answer(&self, secret: ConversationSecret) -> String {
        match self.load.answer.as_str() {
            "" => secret.to_string(),
            answer => format!("{answer} {secret}"),
        }
    }
}

/// Counts conversations for a progress bar or for nobody.
#[derive(Debug, Default)]
pub struct ConversationCounter(AtomicU64);

#[async_trait]
impl BenchObserver for ConversationCounter {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    async fn hold(&self, _open: usize) {}
}
