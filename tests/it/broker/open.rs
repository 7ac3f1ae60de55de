//! Opening a broker: what is said when it does not succeed.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use fastagency::broker::nats::{self, ConnectError};
use fastagency::broker::{RecordLane, embedded};
use fastagency::config::NatsConfig;
use fastagency::ids::RunId;

use crate::support::eventually::eventually_within;
use crate::support::nats_server::NatsServer;

fn settings(url: String) -> NatsConfig {
    NatsConfig { url, connect_wait: Duration::from_secs(1), ..Default::default() }
}

async fn refusal(settings: NatsConfig) -> ConnectError {
    nats::connect(&settings, "test").await.err().expect("it is refused")
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let error = refusal(settings("nats://u:geheim@127.0.0.1:1".to_owned())).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("nats://127.0.0.1:1") && !error.to_string().contains("geheim"), "{error}");
}

#[tokio::test]
async fn a_server_that_comes_later_is_waited_for() {
    let Some(mut server) = NatsServer::start("broker::open::a_server_that_comes_later_is_waited_for") else { return };
    server.kill();
    let patient = NatsConfig { url: server.url(), connect_wait: Duration::from_secs(20), ..Default::default() };
    let connecting = tokio::spawn(async move { nats::connect(&patient, "test").await.map(drop) });
    tokio::task::yield_now().await;
    let started = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = started.await.unwrap();
    connecting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_said() {
    let test = "broker::open::a_wrong_password_is_said";
    let Some(server) = NatsServer::start_with(test, &["-js", "--user", "u", "--pass", "p"]) else { return };
    let mut wrong = settings(server.url());
    wrong.user = Some("u".to_owned());
    wrong.password = Some("geheim".into());
    let error = refusal(wrong.clone()).await;
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error:?}");
    assert!(error.to_string().contains("\"u\"") && !format!("{error:?}").contains("geheim"));
    assert!(matches!(refusal(settings(server.url())).await, ConnectError::Unauthorized { .. }));
    wrong.password = Some("p".into());
    nats::connect(&wrong, "test").await.unwrap();
}

#[tokio::test]
async fn a_login_in_the_url_is_used() {
    let test = "broker::open::a_login_in_the_url_is_used";
    let Some(server) = NatsServer::start_with(test, &["-js", "--user", "u", "--pass", "p@:1"]) else { return };
    let with = |login: &str| settings(server.url().replace("nats://", &format!("nats://{login}@")));
    nats::connect(&with("u:p%40%3A1"), "test").await.unwrap();
    let error = refusal(with("u:geheim")).await;
    assert!(matches!(error, ConnectError::Unauthorized { .. }), "{error:?}");
    assert!(error.to_string().contains("the user in the URL") && !format!("{error:?}").contains("geheim"), "{error}");
    let Some(server) = NatsServer::start_with(test, &["-js", "--auth", "t0ken"]) else { return };
    nats::connect(&settings(server.url().replace("nats://", "nats://t0ken@")), "test").await.unwrap();
}

#[tokio::test]
async fn a_server_without_jetstream_is_said() {
    let Some(server) = NatsServer::start_with("broker::open::a_server_without_jetstream_is_said", &[]) else { return };
    let error = refusal(settings(server.url())).await;
    assert!(matches!(error, ConnectError::NoJetStream { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_said_where_it_is_required() {
    let test = "broker::open::a_server_without_tls_is_said_where_it_is_required";
    let Some(server) = NatsServer::start(test) else { return };
    let mut encrypted = settings(server.url());
    encrypted.tls.required = true;
    let error = refusal(encrypted).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn files_that_cannot_be_read_and_odd_urls_are_named() {
    let mut odd = settings("nats://127.0.0.1:1".to_owned());
    odd.credentials_file = Some("/nowhere/x.creds".into());
    let error = refusal(odd).await;
    assert!(matches!(error, ConnectError::Credentials { .. }), "{error:?}");
    assert!(error.to_string().contains("x.creds") && error.source().is_some());
    assert!(matches!(refusal(settings("http://x".to_owned())).await, ConnectError::Url { .. }));
}

#[tokio::test]
async fn a_data_folder_has_one_owner_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(embedded::running_address(dir.path()), None);
    let broker = embedded::open(dir.path()).unwrap();
    embedded::write_address(dir.path(), "http://localhost:8008").unwrap();
    assert_eq!(embedded::running_address(dir.path()).as_deref(), Some("http://localhost:8008"));
    let Err(error) = embedded::open(dir.path()) else { panic!("two owners") };
    assert!(error.to_string().contains("http://localhost:8008"), "{error}");
    drop(broker);
    assert_eq!(embedded::running_address(dir.path()), None);
    embedded::open(dir.path()).unwrap();
}

/// Nobody wakes the thread that synchronises the disk for a record that is stored where it is made.
#[tokio::test]
async fn a_lone_record_reaches_the_main_file_though_nobody_calls_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = embedded::open(dir.path()).unwrap();
    let record = b"a record that is stored alone";
    let (run, mut last, mut stored) = (RunId::random(), 0, 0);
    // The first of some is stored by the thread, the others are not.
    for some in [20, 2, 1] {
        for _ in 0..some {
            last = broker.log.append(run, RecordLane::Did, Bytes::from_static(record), last).await.unwrap();
        }
        stored += some;
        let in_main_file = || {
            let file = std::fs::read(dir.path().join("store.sqlite")).unwrap();
            file.windows(record.len()).filter(|part| part == record).count()
        };
        eventually_within(super::SOON, "the main file has it", async || in_main_file() >= stored).await;
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = embedded::open(dir.path()).unwrap();
    broker.log.append(RunId::random(), RecordLane::Did, "x".into(), 0).await.unwrap();
    drop(broker);
    let file = rusqlite::Connection::open(dir.path().join("store.sqlite")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let Err(error) = embedded::open(dir.path()) else { panic!("it was opened") };
    assert!(matches!(error, embedded::StoreOpenError::Newer { found: 99, .. }), "{error:?}");
}
