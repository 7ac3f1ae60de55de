//! The access token of the person whose run it is. A gateway that is shown one stores it in the run's inbox, sealed with the run's
//! key; a worker opens it for the calls of the run that are made in the person's name (`from: caller` of a secret). It is gone when
//! it ends, after a day at the latest, and when its run has ended: with the run's key nothing is left that opens a copy.

use std::time::Duration;

use crate::broker::{Broker, InboxSlot};
use crate::clock::{self, Timestamp};
use crate::ids::RunId;
use crate::protocol::caller_token::CallerToken;
use crate::run::{Result, secret};
use crate::seal::Sealer;

/// How long a token is kept at most, however long it would count.
pub const LONGEST_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A token to be stored, and what seals it.
#[derive(Debug, Clone)]
pub struct CallerTokenSeal<'a> {
    /// What seals the run's key.
    pub sealer: &'a Sealer,
    /// The token.
    pub token: CallerToken,
}

/// Stores a token, in the place of the one before it. One that has ended is not stored, nor one that ends before the one of the same
/// person that is there: a page may be open since before the person signed in anew.
pub async fn store(broker: &Broker, run: RunId, wanted: &CallerTokenSeal<'_>, now: Timestamp) -> Result<()> {
    let until = wanted.token.until.min(clock::after(now, LONGEST_KEPT));
    let kept = clock::until(now, until);
    if kept.is_zero() {
        return Ok(());
    }
    let counts_longer = |known: CallerToken| known.user == wanted.token.user && known.until > until;
    if read(broker, wanted.sealer, run).await?.is_some_and(counts_longer) {
        return Ok(());
    }
    let key = secret::run_key(broker, wanted.sealer, run).await?;
    let sealed = key.seal_caller_token(&CallerToken { until, ..wanted.token.clone() }.written());
    Ok(broker.inbox.replace(run, InboxSlot::CallerToken, sealed.into(), kept).await?)
}

/// The token of a run; none: there is none, or it was sealed with another key.
pub async fn read(broker: &Broker, sealer: &Sealer, run: RunId) -> Result<Option<CallerToken>> {
    let Some(sealed) = broker.inbox.get(run, InboxSlot::CallerToken).await? else { return Ok(None) };
    let Some(key) = broker.inbox.get(run, InboxSlot::Key).await? else { return Ok(None) };
    let opened = || {
        let key = secret::opened(sealer, run, &key.payload)?;
        CallerToken::read(&key.open_caller_token(std::str::from_utf8(&sealed.payload).ok()?)?)
    };
    Ok(opened())
}
