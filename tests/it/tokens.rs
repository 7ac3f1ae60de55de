//! Tokens that workers share: each store here is a worker of its own, over one place where they are kept.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fastagency::broker::{self, Broker, Error, embedded};
use fastagency::outside::secrets::{FetchedToken, KnownGrant, StoredToken, TokenFetch, TokenStore, WantedToken};
use fastagency::seal::Sealer;
use fastagency::tokens::{SealedEntries, SharedTokenStore, TokenBackend, TokenBucket, TokenFolder};
use futures_util::future::join_all;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;

mod login;
mod login_server;

/// How long a lease of the tests is.
const LEASE: Duration = Duration::from_millis(1500);

/// A place where tokens are kept.
struct Place {
    backend: Arc<dyn TokenBackend>,
    dir: TempDir,
    _server: Option<NatsServer>,
    _broker: Option<Broker>,
}

impl Place {
    async fn folder(_test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Some(Self { backend: Arc::new(TokenFolder::new(dir.path())), dir, _server: None, _broker: None })
    }

    async fn embedded(_test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let broker = embedded::open(dir.path()).unwrap();
        let backend = Arc::new(TokenBucket::new(broker.catalogue.clone()));
        Some(Self { backend, dir, _server: None, _broker: Some(broker) })
    }

    async fn nats(test: &str) -> Option<Self> {
        let server = NatsServer::start(test)?;
        let backend = Arc::new(TokenBucket::new(server.broker().await.catalogue));
        Some(Self { backend, dir: tempfile::tempdir().unwrap(), _server: Some(server), _broker: None })
    }

    fn entries(&self) -> SealedEntries {
        SealedEntries::new(self.backend.clone(), Sealer::new("seal-key".into()))
    }

    fn worker(&self) -> SharedTokenStore {
        SharedTokenStore::new(self.entries()).with_lease(LEASE)
    }
}

macro_rules! token_conformance {
    ($($scenario:ident),* $(,)?) => {
        mod in_folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Place::folder("").await.unwrap()).await;
            })*
        }
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                super::$scenario(super::Place::embedded("").await.unwrap()).await;
            })*
        }
        mod on_nats {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                if let Some(place) = super::Place::nats(concat!("tokens::on_nats::", stringify!($scenario))).await {
                    super::$scenario(place).await;
                }
            })*
        }
    };
}

token_conformance!(
    one_token_is_fetched_for_all_workers,
    sets_of_scopes_share_a_refresh_token_and_no_worker_uses_one_twice,
    a_worker_that_dies_while_it_asks_delays_the_others_for_its_lease_only,
    a_failure_is_for_all_who_waited_on_every_worker,
    what_is_stored_opens_only_with_the_key,
    what_the_key_does_not_open_is_fetched_anew_where_nobody_has_to_sign_in,
);

/// A server that gives a new refresh token each time, and takes each one once.
#[derive(Default)]
struct RotatingServer {
    asked: AtomicUsize,
    valid: Mutex<String>,
    /// A refresh token came that was used before.
    was_reused: AtomicBool,
    /// Refuses everything.
    refuses: AtomicBool,
    /// Answers nothing.
    hangs: AtomicBool,
    /// Whether a token is given without a refresh token, as one for the program's own name and secret.
    gives_anew: AtomicBool,
    /// While it is set, a token takes a permit.
    gate: Option<Arc<Semaphore>>,
}

#[async_trait]
impl TokenFetch for RotatingServer {
    async fn fetch(&self, known: KnownGrant) -> Result<FetchedToken, String> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(format!("refused {number}"));
        }
        let shown = known.refresh.map(|token| token.expose_secret().to_owned()).unwrap_or_default();
        let mut valid = self.valid.lock();
        if *valid != shown && !self.gives_anew.load(Ordering::SeqCst) {
            self.was_reused.store(true, Ordering::SeqCst);
            return Err("used before".to_owned());
        }
        *valid = format!("refresh-token-{number}");
        let token = StoredToken { access: format!("access-token-{number}").into(), renew_at: None };
        Ok(FetchedToken { token, refresh: Some(valid.as_str().into()) })
    }

    fn whose(&self) -> String {
        "the secret \"crm\"".to_owned()
    }

    fn repair(&self) -> Option<String> {
        (!self.gives_anew.load(Ordering::SeqCst)).then(|| "run `fastagency login crm`".to_owned())
    }
}

fn rotating_server() -> Arc<RotatingServer> {
    Arc::default()
}

fn wanted<'a>(scopes: &'a str, refused: Option<&'a SecretString>) -> WantedToken<'a> {
    WantedToken { name: "crm", grant: "grant_1", scopes, refused }
}

async fn one_token_is_fetched_for_all_workers(place: Place) {
    let server = rotating_server();
    let workers: Vec<SharedTokenStore> = (0..4).map(|_| place.worker()).collect();
    let all = || {
        let calls = workers.iter().flat_map(|worker| (0..10).map(move |_| worker));
        let calls: Vec<_> = calls.map(|worker| worker.token(wanted("", None), server.clone())).collect();
        join_all(calls)
    };
    let tokens: BTreeSet<String> =
        all().await.into_iter().map(|token| token.unwrap().access.expose_secret().to_owned()).collect();
    assert_eq!(tokens.into_iter().collect::<Vec<_>>(), ["access-token-0"]);
    // A server refuses it everywhere at once: one other token comes.
    let refused = SecretString::from("access-token-0");
    let again = join_all(workers.iter().map(|worker| worker.token(wanted("", Some(&refused)), server.clone()))).await;
    assert!(again.into_iter().all(|token| token.unwrap().access.expose_secret() == "access-token-1"));
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    // A worker that starts later asks nobody.
    place.worker().token(wanted("", None), server.clone()).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

async fn sets_of_scopes_share_a_refresh_token_and_no_worker_uses_one_twice(place: Place) {
    let server = rotating_server();
    let workers: Vec<SharedTokenStore> = (0..3).map(|_| place.worker()).collect();
    let sets = ["read", "write", "read write"];
    for round in 0..3 {
        let refused: Vec<SecretString> = (0..3 * round).map(|number| format!("access-token-{number}").into()).collect();
        for refused in refused.iter().map(Some).chain([None]) {
            let each = workers.iter().flat_map(|worker| sets.map(|scopes| (worker, scopes)));
            let calls = each.map(|(worker, scopes)| worker.token(wanted(scopes, refused), server.clone()));
            for token in join_all(calls).await {
                token.unwrap();
            }
        }
    }
    assert!(server.asked.load(Ordering::SeqCst) > 3);
    assert!(!server.was_reused.load(Ordering::SeqCst), "a refresh token was used twice");
}

async fn a_worker_that_dies_while_it_asks_delays_the_others_for_its_lease_only(place: Place) {
    let hanging = Arc::new(RotatingServer { hangs: AtomicBool::new(true), ..RotatingServer::default() });
    let (first, second) = (place.worker(), place.worker());
    let asked = hanging.clone();
    // It dies as a killed process does: nothing is given back.
    let dead = async {
        tokio::select! {
            _ = first.token(wanted("", None), hanging.clone()) => panic!("it gave a token"),
            () = async { eventually("it asks", async || asked.asked.load(Ordering::SeqCst) == 1).await; } => {}
        }
    };
    dead.await;
    drop(first);
    let server = rotating_server();
    let begun = Instant::now();
    let token = second.token(wanted("", None), server.clone()).await.unwrap();
    assert_eq!(token.access.expose_secret(), "access-token-0");
    assert!(begun.elapsed() >= LEASE, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < LEASE + Duration::from_secs(10), "{:?}", begun.elapsed());
}

async fn a_failure_is_for_all_who_waited_on_every_worker(place: Place) {
    let gate = Arc::new(Semaphore::new(0));
    let server = Arc::new(RotatingServer { gate: Some(gate.clone()), ..RotatingServer::default() });
    server.refuses.store(true, Ordering::SeqCst);
    let watched: Vec<Arc<WatchedPlace>> = (0..4).map(|_| WatchedPlace::new(&place, 0)).collect();
    let workers: Vec<SharedTokenStore> = watched.iter().map(WatchedPlace::worker).collect();
    let calls = join_all(workers.iter().map(|worker| worker.token(wanted("", None), server.clone())));
    let open = async {
        // Whoever has looked three times has seen that another one asks.
        let waiting = || watched.iter().filter(|place| place.gets.load(Ordering::SeqCst) >= 3).count();
        eventually("three wait", async || waiting() == 3).await;
        gate.add_permits(9);
    };
    let (tokens, ()) = tokio::join!(calls, open);
    for token in tokens {
        assert_eq!(token.unwrap_err(), "refused 0");
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    server.refuses.store(false, Ordering::SeqCst);
    workers[0].token(wanted("", None), server.clone()).await.unwrap();
}

async fn what_is_stored_opens_only_with_the_key(place: Place) {
    let server = rotating_server();
    place.worker().token(wanted("", None), server.clone()).await.unwrap();
    for (key, sealed) in place.backend.list().await.unwrap() {
        assert_eq!(key, "grant_1");
        assert!(!sealed.contains("token") && !sealed.contains("crm"), "{sealed}");
    }
    assert!(files_hold_no_token(place.dir.path()));
    let entry = place.entries().read("grant_1").await.unwrap().0.unwrap();
    assert_eq!(entry.refresh.as_deref(), Some("refresh-token-0"));
    let other = SealedEntries::new(place.backend.clone(), Sealer::new("another key".into()));
    let why = SharedTokenStore::new(other.clone()).token(wanted("", None), server.clone()).await.unwrap_err();
    let words = "sealed with another seal_key: give every worker the same, or run `fastagency login crm`";
    assert!(why.contains(words), "{why}");
    assert_eq!(other.all().await.unwrap().1, 1, "it is counted, and not read");
    // With the new key and the one before it, it opens.
    let rotated = Sealer::new("another key".into()).with_previous(vec!["seal-key".into()]);
    let rotated = SharedTokenStore::new(SealedEntries::new(place.backend.clone(), rotated));
    assert_eq!(rotated.token(wanted("", None), server.clone()).await.unwrap().access.expose_secret(), "access-token-0");
    place.entries().remove("grant_1").await.unwrap();
    assert!(place.entries().read("grant_1").await.unwrap().0.is_none());
}

async fn what_the_key_does_not_open_is_fetched_anew_where_nobody_has_to_sign_in(place: Place) {
    let server = rotating_server();
    server.gives_anew.store(true, Ordering::SeqCst);
    place.worker().token(wanted("", None), server.clone()).await.unwrap();
    let other = SealedEntries::new(place.backend.clone(), Sealer::new("another key".into()));
    assert!(other.is_sealed("grant_1").await.unwrap());
    let workers: Vec<_> = (0..3).map(|_| SharedTokenStore::new(other.clone()).with_lease(LEASE)).collect();
    let tokens = join_all(workers.iter().map(|worker| worker.token(wanted("", None), server.clone()))).await;
    let tokens: BTreeSet<String> =
        tokens.into_iter().map(|token| token.unwrap().access.expose_secret().to_owned()).collect();
    assert_eq!(tokens.into_iter().collect::<Vec<_>>(), ["access-token-1"], "one for all workers");
    assert_eq!(other.all().await.unwrap().1, 0, "it has taken the place of the one before");
}

/// Whether no file below a folder has the text of a token in it.
fn files_hold_no_token(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().all(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return files_hold_no_token(&path);
        }
        let bytes = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        !text.contains("access-token") && !text.contains("refresh-token")
    })
}

/// A place as one worker sees it: how often it has looked, and how many of its puts after the first one come to nothing.
#[derive(Debug)]
struct WatchedPlace {
    inner: Arc<dyn TokenBackend>,
    gets: AtomicUsize,
    puts: AtomicUsize,
    fails: usize,
}

impl WatchedPlace {
    fn new(place: &Place, fails: usize) -> Arc<Self> {
        let inner = place.backend.clone();
        Arc::new(Self { inner, gets: AtomicUsize::new(0), puts: AtomicUsize::new(0), fails })
    }

    fn worker(self: &Arc<Self>) -> SharedTokenStore {
        SharedTokenStore::new(SealedEntries::new(self.clone(), Sealer::new("seal-key".into())))
    }
}

#[async_trait]
impl TokenBackend for WatchedPlace {
    async fn get(&self, key: &str) -> broker::Result<(Option<String>, u64)> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.inner.get(key).await
    }

    async fn put_over(&self, key: &str, sealed: String, revision: u64, kept: Option<Duration>) -> broker::Result<()> {
        let number = self.puts.fetch_add(1, Ordering::SeqCst);
        if (1..=self.fails).contains(&number) {
            return Err(Error::Unavailable { doing: "put".to_owned(), source: None });
        }
        self.inner.put_over(key, sealed, revision, kept).await
    }

    async fn list(&self) -> broker::Result<Vec<(String, String)>> {
        self.inner.list().await
    }

    async fn delete(&self, key: &str) -> broker::Result<()> {
        self.inner.delete(key).await
    }

    fn place(&self) -> String {
        self.inner.place()
    }
}

#[tokio::test]
async fn a_token_that_was_given_once_is_stored_however_often_that_fails() {
    let place = Place::folder("").await.unwrap();
    let away = WatchedPlace::new(&place, 5);
    away.worker().token(wanted("", None), rotating_server()).await.unwrap();
    assert_eq!(away.puts.load(Ordering::SeqCst), 7);
    let entry = place.entries().read("grant_1").await.unwrap().0.unwrap();
    assert_eq!((entry.refresh.as_deref(), entry.lease), (Some("refresh-token-0"), None));
}
