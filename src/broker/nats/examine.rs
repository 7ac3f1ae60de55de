//! Looking at a server without changing anything on it: for whoever asks what is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::connect::{self, ConnectError};
use super::consumers::consumer_config;
use super::contract::NatsContract;
use super::headers::EXPECTED_SUBJECT;
use super::server::{NatsConnection, STREAM_NOT_FOUND};
use super::streams;
use crate::broker::contract::FastAgencyContract;
use crate::broker::subjects::{self, FASTAGENCY_STREAM, QUEUE_STREAM, RUNS_STREAM};
use crate::broker::{Bucket, Catalogue, Error, RecordLane, Result};
use crate::clock::Timestamp;
use crate::config::NatsConfig;
use crate::ids::{Name, RunId};

/// How long one question may take: a server that says nothing does not answer later either.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(3);

/// What was found on a server.
pub struct ServerExamination {
    /// Its version.
    pub version: String,
    /// How long it took to answer.
    pub round_trip: Duration,
    /// How far its clock is ahead of this machine's, in milliseconds; none: it does not say.
    pub ahead_millis: Option<i64>,
    /// The largest message that it takes, in bytes.
    pub max_payload: usize,
    /// What the account may store and has stored, in bytes; a limit below 0: none.
    pub storage: Option<(i64, u64)>,
    /// The streams by name; an error where one may not be looked at.
    pub streams: BTreeMap<String, Result<Option<StreamExamination>>>,
    /// The streams of ours that are there and have other settings than this version wants.
    pub differing: Vec<String>,
    /// What this login may do with runs; an error says what it may not.
    pub permissions: Vec<(LoginPermission, Result<()>)>,
    /// What exists.
    pub catalogue: Arc<dyn Catalogue>,
    /// FastAgency's side of it, with the login for that; none where the login may not look at its stream and no other is named.
    pub contract: Option<Arc<dyn FastAgencyContract>>,
    /// Whether the login of tools with `nats` is let in; none: it is this one.
    pub tools: Option<std::result::Result<(), ConnectError>>,
}

/// What a login may do with runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginPermission {
    /// Append records.
    Append,
    /// Start runs whose first record is their job.
    Start,
    /// Count those that no worker has.
    CountNew,
    /// Take and settle them; asked of a login that may settle jobs.
    SettleNew,
}

/// A stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamExamination {
    /// How many copies it has.
    pub replicas: u64,
    /// How many of its copies are not up to date or away.
    pub behind: u64,
    /// What it may hold, in bytes; below 1: no limit.
    pub max_bytes: i64,
    /// What it holds, in bytes.
    pub bytes: u64,
    /// Where it keeps it: `file` or `memory`.
    pub storage: String,
    /// After how long messages are thrown away by themselves, in nanoseconds; 0: never.
    pub max_age: u64,
}

/// Looks at the server. The error is for the connection itself.
pub async fn examine(settings: &NatsConfig, name: &str) -> std::result::Result<ServerExamination, ConnectError> {
    let opened = connect::open(settings, name).await?;
    let url = connect::shown(&settings.url);
    connect::check_version(&opened.client, &url)?;
    let info = opened.client.server_info();
    let server = NatsConnection::new(opened);
    connect::check_jetstream(&server, &url).await?;
    let begun = std::time::Instant::now();
    let account: Result<Value> =
        within(server.api_plainly("look at the account", "INFO".to_owned(), &Value::Null)).await;
    let round_trip = begun.elapsed();
    let storage = account
        .ok()
        .and_then(|account| Some((account["limits"]["max_storage"].as_i64()?, account["storage"].as_u64()?)));
    let mut found_streams = BTreeMap::new();
    let mut ahead_millis = None;
    let buckets = Bucket::ALL.map(|bucket| subjects::bucket_stream(&subjects::bucket_name(bucket)));
    let names = [RUNS_STREAM, QUEUE_STREAM].map(str::to_owned);
    for name in names.into_iter().chain(buckets) {
        let asked = Timestamp::now();
        let found = within(look_at(&server, &name)).await;
        if let Ok(Some((_, Some(there)))) = &found {
            let middle = (asked.as_millisecond() + Timestamp::now().as_millisecond()) / 2;
            ahead_millis.get_or_insert(there.as_millisecond() - middle);
        }
        found_streams.insert(name, found.map(|found| found.map(|(stream, _)| stream)));
    }
    let differing = within(streams::differing(&server)).await.unwrap_or_default();
    let server = Arc::new(server);
    let beside_python = match &settings.python {
        None => server.clone(),
        Some(login) => Arc::new(NatsConnection::new(connect::open(&settings.with(login), name).await?)),
    };
    let found = within(look_at(&beside_python, FASTAGENCY_STREAM)).await;
    let contract = match (&settings.python, &found) {
        (None, Err(Error::Denied { .. })) => None,
        _ => {
            found_streams.insert(FASTAGENCY_STREAM.to_owned(), found.map(|found| found.map(|(stream, _)| stream)));
            Some(beside_python)
        }
    };
    let tools = match &settings.tools {
        None => None,
        Some(login) => Some(connect::open(&settings.with(login), name).await.map(drop)),
    };
    let mut permissions = Vec::new();
    if matches!(found_streams.get(RUNS_STREAM), Some(Ok(Some(_)))) {
        permissions = permissions_of(&server).await;
    }
    Ok(ServerExamination {
        version: info.version,
        round_trip,
        ahead_millis,
        max_payload: info.max_payload,
        storage,
        streams: found_streams,
        tools,
        differing,
        permissions,
        catalogue: server,
        contract: contract.map(|server| -> Arc<dyn FastAgencyContract> { Arc::new(NatsContract::new(server)) }),
    })
}

async fn within<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    let silent = || Error::Unavailable { doing: "ask the server".to_owned(), source: None };
    tokio::time::timeout(QUESTION_TIMEOUT, asked).await.unwrap_or_else(|_| Err(silent()))
}

async fn look_at(server: &NatsConnection, name: &str) -> Result<Option<(StreamExamination, Option<Timestamp>)>> {
    #[derive(Deserialize)]
    struct StreamInfo {
        config: StreamConfig,
        state: StreamState,
        cluster: Option<StreamCluster>,
        /// When the server said it.
        ts: Option<String>,
    }
    #[derive(Deserialize)]
    struct StreamConfig {
        num_replicas: u64,
        max_bytes: i64,
        storage: String,
        #[serde(default)]
        max_age: u64,
    }
    #[derive(Deserialize)]
    struct StreamState {
        bytes: u64,
    }
    #[derive(Deserialize)]
    struct StreamCluster {
        #[serde(default)]
        replicas: Vec<ClusterPeer>,
    }
    #[derive(Deserialize)]
    struct ClusterPeer {
        #[serde(default)]
        current: bool,
        #[serde(default)]
        offline: bool,
    }
    let doing = format!("look at the stream {name}");
    let info: StreamInfo = match server.api(&doing, format!("STREAM.INFO.{name}"), &Value::Null).await? {
        Ok(info) => info,
        Err(error) if error.err_code == STREAM_NOT_FOUND => return Ok(None),
        Err(error) => return Err(error.into_broker(&doing)),
    };
    let peers = info.cluster.map(|cluster| cluster.replicas).unwrap_or_default();
    let stream = StreamExamination {
        replicas: info.config.num_replicas,
        behind: peers.iter().filter(|peer| !peer.current || peer.offline).count() as u64,
        max_bytes: info.config.max_bytes,
        bytes: info.state.bytes,
        storage: info.config.storage,
        max_age: info.config.max_age,
    };
    Ok(Some((stream, info.ts.and_then(|at| at.parse().ok()))))
}

async fn permissions_of(server: &NatsConnection) -> Vec<(LoginPermission, Result<()>)> {
    let (run, workflow) = (RunId::random(), Name::foreign("doctor").expect("a name"));
    let append = try_append(server, run, subjects::record(run, RecordLane::Did));
    let start = try_append(server, run, subjects::new_run(run, &workflow));
    let nobodys = format!("{}~", subjects::new_runs_consumer(&workflow));
    let count = async { consumer_config(server, RUNS_STREAM, &nobodys).await.map(drop) };
    let mut found = vec![
        (LoginPermission::Append, within(append).await),
        (LoginPermission::Start, within(start).await),
        (LoginPermission::CountNew, within(count).await),
    ];
    // A login that settles no jobs is no worker's.
    if within(try_settle(server, QUEUE_STREAM, &nobodys)).await.is_ok() {
        found.push((LoginPermission::SettleNew, within(try_settle(server, RUNS_STREAM, &nobodys)).await));
    }
    found
}

/// Tries to settle what no consumer has brought: nobody answers, where it is not refused.
async fn try_settle(server: &NatsConnection, stream: &str, consumer: &str) -> Result<()> {
    const DOING: &str = "settle a delivery";
    let receipt = format!("$JS.ACK.{stream}.{consumer}.1.1.1.0.0");
    let request = Request::new().payload(Bytes::from_static(b"+WPI")).timeout(None);
    server.answered(DOING, &receipt, server.client.send_request(receipt.clone(), request)).await.map(drop)
}

/// Tries to append where nothing can be appended: a server that refuses it for its sequence would have let us.
async fn try_append(server: &NatsConnection, run: RunId, subject: String) -> Result<()> {
    const NEVER: u64 = u64::MAX >> 2;
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_SUBJECT, subjects::records(run));
    match server.store("append a record", subject, headers, Bytes::from_static(b"{}"), Some(NEVER)).await {
        Err(Error::Conflict { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
