//! Passwords in the log: sealed with a key of their run, which lies in the run's inbox, itself sealed with the project's key,
//! and is deleted when the run has ended. What the log holds of a password then can be opened by nobody.

use crate::broker::{self, Broker, InboxSlot, PutOutcome, StoredRecord};
use crate::ids::{MessageId, RunId};
use crate::run::{Result, clean};
use crate::seal::{RunKey, Sealer};

/// Seals the answer to a question with the run's key, which is made if there is none.
pub async fn seal(broker: &Broker, sealer: &Sealer, run: RunId, question: MessageId, secret: &str) -> Result<String> {
    Ok(run_key(broker, sealer, run).await?.seal(question, secret))
}

/// Opens the answer to a question with what lies in the run's [`InboxSlot::Key`]; `None` if it was sealed with another key.
pub fn open(sealer: &Sealer, run: RunId, key: &StoredRecord, question: MessageId, sealed: &str) -> Option<String> {
    opened(sealer, run, &key.payload)?.open(question, sealed)
}

/// Deletes the run's key, if it has one, and the access token of its caller.
pub async fn forget(broker: &Broker, run: RunId) -> Result<()> {
    clean::forget_secrets(broker, run).await
}

/// The run's key, which is made if there is none.
pub(super) async fn run_key(broker: &Broker, sealer: &Sealer, run: RunId) -> Result<RunKey> {
    let mut stored = sealer.new_run_key(run).into_bytes();
    // The inbox decides between two who make one at once.
    if let PutOutcome::Taken(first) = broker.inbox.put(run, InboxSlot::Key, stored.clone().into()).await? {
        stored = first.payload.to_vec();
    }
    let key = opened(sealer, run, &stored).ok_or_else(|| broker::Error::Refused {
        doing: "seal a secret of a run".to_owned(),
        reason: "an earlier one of this run was sealed with another seal_key: give every worker and gateway the same"
            .to_owned(),
    })?;
    Ok(key)
}

/// The key of a run from what lies in its [`InboxSlot::Key`]; `None` if it was sealed with another key.
pub(super) fn opened(sealer: &Sealer, run: RunId, stored: &[u8]) -> Option<RunKey> {
    sealer.run_key(run, std::str::from_utf8(stored).ok()?)
}
