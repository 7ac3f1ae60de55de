//! Copies what a run says to FastAgency's subject, for a run that a FastAgency gateway started. The log comes first; each
//! copy says of which record it is one, so that after a crash the next worker goes on exactly behind the last.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::contract::FastAgencyContract;
use crate::broker::{self, Error};
use crate::clock::ExponentialBackoff;
use crate::fastagency::envelope::envelope;
use crate::ids::{RunId, user_token};
use crate::protocol::log::{LogEntry, RunCreation};
use crate::redact::Redactor;
use crate::run::redaction;

/// The copies of one run.
pub struct FastAgencyMirror {
    contract: Arc<dyn FastAgencyContract>,
    user: String,
    run: RunId,
    /// The sequence, in the stream `FastAgency`, of the last copy.
    previous: u64,
    /// What is not copied.
    redactor: Redactor,
}

impl FastAgencyMirror {
    /// Finds the last copy, and copies what came after it.
    pub async fn resume(
        contract: Arc<dyn FastAgencyContract>,
        run: RunId,
        created: &RunCreation,
        history: &[LogEntry],
        redactor: &Redactor,
    ) -> broker::Result<Self> {
        let user = user_token(created.user.as_ref());
        let last = contract.last_copy(&user, run).await?;
        let copied = last.as_ref().and_then(|last| last.copy_of).unwrap_or(0);
        let previous = last.map_or(0, |last| last.seq);
        let mut mirror = Self { contract, user, run, previous, redactor: redactor.clone() };
        for placed in history.iter().filter(|placed| placed.seq > copied) {
            mirror.copy(placed).await?;
        }
        Ok(mirror)
    }

    /// Copies a record's message, if it shows one. A conflict means that another worker goes on with the run.
    pub async fn copy(&mut self, placed: &LogEntry) -> broker::Result<()> {
        let placed = redaction::placed(&self.redactor, placed);
        let Some(message) = placed.record.message() else { return Ok(()) };
        let body = serde_json::to_vec(&envelope(self.run, message)).expect("an envelope is JSON");
        let mut backoff = ExponentialBackoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let copied = self
                .contract
                .copy(&self.user, self.run, message.uuid, placed.seq, self.previous, body.clone().into())
                .await;
            match copied {
                Ok(seq) => {
                    self.previous = seq;
                    return Ok(());
                }
                Err(Error::Conflict { .. } | Error::Unavailable { .. }) => {}
                Err(Error::TooLarge { size, max }) => {
                    // The log has it, in pieces; FastAgency's subjects know no pieces. The run must not stop for that.
                    tracing::error!(
                        run.id = %self.run,
                        "a message of {size} bytes is more than the broker carries at once ({max}); FastAgency's clients do not get it"
                    );
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            match self.contract.last_copy(&self.user, self.run).await {
                // The acknowledgement was lost, not the copy.
                Ok(Some(last)) if last.copy_of.is_some_and(|of| of >= placed.seq) => {
                    self.previous = last.seq;
                    return Ok(());
                }
                // The subject was purged, or moved on: go on behind what is there.
                Ok(last) => self.previous = last.map_or(0, |last| last.seq),
                Err(Error::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
            backoff.pause().await;
        }
    }
}
