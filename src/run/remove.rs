//! Removing a run that has ended, everywhere: its log and inbox, its line in the lists, its copy in FastAgency's stream.

use crate::broker::Broker;
use crate::ids::{RunId, user_token};
use crate::run::record::{Body, Created, Origin, Record};
use crate::run::{Result, summary};

/// Removes a run; `created` is how it began. What is left is a tombstone, so that whoever is late meets a conflict. After a
/// failure it may be called again.
pub async fn remove(broker: &Broker, run: RunId, created: &Created) -> Result<()> {
    if created.origin != Origin::Gateway
        && let Some(contract) = &broker.contract
    {
        contract.purge(&user_token(created.user.as_ref()), run).await?;
    }
    let tombstone = Record::new(Body::Removed).payload();
    broker.log.purge(run, tombstone).await?;
    summary::unshelve(broker, created.user.as_ref(), run).await
}
