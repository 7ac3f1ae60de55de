//! The ids of runs that were started with an `Idempotency-Key`: made from user and key with a secret that all gateways of a
//! broker share, so that nobody else can know them beforehand.

use std::time::Duration;

use futures_util::StreamExt;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::broker::{self, Bucket};
use crate::clock::{self, Timestamp};
use crate::gateway::GatewayState;
use crate::ids::{RunId, UserId, hex};
use crate::run::{self, Result};

/// Where the secret is kept.
const KEY: &str = "idempotency";
/// How long after the secret was made a run is looked for under the id that gateways without a secret gave it.
const OLD_IDS: Duration = Duration::from_secs(7 * 24 * 3600);

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct StoredSecret {
    secret: String,
    /// When it was made; none if there was no run yet, so that none can have an id that was made without it.
    since: Option<Timestamp>,
}

struct IdempotencySecret {
    key: hmac::Key,
    since: Option<Timestamp>,
}

/// The secret, once it is known.
#[derive(Default)]
pub struct IdempotencyKeys(OnceCell<IdempotencySecret>);

impl IdempotencyKeys {
    /// The run that a key of a user names: the same on every gateway.
    pub async fn run(&self, gateway: &GatewayState, user: Option<&UserId>, key: &str) -> Result<RunId> {
        let secret = self.0.get_or_try_init(|| secret(gateway)).await?;
        if secret.since.is_some_and(|since| clock::until(since, gateway.clock.now()) < OLD_IDS) {
            // Begun before an upgrade, and asked for again after it. Anybody can know such an id: only the user's own run
            // counts.
            let old = RunId::for_key(user, key);
            let created = match run::created(&gateway.broker, old).await {
                Err(run::Error::Broker(error)) => return Err(error.into()),
                // What cannot be read is nobody's.
                created => created.ok().flatten(),
            };
            if created.is_some_and(|created| created.user.as_ref() == user) {
                return Ok(old);
            }
        }
        Ok(RunId::keyed(&secret.key, user, key))
    }
}

/// The secret of this broker's gateways, which the first of them makes.
async fn secret(gateway: &GatewayState) -> Result<IdempotencySecret> {
    let catalogue = &gateway.broker.catalogue;
    let stored = match catalogue.get(Bucket::Gateways, KEY).await? {
        Some(stored) => stored,
        None => {
            let has_runs = match gateway.broker.log.scan().await {
                Ok(mut scan) => scan.next().await.is_some(),
                Err(_) => true,
            };
            let since = has_runs.then(|| gateway.clock.now());
            let new = StoredSecret { secret: hex(&rand::random::<[u8; 32]>()), since };
            let new = serde_json::to_vec(&new).expect("it is JSON");
            catalogue.put_first(Bucket::Gateways, KEY, new.into()).await?
        }
    };
    let kept: StoredSecret = crate::bounds::parse(&stored).map_err(|error| broker::Error::Refused {
        doing: "read the secret of Idempotency-Keys".to_owned(),
        reason: format!("the entry {KEY} of the bucket fa_gateways cannot be read ({error})"),
    })?;
    Ok(IdempotencySecret { key: hmac::Key::new(hmac::HMAC_SHA256, kept.secret.as_bytes()), since: kept.since })
}
