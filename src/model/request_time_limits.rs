//! How long a request may take: until the answer begins, between its parts, and all in all.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use crate::config::ModelTimeouts;

/// A time so far away that nobody waits for it; a limit beyond what a clock can count becomes this one.
const FAR_AWAY: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The limits of one request.
pub(super) struct RequestTimeLimits<'a> {
    model: &'a str,
    api: &'static str,
    limits: ModelTimeouts,
    streamed: bool,
    begun: Instant,
    /// When the last part of the answer came.
    heard: Option<Instant>,
}

impl<'a> RequestTimeLimits<'a> {
    /// The request begins now. An answer that is not streamed comes all at once, after it is written: for it only the limit
    /// for all holds.
    /// `api` is whose interface is called, for the words of an error.
    pub(super) fn begin(model: &'a str, api: &'static str, limits: ModelTimeouts, streamed: bool) -> Self {
        Self { model, api, limits, streamed, begun: Instant::now(), heard: None }
    }

    /// A part of the answer has come.
    pub(super) fn heard_of_the_answer(&mut self) {
        self.heard = Some(Instant::now());
    }

    /// Something has come that is not of the answer. It tells that the server lives, but it begins no answer.
    pub(super) fn heard_something(&mut self) {
        if self.heard.is_some() {
            self.heard_of_the_answer();
        }
    }

    /// Waits for what comes next, as long as the limits allow.
    pub(super) async fn for_next<T>(&self, next: impl Future<Output = T>) -> Result<T, Error> {
        let total = (self.begun, self.limits.total, "no complete answer");
        let step = match self.heard {
            _ if !self.streamed => total,
            None => (self.begun, self.limits.first_token, "no first token"),
            Some(heard) => (heard, self.limits.idle, "nothing more"),
        };
        let end = |(from, limit, _): (Instant, Duration, _)| from.checked_add(limit).unwrap_or_else(|| from + FAR_AWAY);
        let sooner = if end(step) <= end(total) { step } else { total };
        let (_, after, what) = sooner;
        tokio::time::timeout_at(end(sooner), next).await.map_err(|_| Error::TimedOut {
            api: self.api,
            model: self.model.to_owned(),
            what,
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const LIMITS: ModelTimeouts = ModelTimeouts {
        first_token: Duration::from_secs(30),
        idle: Duration::from_secs(5),
        total: Duration::from_secs(60),
    };

    async fn ends(waits: &RequestTimeLimits<'_>, begun: Instant) -> (&'static str, u64) {
        match waits.for_next(pending::<()>()).await {
            Err(Error::TimedOut { what, .. }) => (what, begun.elapsed().as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_has_its_limit() {
        let begun = Instant::now();
        let mut waits = RequestTimeLimits::begin("m", "OpenAI", LIMITS, true);
        waits.heard_something();
        assert_eq!(ends(&waits, begun).await, ("no first token", 30));
        waits.heard_of_the_answer();
        assert_eq!(ends(&waits, begun).await, ("nothing more", 35));
        for _ in 0..5 {
            waits.heard_something();
            assert_eq!(waits.for_next(tokio::time::sleep(Duration::from_millis(4900))).await.unwrap(), ());
        }
        waits.heard_of_the_answer();
        assert_eq!(ends(&waits, begun).await, ("no complete answer", 60));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_at_once_has_one_limit() {
        let begun = Instant::now();
        assert_eq!(
            ends(&RequestTimeLimits::begin("m", "OpenAI", LIMITS, false), begun).await,
            ("no complete answer", 60)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_without_end_is_none() {
        let endless = ModelTimeouts { first_token: Duration::MAX, idle: Duration::MAX, total: Duration::MAX };
        assert_eq!(RequestTimeLimits::begin("m", "OpenAI", endless, true).for_next(async { 1 }).await.unwrap(), 1);
    }
}
