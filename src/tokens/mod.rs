//! The tokens that servers outside have given, shared by all workers: sealed, in a bucket of the NATS server (`bucket`) or in the data
//! folder (`folder`).
//!
//! Always true here: nothing is stored in clear; of one grant one request is under way at a time, over all workers; a refresh token
//! that the server has replaced is not used again. Who asks has a lease. One that was left by a worker that is gone is taken over after a
//! while: whether the server had answered that worker nobody knows, so the refresh token that is stored is tried.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::broker::{Error, Result};
use crate::clock::{self, ExponentialBackoff};
use crate::ids::hex;
use crate::outside::secrets::{
    FetchedToken, KnownGrant, MOST_SETS_OF_SCOPES, StoredToken, TokenFetch, TokenFlights, TokenStore, WantedToken,
};
use crate::protocol::token_entry::{AccessToken, RenewalFailure, RenewalLease, TokenEntry};
use crate::seal::Sealer;

mod bucket;
mod folder;

pub use bucket::TokenBucket;
pub use folder::{TokenFolder, copy};

/// How long a request for a token may take, whatever it needs to find out before.
const FETCH_WITHIN: Duration = Duration::from_secs(40);
/// How long a worker has the right to ask alone. It has given up long before.
pub const LEASE: Duration = Duration::from_secs(60);
/// The clocks of two machines differ by less.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);
/// The pauses between two looks at what another worker is doing.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often it is tried to get a lease of a broker that does not answer.
const MOST_TRIES: u32 = 3;
/// How long a token that the server gave once is tried to be stored.
const STORE_WITHIN: Duration = Duration::from_secs(300);
/// How long an access token is kept that does not say how long it lasts, where nothing else is kept of its grant.
const KEPT_UNLIMITED: Duration = Duration::from_secs(24 * 3600);
/// How long the least is kept.
const KEPT_AT_LEAST: Duration = Duration::from_secs(600);

/// Where sealed entries are kept.
#[async_trait]
pub trait TokenBackend: Send + Sync + fmt::Debug {
    /// An entry, and its revision for [`TokenBackend::put_over`].
    async fn get(&self, key: &str) -> Result<(Option<String>, u64)>;

    /// Puts an entry over the revision that was read; a conflict if it was changed since. `kept`: how long it is of use.
    async fn put_over(&self, key: &str, sealed: String, revision: u64, kept: Option<Duration>) -> Result<()>;

    /// All entries by their keys.
    async fn list(&self) -> Result<Vec<(String, String)>>;

    /// Removes an entry; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Where that is, for people.
    fn place(&self) -> String;
}

/// Keeps tokens for all workers.
pub struct SharedTokenStore {
    entries: SealedEntries,
    flights: TokenFlights,
    lease: Duration,
}

/// The entries, opened and sealed.
#[derive(Debug, Clone)]
pub struct SealedEntries {
    backend: Arc<dyn TokenBackend>,
    sealer: Sealer,
}

/// What is stored of a grant.
enum StoredEntry {
    /// Nothing.
    None,
    /// This.
    Opened(Box<TokenEntry>),
    /// Something that was sealed with another key.
    Sealed,
}

impl StoredEntry {
    /// The entry; `is_needless`: one that cannot be opened counts as none.
    fn opened(self, is_needless: bool) -> Result<Option<TokenEntry>> {
        match self {
            Self::Opened(entry) => Ok(Some(*entry)),
            Self::Sealed if !is_needless => Err(Error::Refused {
                doing: "open stored tokens".to_owned(),
                reason: "they were sealed with another seal_key".to_owned(),
            }),
            Self::None | Self::Sealed => Ok(None),
        }
    }
}

impl SealedEntries {
    /// Those of a backend.
    pub fn new(backend: Arc<dyn TokenBackend>, sealer: Sealer) -> Self {
        Self { backend, sealer }
    }

    /// Where they are, for people.
    pub fn place(&self) -> String {
        self.backend.place()
    }

    /// The entry of a grant, and its revision.
    pub async fn read(&self, grant: &str) -> Result<(Option<TokenEntry>, u64)> {
        let (stored, revision) = self.stored(grant).await?;
        Ok((stored.opened(false)?, revision))
    }

    /// The same for who fetches its tokens: one that cannot be opened counts as none where it is not needed.
    async fn read_for(&self, fetch: &dyn TokenFetch, grant: &str) -> Result<(Option<TokenEntry>, u64)> {
        let (stored, revision) = self.stored(grant).await?;
        Ok((stored.opened(fetch.repair().is_none())?, revision))
    }

    async fn stored(&self, grant: &str) -> Result<(StoredEntry, u64)> {
        let (sealed, revision) = self.backend.get(grant).await?;
        let Some(sealed) = sealed else { return Ok((StoredEntry::None, revision)) };
        let opened = self.sealer.open_tokens(grant, &sealed).as_deref().and_then(TokenEntry::read);
        Ok((opened.map_or(StoredEntry::Sealed, |entry| StoredEntry::Opened(Box::new(entry))), revision))
    }

    /// Whether there is an entry that this key does not open.
    pub async fn is_sealed(&self, grant: &str) -> Result<bool> {
        Ok(matches!(self.stored(grant).await?.0, StoredEntry::Sealed))
    }

    /// Puts an entry over the revision that was read.
    pub async fn write(&self, grant: &str, entry: &TokenEntry, revision: u64) -> Result<()> {
        let sealed = self.sealer.seal_tokens(grant, &entry.written());
        self.backend.put_over(grant, sealed, revision, kept(entry)).await
    }

    /// Puts an entry in the place of whatever is there.
    pub async fn replace(&self, grant: &str, entry: &TokenEntry) -> Result<()> {
        loop {
            let (_, revision) = self.backend.get(grant).await?;
            match self.write(grant, entry, revision).await {
                Err(Error::Conflict { .. }) => {}
                written => return written,
            }
        }
    }

    /// Removes an entry.
    pub async fn remove(&self, grant: &str) -> Result<()> {
        self.backend.delete(grant).await
    }

    /// All that can be opened, by grant; how many others there are.
    pub async fn all(&self) -> Result<(Vec<(String, TokenEntry)>, usize)> {
        let sealed = self.backend.list().await?;
        let count = sealed.len();
        let open = |(grant, sealed): (String, String)| {
            let text = self.sealer.open_tokens(&grant, &sealed)?;
            Some((grant, TokenEntry::read(&text)?))
        };
        let opened: Vec<_> = sealed.into_iter().filter_map(open).collect();
        let others = count - opened.len();
        Ok((opened, others))
    }
}

/// How long an entry is of use; none: until it is removed, as a refresh token that was given once is not given again.
fn kept(entry: &TokenEntry) -> Option<Duration> {
    if entry.refresh.is_some() || entry.login.is_some() {
        return None;
    }
    let now = clock::system().now();
    let each = entry.access.values();
    let longest = each.map(|token| token.renew_at.map_or(KEPT_UNLIMITED, |at| clock::until(now, at))).max();
    Some(longest.unwrap_or_default().max(KEPT_AT_LEAST))
}

impl fmt::Debug for SharedTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedTokenStore").field(&self.entries.backend).finish()
    }
}

impl SharedTokenStore {
    /// One over these entries.
    pub fn new(entries: SealedEntries) -> Self {
        Self { entries, flights: TokenFlights::default(), lease: LEASE }
    }

    /// The same, with leases of another length.
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }
}

#[async_trait]
impl TokenStore for SharedTokenStore {
    async fn token(&self, wanted: WantedToken<'_>, fetch: Arc<dyn TokenFetch>) -> Result<StoredToken, String> {
        loop {
            // Read each time: a login may have been made or ended since.
            let entry = self.entries.read_for(&*fetch, wanted.grant).await;
            let (entry, _) = entry.map_err(|error| unread(&*fetch, &error))?;
            if let Some(token) = usable(entry.as_ref(), wanted.scopes, wanted.refused) {
                return Ok(token);
            }
            let flight = self.flights.join(wanted, || {
                let renewal = TokenRenewal {
                    entries: self.entries.clone(),
                    name: wanted.name.to_owned(),
                    grant: wanted.grant.to_owned(),
                    scopes: wanted.scopes.to_owned(),
                    refused: wanted.refused.cloned(),
                    fetch: fetch.clone(),
                    lease: self.lease,
                };
                renewal.run()
            });
            let outcome = flight.outcome.await;
            if *flight.scopes == *wanted.scopes {
                return outcome;
            }
        }
    }
}

fn usable(entry: Option<&TokenEntry>, scopes: &str, refused: Option<&SecretString>) -> Option<StoredToken> {
    let AccessToken { token, renew_at } = entry?.access.get(scopes)?;
    let token = StoredToken { access: token.as_str().into(), renew_at: *renew_at };
    token.is_usable(refused).then_some(token)
}

fn unread(fetch: &dyn TokenFetch, error: &Error) -> String {
    let whose = fetch.whose();
    match error {
        Error::Refused { reason, .. } => {
            let or = fetch.repair().map(|repair| format!(", or {repair}")).unwrap_or_default();
            format!("no token for {whose}: {reason}: give every worker the same{or}")
        }
        _ => {
            tracing::warn!("the tokens of {whose} cannot be read or stored: {error}");
            format!("no token for {whose}: the place where tokens are kept cannot be reached now")
        }
    }
}

/// A token being asked for, or waited for, in one process.
struct TokenRenewal {
    entries: SealedEntries,
    name: String,
    grant: String,
    scopes: String,
    refused: Option<SecretString>,
    fetch: Arc<dyn TokenFetch>,
    lease: Duration,
}

/// The lease of another worker, as it was seen first.
struct SeenLease {
    holder: String,
    since: Instant,
}

impl TokenRenewal {
    async fn run(self) -> Result<StoredToken, String> {
        let holder = hex(&rand::random::<[u8; 16]>());
        let mut pauses = ExponentialBackoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1);
        let mut seen: Option<SeenLease> = None;
        let mut begun = Instant::now();
        let mut tries = 0;
        loop {
            let (entry, revision) = self.read().await.map_err(|error| self.unread(&error))?;
            if let Some(token) = usable(entry.as_ref(), &self.scopes, self.refused.as_ref()) {
                return Ok(token);
            }
            let mut entry = entry.unwrap_or_default();
            // What came of the request that was waited for is for all who waited.
            if let (Some(waited), Some(failure)) = (&seen, &entry.failure)
                && (&waited.holder, &self.scopes) == (&failure.holder, &failure.scopes)
            {
                return Err(failure.words.clone());
            }
            match &entry.lease {
                // It was stored, although nobody said so.
                Some(lease) if lease.holder == holder => return self.ask(holder, entry, begun).await,
                Some(lease) if !self.is_over(lease, &mut seen) => {
                    pauses.pause().await;
                    continue;
                }
                _ => {}
            }
            begun = Instant::now();
            let until = clock::after(clock::system().now(), self.lease);
            entry.lease = Some(RenewalLease { holder: holder.clone(), until });
            entry.name.clone_from(&self.name);
            match self.entries.write(&self.grant, &entry, revision).await {
                Ok(()) => return self.ask(holder, entry, begun).await,
                Err(Error::Conflict { .. }) => {}
                Err(Error::Unavailable { .. }) if tries < MOST_TRIES => {
                    tries += 1;
                    pauses.pause().await;
                }
                Err(error) => return Err(self.unread(&error)),
            }
        }
    }

    /// Whether the lease of another worker has ended: it was seen for its whole length, by this machine's clock, or it ended long ago.
    fn is_over(&self, lease: &RenewalLease, seen: &mut Option<SeenLease>) -> bool {
        let since = match seen {
            Some(before) if before.holder == lease.holder => before.since,
            _ => seen.insert(SeenLease { holder: lease.holder.clone(), since: Instant::now() }).since,
        };
        since.elapsed() >= self.lease || clock::after(lease.until, CLOCK_DIFFERENCE) < clock::system().now()
    }

    /// Asks, with the lease.
    async fn ask(&self, holder: String, entry: TokenEntry, begun: Instant) -> Result<StoredToken, String> {
        let known = KnownGrant { refresh: entry.refresh.map(Into::into), login: entry.login };
        let within = FETCH_WITHIN.min(self.lease * 2 / 3).saturating_sub(begun.elapsed());
        let fetched = match tokio::time::timeout(within, self.fetch.fetch(known)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("no token for {}: its server did not answer in time", self.fetch.whose())),
        };
        self.store(&holder, &fetched).await;
        fetched.map(|fetched| fetched.token)
    }

    /// Stores what came of it, and gives the lease back. What was given once is not given again: it is tried for long.
    async fn store(&self, holder: &str, fetched: &Result<FetchedToken, String>) {
        let end = Instant::now() + STORE_WITHIN;
        let mut pauses = ExponentialBackoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1);
        loop {
            let stored = async {
                let (entry, revision) = self.read().await?;
                let entry = entry.filter(|entry| entry.lease.as_ref().is_some_and(|lease| lease.holder == holder));
                // Somebody has signed in or out meanwhile, or has taken the lease over: what is there is newer.
                let Some(mut entry) = entry else { return Ok(()) };
                keep(&mut entry, holder, &self.scopes, fetched);
                self.entries.write(&self.grant, &entry, revision).await
            };
            match stored.await {
                Ok(()) => return,
                Err(Error::Conflict { .. }) => {}
                Err(error @ Error::Refused { .. }) => return self.lost(&error),
                Err(error) if Instant::now() >= end => return self.lost(&error),
                Err(_) => pauses.pause().await,
            }
        }
    }

    fn lost(&self, error: &Error) {
        tracing::error!("what came of renewing {} could not be stored: {error}", self.fetch.whose());
    }

    async fn read(&self) -> Result<(Option<TokenEntry>, u64)> {
        self.entries.read_for(&*self.fetch, &self.grant).await
    }

    fn unread(&self, error: &Error) -> String {
        unread(&*self.fetch, error)
    }
}

/// Writes into an entry what came of a request.
fn keep(entry: &mut TokenEntry, holder: &str, scopes: &str, fetched: &Result<FetchedToken, String>) {
    entry.lease = None;
    match fetched {
        Err(words) => {
            let (holder, scopes, words) = (holder.to_owned(), scopes.to_owned(), words.clone());
            entry.failure = Some(RenewalFailure { holder, scopes, words });
        }
        Ok(fetched) => {
            entry.failure = None;
            if let Some(refresh) = &fetched.refresh {
                entry.refresh = Some(refresh.expose_secret().to_owned());
            }
            let now = clock::system().now();
            entry.access.retain(|_, token| token.renew_at.is_none_or(|at| now < at));
            if entry.access.len() >= MOST_SETS_OF_SCOPES {
                entry.access.clear();
            }
            let token = fetched.token.access.expose_secret().to_owned();
            entry.access.insert(scopes.to_owned(), AccessToken { token, renew_at: fetched.token.renew_at });
        }
    }
}
