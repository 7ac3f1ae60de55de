//! Where tokens are kept that were fetched with a secret, so that many calls at once fetch one of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::clock::{self, Timestamp};

/// How many tokens are kept.
const MOST_TOKENS: usize = 256;

/// A token that was fetched.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// What requests show.
    pub access: SecretString,
    /// What the next one is given for, if the server gave that, too.
    pub refresh: Option<SecretString>,
    /// When it is too old to be used; none: nobody knows, and a server will refuse it.
    pub renew_at: Option<Timestamp>,
}

/// Fetches the next token.
#[async_trait]
pub trait TokenFetch: Send + Sync {
    /// Fetches one; `last` is the one before it. The error is a sentence without secrets.
    async fn fetch(&self, last: Option<StoredToken>) -> Result<StoredToken, String>;
}

/// Keeps tokens. An implementation over several workers keeps to the same: of one key, one token is fetched at a time, and what came
/// of it, well or not, is for all who have waited.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// The token with this key: the one that is kept, unless it is too old or it is the one that a server has refused, or else the
    /// next one. A fetch that has begun goes on even if the one who began it has left: its token may be the only one there will be.
    async fn token(
        &self,
        key: &str,
        refused: Option<&SecretString>,
        fetch: Arc<dyn TokenFetch>,
    ) -> Result<StoredToken, String>;
}

/// Keeps tokens in the memory of this process.
#[derive(Default)]
pub struct LocalTokenStore {
    slots: Mutex<HashMap<String, TokenSlot>>,
    /// The fetches that are under way; they end with the store.
    fetches: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct TokenSlot {
    token: Option<StoredToken>,
    fetching: Option<RunningFetch>,
}

type RunningFetch = Shared<BoxFuture<'static, Result<StoredToken, String>>>;

impl fmt::Debug for LocalTokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalTokenStore({} tokens)", self.slots.lock().len())
    }
}

impl StoredToken {
    /// Whether it can be used, and is not the one that was refused.
    pub fn is_usable(&self, refused: Option<&SecretString>) -> bool {
        let is_refused = refused.is_some_and(|refused| refused.expose_secret() == self.access.expose_secret());
        !is_refused && self.renew_at.is_none_or(|at| clock::system().now() < at)
    }
}

#[async_trait]
impl TokenStore for LocalTokenStore {
    async fn token(
        &self,
        key: &str,
        refused: Option<&SecretString>,
        fetch: Arc<dyn TokenFetch>,
    ) -> Result<StoredToken, String> {
        let running = {
            let mut slots = self.slots.lock();
            if slots.len() >= MOST_TOKENS && !slots.contains_key(key) {
                slots.retain(|_, slot| slot.fetching.is_some());
            }
            let slot = slots.entry(key.to_owned()).or_default();
            match (&slot.fetching, &slot.token) {
                (Some(running), _) => running.clone(),
                (None, Some(token)) if token.is_usable(refused) => return Ok(token.clone()),
                (None, last) => {
                    let last = last.clone();
                    let running = async move { fetch.fetch(last).await }.boxed().shared();
                    // By itself: whoever waits for it may be gone before it has come, and what was given once is not given again.
                    let mut fetches = self.fetches.lock();
                    while fetches.try_join_next().is_some() {}
                    fetches.spawn(running.clone().map(drop));
                    slot.fetching.insert(running).clone()
                }
            }
        };
        let fetched = running.clone().await;
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(key)
            && slot.fetching.as_ref().is_some_and(|known| known.ptr_eq(&running))
        {
            slot.fetching = None;
            if let Ok(token) = &fetched {
                slot.token = Some(token.clone());
            }
        }
        fetched
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
    }

    #[async_trait]
    impl TokenFetch for Counted {
        async fn fetch(&self, last: Option<StoredToken>) -> Result<StoredToken, String> {
            let number = self.count.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            if self.fails {
                return Err("no".to_owned());
            }
            let refresh = last.map(|last| last.access);
            Ok(StoredToken { access: format!("token-{number}").into(), refresh, renew_at: None })
        }
    }

    fn counted(fails: bool) -> Arc<Counted> {
        Arc::new(Counted { count: AtomicUsize::new(0), gate: Semaphore::new(0), fails })
    }

    #[tokio::test]
    async fn many_at_once_fetch_one_token_and_one_that_was_refused_is_fetched_again() {
        let store = LocalTokenStore::default();
        let fetch = counted(false);
        let all = futures_util::future::join_all((0..50).map(|_| store.token("a", None, fetch.clone())));
        let open = async { fetch.gate.add_permits(2) };
        let (tokens, ()) = tokio::join!(all, open);
        assert!(tokens.into_iter().all(|token| token.unwrap().access.expose_secret() == "token-0"));
        let refused = SecretString::from("token-0");
        let next = store.token("a", Some(&refused), fetch.clone()).await.unwrap();
        assert_eq!((next.access.expose_secret(), next.refresh.unwrap().expose_secret()), ("token-1", "token-0"));
        store.token("a", Some(&refused), fetch.clone()).await.unwrap();
        assert_eq!(fetch.count.load(Ordering::SeqCst), 2, "another one has renewed it");
    }

    #[tokio::test]
    async fn a_failure_is_for_all_who_wait_and_a_fetch_outlives_who_began_it() {
        let store = LocalTokenStore::default();
        let fails = counted(true);
        fails.gate.add_permits(9);
        let all = futures_util::future::join_all((0..5).map(|_| store.token("a", None, fails.clone()))).await;
        assert!(all.into_iter().all(|token| token.unwrap_err() == "no"));
        let fetch = counted(false);
        let left = tokio::time::timeout(Duration::from_millis(1), store.token("b", None, fetch.clone())).await;
        assert!(left.is_err());
        fetch.gate.add_permits(1);
        assert_eq!(store.token("b", None, fetch.clone()).await.unwrap().access.expose_secret(), "token-0");
        assert_eq!(fetch.count.load(Ordering::SeqCst), 1);
    }
}
