//! Removing for ever what a run's log says is over: everything before a tombstone or a history that was stored anew, and of a run
//! that has ended the key of its passwords and the access token of its caller. What the log says is so for every reader at once; the bytes go when a
//! process that may remove them comes to it. On a NATS server with a login for each tier that is the cleaner: one worker with a second login
//! (`nats.cleaner`). It is called, and what it did not hear it finds on its scan (`run::sweeper`). Elsewhere the process that removes
//! a run does both.

use std::time::Duration;

use crate::broker::{self, Broker, Cleaner, InboxSlot, RemovalMethod};
use crate::ids::{RunId, user_token};
use crate::protocol::log::{RecordBody, RunCreation, RunOrigin};
use crate::run::Result;
use crate::run::assembler::RecordAssembler;

/// Within what time the words of a run that was removed, redacted or erased are gone, while there is a cleaner: it is called at
/// once, and goes round all runs every 10 s where that does not take long.
pub const CLEANED_WITHIN: Duration = Duration::from_secs(60);

/// Removes the run's records before sequence `before`, its inbox and its timer, or calls a cleaner.
pub async fn forget(broker: &Broker, run: RunId, before: u64, how: RemovalMethod) -> Result<()> {
    match &broker.cleaner {
        Some(cleaner) => Ok(cleaner.forget(run, before, how).await?),
        None => {
            call(broker, run).await;
            Ok(())
        }
    }
}

/// Removes the key of the run's passwords and the access token of its caller, or calls a cleaner.
pub async fn forget_secrets(broker: &Broker, run: RunId) -> Result<()> {
    match &broker.cleaner {
        Some(cleaner) => erase_secrets(&**cleaner, run).await,
        None => {
            call(broker, run).await;
            Ok(())
        }
    }
}

async fn erase_secrets(cleaner: &dyn Cleaner, run: RunId) -> Result<()> {
    // The key first: without it the token cannot be opened, wherever a copy of it is.
    cleaner.erase(run, InboxSlot::Key).await?;
    Ok(cleaner.erase(run, InboxSlot::CallerToken).await?)
}

/// Removes what FastAgency's stream holds of the run, if this process may; else the cleaner does it.
pub async fn forget_copies(broker: &Broker, run: RunId, created: &RunCreation) -> Result<()> {
    let Some(contract) = broker.contract.as_ref().filter(|_| broker.cleaner.is_some()) else { return Ok(()) };
    if created.origin == RunOrigin::Gateway {
        return Ok(());
    }
    match contract.purge(&user_token(created.user.as_ref()), run).await {
        Err(broker::Error::Denied { what, .. }) => {
            tracing::warn!(run.id = %run, "what FastAgency's stream holds of the run stays there: this login may not {what}; set nats.python");
            Ok(())
        }
        done => Ok(done?),
    }
}

/// Calls a cleaner. If the call is lost, the run is found on a scan.
async fn call(broker: &Broker, run: RunId) {
    if let Err(error) = broker.log.notify_cleaner(run).await {
        tracing::debug!(run.id = %run, "the cleaner could not be called: {error}");
    }
}

/// Looks at the run's log, and removes what it says is over. The call is a reason to look and no more.
pub async fn look(broker: &Broker, cleaner: &dyn Cleaner, run: RunId) -> Result<()> {
    let mut assembler = RecordAssembler::default();
    let mut created = None;
    // Where the record that is being read begins, and where what is left begins.
    let (mut begins, mut left) = (None, None);
    let (mut ended, mut gone) = (false, false);
    for stored in broker.log.read(run, 0).await? {
        // What cannot be read is no reason to keep what is over.
        let taken = assembler.look(run, &stored);
        if !taken.unreadable.is_empty() && taken.records.is_empty() {
            begins = None;
            continue;
        }
        let from = *begins.get_or_insert(stored.seq);
        if taken.records.is_empty() {
            continue;
        }
        begins = None;
        if taken.anew {
            left = Some(from);
            gone = taken.records.iter().any(|placed| matches!(placed.record.body, RecordBody::Removed(_)));
        }
        for placed in taken.records {
            match placed.record.body {
                RecordBody::Created(found) => created = Some(found),
                RecordBody::Ended(_) => ended = true,
                _ => {}
            }
        }
    }
    match left {
        Some(before) => {
            if let Some(created) = created.filter(|_| gone) {
                forget_copies(broker, run, &created).await?;
            }
            Ok(cleaner.forget(run, before, RemovalMethod::Overwrite).await?)
        }
        None if ended => erase_secrets(cleaner, run).await,
        None => Ok(()),
    }
}
