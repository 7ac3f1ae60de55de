//! Where tokens are kept that were fetched with a secret, so that many calls at once fetch one of them, and so that no refresh token
//! is used twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::clock::{self, Timestamp};
use crate::protocol::token_entry::LoginOrigin;

/// How many grants are kept, of those that can be asked for anew.
const MOST_GRANTS: usize = 256;
/// How many access tokens of one grant are kept: one for each set of scopes.
pub const MOST_SETS_OF_SCOPES: usize = 32;

/// A token that was fetched.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// What requests show.
    pub access: SecretString,
    /// When it is too old to be used; none: nobody knows, and a server will refuse it.
    pub renew_at: Option<Timestamp>,
}

/// What came of a fetch.
#[derive(Debug, Clone)]
pub struct FetchedToken {
    /// The token.
    pub token: StoredToken,
    /// What the next one of the grant is given for, if the server gave that, too: it takes the place of the one before.
    pub refresh: Option<SecretString>,
}

/// Which token is wanted.
#[derive(Debug, Clone, Copy)]
pub struct WantedToken<'a> {
    /// The secret that it belongs to, for people.
    pub name: &'a str,
    /// The grant: letters, digits, `_` and `-`. All access tokens of one grant come of one refresh token (RFC 6749, 6), so that
    /// only one of them is fetched at a time.
    pub grant: &'a str,
    /// What the token is to allow: scopes, separated by blanks.
    pub scopes: &'a str,
    /// The value that a server has refused.
    pub refused: Option<&'a SecretString>,
}

/// What is known of a grant before a token of it is fetched.
#[derive(Debug, Clone, Default)]
pub struct KnownGrant {
    /// The refresh token that the server gave last.
    pub refresh: Option<SecretString>,
    /// The login that the grant came from.
    pub login: Option<LoginOrigin>,
}

/// Fetches the next token.
#[async_trait]
pub trait TokenFetch: Send + Sync {
    /// Fetches one. The error is a sentence without secrets.
    async fn fetch(&self, known: KnownGrant) -> Result<FetchedToken, String>;

    /// Whose token it is, for people: `the secret "crm"`.
    fn whose(&self) -> String;

    /// What a person does if what is stored of the grant cannot be opened; none: it is not needed, as the next token is fetched without it.
    fn repair(&self) -> Option<String>;
}

/// Keeps tokens. An implementation over several workers keeps to the same: of one grant, one token is fetched at a time, and what
/// came of it, well or not, is for all who have waited for the same token.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// The token that is wanted: the one that is kept, unless it is too old or it is the one that a server has refused, or else the
    /// next one. A fetch that has begun goes on even if the one who began it has left: its token may be the only one there will be.
    async fn token(&self, wanted: WantedToken<'_>, fetch: Arc<dyn TokenFetch>) -> Result<StoredToken, String>;
}

/// A fetch that is under way, for all who wait for it.
#[derive(Clone)]
pub struct TokenFlight {
    /// What its token will allow.
    pub scopes: Arc<str>,
    /// Its outcome.
    pub outcome: Shared<BoxFuture<'static, Result<StoredToken, String>>>,
}

/// The fetches that are under way in this process: one at a time for each grant.
#[derive(Default)]
pub struct TokenFlights {
    running: Arc<Mutex<HashMap<String, TokenFlight>>>,
    /// They end with the store.
    tasks: Mutex<JoinSet<()>>,
}

impl TokenFlights {
    /// The fetch of this grant that is under way, or else a new one. It may be one of other scopes: who asked waits for it, and
    /// asks again.
    pub fn join<F>(&self, wanted: WantedToken<'_>, begin: impl FnOnce() -> F) -> TokenFlight
    where
        F: Future<Output = Result<StoredToken, String>> + Send + 'static,
    {
        let mut running = self.running.lock();
        if let Some(flight) = running.get(wanted.grant) {
            return flight.clone();
        }
        let (all, grant, fetch) = (Arc::downgrade(&self.running), wanted.grant.to_owned(), begin());
        let outcome = async move {
            let outcome = fetch.await;
            if let Some(all) = all.upgrade() {
                all.lock().remove(&grant);
            }
            outcome
        };
        let flight = TokenFlight { scopes: wanted.scopes.into(), outcome: outcome.boxed().shared() };
        running.insert(wanted.grant.to_owned(), flight.clone());
        // By itself: whoever waits for it may be gone before it has come, and what was given once is not given again.
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(flight.outcome.clone().map(drop));
        flight
    }
}

/// Keeps tokens in the memory of this process.
#[derive(Default)]
pub struct LocalTokenStore {
    grants: Arc<Mutex<HashMap<String, LocalGrant>>>,
    flights: TokenFlights,
}

#[derive(Default)]
struct LocalGrant {
    access: BTreeMap<String, StoredToken>,
    refresh: Option<SecretString>,
}

impl fmt::Debug for LocalTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalTokenStore({} grants)", self.grants.lock().len())
    }
}

impl StoredToken {
    /// Whether it can be used, and is not the one that was refused.
    pub fn is_usable(&self, refused: Option<&SecretString>) -> bool {
        let is_refused = refused.is_some_and(|refused| refused.expose_secret() == self.access.expose_secret());
        !is_refused && self.renew_at.is_none_or(|at| clock::system().now() < at)
    }
}

impl LocalGrant {
    fn usable(&self, scopes: &str, refused: Option<&SecretString>) -> Option<StoredToken> {
        self.access.get(scopes).filter(|token| token.is_usable(refused)).cloned()
    }

    fn keep(&mut self, scopes: &str, fetched: &FetchedToken) {
        if self.access.len() >= MOST_SETS_OF_SCOPES {
            self.access.clear();
        }
        self.access.insert(scopes.to_owned(), fetched.token.clone());
        if fetched.refresh.is_some() {
            self.refresh.clone_from(&fetched.refresh);
        }
    }
}

#[async_trait]
impl TokenStore for LocalTokenStore {
    async fn token(&self, wanted: WantedToken<'_>, fetch: Arc<dyn TokenFetch>) -> Result<StoredToken, String> {
        loop {
            let usable = |grants: &HashMap<String, LocalGrant>| {
                grants.get(wanted.grant).and_then(|grant| grant.usable(wanted.scopes, wanted.refused))
            };
            if let Some(token) = usable(&self.grants.lock()) {
                return Ok(token);
            }
            let flight = self.flights.join(wanted, || {
                let (grants, fetch) = (self.grants.clone(), fetch.clone());
                let (grant, scopes) = (wanted.grant.to_owned(), wanted.scopes.to_owned());
                let refused = wanted.refused.cloned();
                async move {
                    // One that ended a moment ago may have left it here.
                    let known = grants
                        .lock()
                        .get(&grant)
                        .map(|known| (known.usable(&scopes, refused.as_ref()), known.refresh.clone()));
                    let (usable, refresh) = known.unwrap_or_default();
                    if let Some(token) = usable {
                        return Ok(token);
                    }
                    let fetched = fetch.fetch(KnownGrant { refresh, login: None }).await?;
                    let mut grants = grants.lock();
                    if grants.len() >= MOST_GRANTS && !grants.contains_key(&grant) {
                        // A refresh token that was given once is not given again.
                        grants.retain(|_, grant| grant.refresh.is_some());
                    }
                    grants.entry(grant).or_default().keep(&scopes, &fetched);
                    Ok(fetched.token)
                }
            });
            let outcome = flight.outcome.await;
            if *flight.scopes == *wanted.scopes {
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    struct Counted {
        count: AtomicUsize,
        gate: Semaphore,
        fails: bool,
        /// The refresh tokens that it was given.
        given: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl TokenFetch for Counted {
        async fn fetch(&self, known: KnownGrant) -> Result<FetchedToken, String> {
            let number = self.count.fetch_add(1, Ordering::SeqCst);
            self.given.lock().push(known.refresh.map(|text| text.expose_secret().to_owned()).unwrap_or_default());
            self.gate.acquire().await.unwrap().forget();
            if self.fails {
                return Err("no".to_owned());
            }
            let token = StoredToken { access: format!("token-{number}").into(), renew_at: None };
            Ok(FetchedToken { token, refresh: Some(format!("refresh-{number}").into()) })
        }

        fn whose(&self) -> String {
            "the secret \"it\"".to_owned()
        }

        fn repair(&self) -> Option<String> {
            None
        }
    }

    fn counted(fails: bool) -> Arc<Counted> {
        Arc::new(Counted { count: AtomicUsize::new(0), gate: Semaphore::new(0), fails, given: Mutex::default() })
    }

    fn wanted<'a>(grant: &'a str, scopes: &'a str) -> WantedToken<'a> {
        WantedToken { name: "it", grant, scopes, refused: None }
    }

    #[tokio::test]
    async fn many_at_once_fetch_one_token_and_one_that_was_refused_is_fetched_again() {
        let store = LocalTokenStore::default();
        let fetch = counted(false);
        let all = futures_util::future::join_all((0..50).map(|_| store.token(wanted("a", ""), fetch.clone())));
        let open = async { fetch.gate.add_permits(2) };
        let (tokens, ()) = tokio::join!(all, open);
        assert!(tokens.into_iter().all(|token| token.unwrap().access.expose_secret() == "token-0"));
        let refused = SecretString::from("token-0");
        let again = WantedToken { refused: Some(&refused), ..wanted("a", "") };
        let next = store.token(again, fetch.clone()).await.unwrap();
        assert_eq!(next.access.expose_secret(), "token-1");
        store.token(again, fetch.clone()).await.unwrap();
        assert_eq!(fetch.count.load(Ordering::SeqCst), 2, "another one has renewed it");
        assert_eq!(*fetch.given.lock(), ["", "refresh-0"]);
    }

    #[tokio::test]
    async fn a_failure_is_for_all_who_wait_and_a_fetch_outlives_who_began_it() {
        let store = LocalTokenStore::default();
        let fails = counted(true);
        fails.gate.add_permits(9);
        let all = futures_util::future::join_all((0..5).map(|_| store.token(wanted("a", ""), fails.clone()))).await;
        assert!(all.into_iter().all(|token| token.unwrap_err() == "no"));
        let fetch = counted(false);
        let left = tokio::time::timeout(Duration::from_millis(1), store.token(wanted("b", ""), fetch.clone())).await;
        assert!(left.is_err());
        fetch.gate.add_permits(1);
        let token = store.token(wanted("b", ""), fetch.clone()).await.unwrap();
        assert_eq!(token.access.expose_secret(), "token-0");
        assert_eq!(fetch.count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn sets_of_scopes_of_one_grant_share_its_refresh_token_and_use_each_once() {
        let store = LocalTokenStore::default();
        let fetch = counted(false);
        fetch.gate.add_permits(9);
        let scopes = ["a", "b", "a b"];
        let all = futures_util::future::join_all(scopes.map(|scopes| store.token(wanted("g", scopes), fetch.clone())));
        let tokens: std::collections::BTreeSet<String> =
            all.await.into_iter().map(|token| token.unwrap().access.expose_secret().to_owned()).collect();
        assert_eq!(tokens.len(), 3, "each set of scopes has a token of its own");
        let mut given = fetch.given.lock().clone();
        given.sort();
        assert_eq!(given, ["", "refresh-0", "refresh-1"], "each refresh token was used once");
    }
}
