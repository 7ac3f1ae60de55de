//! What of a run is in the log, and what is on its way there.
//!
//! What came of a request to a model is kept back while the run goes on, and the next record carries it: most often the message
//! that says it, which the run need not wait for either. Before the run does anything that others would notice, all that has
//! happened is in the log ([`Journal::settle`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::awaited::Awaited;
use super::{Journal, Pen, asks_secret, lock};
use crate::broker::FORGET_EVERY;
use crate::chat::{Result, Stop};
use crate::engine::prompts::Noting;
use crate::protocol::dialogue::Request;
use crate::protocol::effect_key::EffectKey;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{Body, Done, Outcome, Record};
use crate::run;
use crate::run::redaction;
use crate::workflow::ModelUse;

/// What is not in the log yet although the run has gone on.
pub(super) enum Behind {
    Nothing,
    /// A finished effect, which the next record carries: a reply is followed by the message that says it. If the run has
    /// something to wait for first, it is stored alone, at once.
    Done(Box<Done>),
    /// A record that is being stored.
    Storing(Storing),
}

type Storing = Awaited<Result<()>>;

impl Behind {
    fn storing(&self) -> Option<Storing> {
        if let Behind::Storing(storing) = self { Some(storing.clone()) } else { None }
    }

    fn take_done(&mut self) -> Option<Done> {
        match std::mem::replace(self, Behind::Nothing) {
            Behind::Done(done) => Some(*done),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Journal {
    /// Appends a record, and tells the projections.
    ///
    /// Boxed: thousands of runs wait for a person, and what waits must not have the room in it that writing takes.
    pub(in crate::engine) fn append(self: &Arc<Self>, body: Body) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.stored().await?;
            match self.take_done() {
                // That belongs to the run, and must not be given up with the branch of it that waits here.
                Some(done) => {
                    self.store_behind(Record::carrying(done, body));
                    self.stored().await
                }
                None => self.write(Record::new(body)).await.map(drop),
            }
        })
    }

    /// Appends a message that says what was done right before it, without waiting for it. Every other append waits until it
    /// is stored, and so do every piece of a later text and every request to a model.
    pub(in crate::engine) async fn append_behind(self: &Arc<Self>, body: Body) -> Result<()> {
        self.stored().await?;
        self.store_behind(match self.take_done() {
            Some(done) => Record::carrying(done, body),
            None => Record::new(body),
        });
        Ok(())
    }

    /// Notes a request to a model, for [`Journal::done`].
    pub(in crate::engine) fn note(&self, key: &EffectKey, llm: &ModelUse, request: &Request) -> Noting {
        lock(&self.prompts).note(key, llm, request)
    }

    /// Takes note of what came of a request to a model, with what was asked: the next record carries it. If the run comes to
    /// none before it waits for anything, it is stored alone, at once.
    pub(in crate::engine) async fn done(
        self: &Arc<Self>,
        key: EffectKey,
        outcome: Outcome,
        noting: Noting,
        took: Duration,
    ) -> Result<()> {
        self.settle().await?;
        let (asked, known) = noting.took(took);
        *lock(&self.behind) = Behind::Done(Box::new(Done { key, outcome, asked: Some(asked) }));
        lock(&self.prompts).remember(known);
        Ok(())
    }

    /// Waits until everything that has happened is in the log.
    pub(in crate::engine) async fn settle(self: &Arc<Self>) -> Result<()> {
        self.stored().await?;
        self.store_done();
        self.stored().await
    }

    /// Begins to store a finished effect that no record carries yet.
    fn store_done(self: &Arc<Self>) {
        if let Some(done) = self.take_done() {
            self.store_behind(Record::from(done));
        }
    }

    /// Waits until nothing is being stored. A run is one task: until its next await nothing is.
    async fn stored(&self) -> Result<()> {
        loop {
            // Several branches may wait for the same.
            let Some(storing) = lock(&self.behind).storing() else { return Ok(()) };
            let outcome = storing.clone().await;
            let mut behind = lock(&self.behind);
            // What can never be stored is given up: that the run has failed is to be stored after it.
            if !matches!(outcome, Err(Stop::Halted(_))) && behind.storing().is_some_and(|newer| newer.is(&storing)) {
                *behind = Behind::Nothing;
            }
            drop(behind);
            outcome?;
        }
    }

    fn take_done(&self) -> Option<Done> {
        lock(&self.behind).take_done()
    }

    fn store_behind(self: &Arc<Self>, record: Record) {
        let journal = self.clone();
        let storing = async move { journal.write(record).await.map(drop) };
        *lock(&self.behind) = Behind::Storing(Awaited::new(storing));
    }

    /// Goes on storing what is to be stored; returns when it could not be.
    pub(in crate::engine) async fn failure_behind(self: &Arc<Self>) -> Stop {
        std::future::poll_fn(|context| {
            // The run has had its turn, and waits for something.
            self.store_done();
            let mut behind = lock(&self.behind);
            if let Behind::Storing(storing) = &*behind {
                match storing.poll_for_others(context) {
                    Poll::Ready(Err(stop)) => {
                        if let Stop::Failed(_) = stop {
                            *behind = Behind::Nothing;
                        }
                        return Poll::Ready(stop);
                    }
                    Poll::Ready(Ok(())) => *behind = Behind::Nothing,
                    // What is begun later is begun by this task, which comes back here then.
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Gives up what is being stored: the run leaves memory.
    pub(in crate::engine) fn abandon(&self) {
        *lock(&self.behind) = Behind::Nothing;
    }

    pub(super) async fn write(&self, record: Record) -> Result<u64> {
        self.notices.announce(self.run, &record.body).await?;
        let mut pen = self.pen.lock().await;
        let Pen { writer, summary, watch, copier, shelver, records } = &mut *pen;
        let before = *records;
        let written = writer.append(record, self.clock().now()).await.map_err(|error| match error {
            run::Error::Unstorable { source, .. } => {
                Stop::failed(FailureKind::Template, format!("what happened cannot be stored: {source}"))
            }
            error => error.into(),
        })?;
        for placed in written {
            *records += 1;
            self.bounds.wrote();
            summary.apply(&redaction::placed(shelver.redactor(), &placed));
            watch.saw(summary, &placed);
            {
                let mut state = lock(&self.state);
                state.spent.apply(&placed);
                state.asked_secret |= asks_secret(&placed.record.body);
            }
            if let Some(copier) = copier {
                copier.copy(&placed).await?;
            }
        }
        // Told from the place in the log, so that it is due whoever has the run.
        shelver.put(summary, before / FORGET_EVERY < *records / FORGET_EVERY);
        self.log_bytes.store(writer.bytes(), Ordering::Relaxed);
        Ok(writer.last())
    }
}
