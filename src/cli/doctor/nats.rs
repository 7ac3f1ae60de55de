//! The NATS server: whether it is there, what it is, what we may do, and how it keeps what we store.

use std::time::Duration;

use serde_json::Value;

use super::{DoctorFindings, EmbeddedProcess};
use crate::broker::nats::examine::{LoginPermission, ServerExamination, StreamExamination};
use crate::broker::nats::{ConnectError, examine};
use crate::broker::subjects::{FASTAGENCY_STREAM, RUNS_STREAM};
use crate::broker::{Bucket, Error};
use crate::config::Config;
use crate::problem::chain;
use crate::run::directory::{WorkerCard, WorkflowCard};

const TOPIC: &str = "nats";
/// How long the server's monitoring may take to answer.
const MONITOR_WAIT: Duration = Duration::from_secs(3);
/// Clocks may differ by this much without anybody noticing: leases are counted by each machine's own.
const CLOCKS_DIFFER: i64 = 1000;
/// A stream that is so full is soon full, in percent.
const NEARLY_FULL: u64 = 80;
/// What `nats-server.conf` of this project sets, and docs/explanation/broker.md advises.
const RECOMMENDED_SYNC: Duration = Duration::from_secs(1);
/// With so many copies of a stream, one machine may lose its power and nothing is lost.
const ENOUGH_COPIES: u64 = 3;

/// Who is there, as the server's catalogue tells it.
#[derive(Default)]
pub(super) struct KnownTiers {
    pub workers: Vec<WorkerCard>,
    /// Workflows that somebody announced whom we do not know: Python workers.
    pub foreign: Vec<String>,
    /// Whether the server could be asked.
    pub asked: bool,
}

pub(super) async fn look(
    config: &Config,
    monitor: &str,
    all: &EmbeddedProcess,
    findings: &mut DoctorFindings,
) -> KnownTiers {
    // What is not set was said already.
    let Ok(settings) = config.nats() else { return KnownTiers::default() };
    // One try: `doctor` reports the present state, and does not wait for a server to come up.
    let settings = crate::config::NatsConfig { connect_wait: Duration::ZERO, ..settings.clone() };
    let examined = match examine::examine(&settings, &crate::cli::project::nats_name(config, "doctor")).await {
        Ok(examined) => examined,
        Err(error) => {
            unusable(&error, all, findings);
            return KnownTiers::default();
        }
    };
    findings.ok(
        TOPIC,
        format!("a server {} answers within {:.1} ms", examined.version, examined.round_trip.as_secs_f64() * 1e3),
    );
    clocks(&examined, findings);
    storage(&examined, findings);
    for (name, found) in &examined.streams {
        stream(name, found, settings.replicas as u64, findings);
    }
    for name in &examined.differing {
        findings.warn(
            TOPIC,
            format!("the stream {name} has other settings than this version wants"),
            "run `fastagency nats setup` with the operator's login, or start a tier whose login may change streams",
        );
    }
    for (what, may) in &examined.permissions {
        permission(*what, may, findings);
    }
    if examined.contract.is_none() {
        findings.note(
            TOPIC,
            "FastAgency's Python tiers are not served: this login may not use their stream",
            "name a login that may in nats.python, if there are such tiers",
        );
    }
    match &examined.tools {
        None => {}
        Some(Ok(())) => findings.ok(TOPIC, "the login of nats.tools is let in".to_owned()),
        Some(Err(error)) => findings.fail(TOPIC, format!("nats.tools: {}", chain(error)), todo(error)),
    }
    sync_interval(monitor, settings.replicas as u64, findings).await;
    known(&examined, findings).await
}

/// Reports a server that cannot be used: an error where somebody named it, and else a note, whatever stands at the usual port.
fn unusable(error: &ConnectError, all: &EmbeddedProcess, findings: &mut DoctorFindings) {
    let (is_away, found) = match error {
        ConnectError::Unreachable { url, .. } => (true, format!("no NATS server is up at {url}")),
        _ => (false, chain(error)),
    };
    match &all.address {
        Some(address) if is_away || !all.wants_nats => {
            let folder = all.data_dir.display();
            findings.ok("store", format!("`fastagency all` runs at {address} and keeps everything in {folder}"));
            findings.note(TOPIC, found, "none is needed for `fastagency all`");
        }
        None if !all.wants_nats => {
            let todo = "none is needed for `fastagency all`; worker, gateway and ui apart need one (nats.url)";
            findings.note(TOPIC, found, todo);
        }
        _ => findings.fail(TOPIC, chain(error), todo(error)),
    }
}

fn permission(what: LoginPermission, may: &crate::broker::Result<()>, findings: &mut DoctorFindings) {
    const OF_ALL: &str = "let this user publish to fa.> (docs/explanation/broker.md lists what each tier needs)";
    const OF_THIS_VERSION: &str = "compare the server's permissions with nats-server.tiers.conf of this version (docs/how-to/upgrade.md); until then a new run costs a message more";
    let words = match what {
        LoginPermission::Append => "append records",
        LoginPermission::Start => "store the start of a run with its job",
        LoginPermission::CountNew => "count new runs",
        LoginPermission::SettleNew => "settle new runs",
    };
    match (may, what) {
        (Ok(()), _) => findings.ok(TOPIC, format!("we may {words}")),
        (Err(error), LoginPermission::Append) => {
            findings.fail(TOPIC, format!("we may not {words}: {}", chain(error)), OF_ALL)
        }
        (Err(error), _) => findings.warn(TOPIC, format!("we may not {words}: {}", chain(error)), OF_THIS_VERSION),
    }
}

/// What to do about a connection that does not come about.
fn todo(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Unreachable { .. } => {
            "start it (nats-server -c nats-server.conf), or set nats.url; `fastagency all` needs none"
        }
        ConnectError::Unauthorized { .. } => {
            "set nats.user and nats.password (or token, nkey_seed_file, credentials_file) to what the server knows"
        }
        ConnectError::NoJetStream { .. } => {
            "add `jetstream { store_dir: … }` to its configuration, or start it with -js"
        }
        ConnectError::TooOld { .. } => "update the server: scheduled messages came with 2.12",
        ConnectError::Tls { .. } => {
            "check nats.tls: the authority's file, the certificate, and that its name is the server's"
        }
        ConnectError::Credentials { .. } => "name a file that this user can read",
        ConnectError::Url { .. } => "write it like nats://127.0.0.1:4222",
        ConnectError::Setup { .. } => "look into the server's log: it is there, and does not do what was asked",
    }
}

fn clocks(examined: &ServerExamination, findings: &mut DoctorFindings) {
    match examined.ahead_millis {
        None => {}
        Some(ahead) if ahead.abs() <= CLOCKS_DIFFER => {
            findings.ok(TOPIC, format!("its clock and this machine's differ by {} ms", ahead.abs()));
        }
        Some(ahead) => {
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            findings.warn(
                TOPIC,
                format!("its clock is {:.1} s {direction} this machine's", ahead.abs() as f64 / 1e3),
                "let both keep time by NTP: timers and deadlines are read by each machine's own clock",
            );
        }
    }
}

fn storage(examined: &ServerExamination, findings: &mut DoctorFindings) {
    if let Some((limit, used)) = examined.storage
        && let Ok(limit) = u64::try_from(limit)
        && limit > 0
        && used.saturating_mul(100) / limit >= NEARLY_FULL
    {
        findings.warn(
            TOPIC,
            format!("the account may store {limit} bytes and has stored {used}"),
            "give the account more room, or keep ended runs for less long (keep_ended)",
        );
    }
    if examined.max_payload < 1 << 20 {
        findings.warn(
            TOPIC,
            format!("it takes messages of {} bytes at most", examined.max_payload),
            "set max_payload: 1MB or more; large replies of models are cut into pieces otherwise",
        );
    }
}

fn stream(name: &str, found: &Result<Option<StreamExamination>, Error>, replicas: u64, findings: &mut DoctorFindings) {
    let is_foreign = name == FASTAGENCY_STREAM;
    let stream = match found {
        Ok(Some(stream)) => stream,
        Ok(None) if name == RUNS_STREAM => {
            return findings.warn(
                TOPIC,
                format!("the stream {RUNS_STREAM} is missing"),
                "start a worker or a gateway: it makes the streams; where their logins may not, run `fastagency nats setup` with the operator's login",
            );
        }
        Ok(None) => return,
        Err(Error::Unavailable { .. }) if is_foreign => {
            return findings.warn(
                TOPIC,
                format!("the server that holds the stream {name} is away"),
                "Python's tiers stand still until it is back; our own go on (docs/explanation/broker.md)",
            );
        }
        Err(error) => {
            return findings.fail(
                TOPIC,
                format!("we may not look at the stream {name}: {}", chain(error)),
                "let this user publish to $JS.API.> and subscribe to _INBOX.> (docs/explanation/broker.md)",
            );
        }
    };
    if name == RUNS_STREAM {
        let limit = match u64::try_from(stream.max_bytes).ok().filter(|limit| *limit > 0) {
            Some(limit) => format!("of {limit} bytes"),
            None => "and may grow as far as the disk".to_owned(),
        };
        findings.ok(TOPIC, format!("the runs take {} bytes {limit}, in {}", stream.bytes, copies(stream.replicas)));
    }
    let full = u64::try_from(stream.max_bytes).ok().filter(|limit| *limit > 0);
    if let Some(limit) = full
        && stream.bytes.saturating_mul(100) / limit >= NEARLY_FULL
    {
        findings.warn(
            TOPIC,
            format!("the stream {name} holds {} of {limit} bytes", stream.bytes),
            format!("nats stream edit {name} --max-bytes …, or keep ended runs for less long (keep_ended)"),
        );
    }
    if !is_foreign && stream.storage != "file" {
        findings.fail(
            TOPIC,
            format!("the stream {name} is kept in memory only"),
            "a restart of the server loses every run: make it anew with file storage",
        );
    }
    if !is_foreign && stream.max_age > 0 {
        findings.fail(
            TOPIC,
            format!("the stream {name} throws messages away after {:?}", Duration::from_nanos(stream.max_age)),
            format!("nats stream edit {name} --max-age 0: what is thrown away cannot be gone on with"),
        );
    }
    if !is_foreign && stream.replicas < replicas {
        findings.warn(
            TOPIC,
            format!("the stream {name} has {}, and nats.replicas is {replicas}", copies(stream.replicas)),
            format!("nats stream edit {name} --replicas {replicas}"),
        );
    }
    if is_foreign && replicas > 1 && stream.replicas < 2 {
        findings.warn(
            TOPIC,
            format!("the stream {name} has one copy, as FastAgency's Python worker makes it"),
            "while its server is away, Python's tiers stand still, and our own go on (docs/explanation/broker.md)",
        );
    }
    if stream.behind > 0 {
        findings.warn(
            TOPIC,
            match stream.behind {
                1 => format!("one copy of the stream {name} is behind or away"),
                behind => format!("{behind} copies of the stream {name} are behind or away"),
            },
            "look at the servers of the cluster: nats server report jetstream",
        );
    }
}

/// `one copy`, `3 copies`.
fn copies(count: u64) -> String {
    if count == 1 { "one copy".to_owned() } else { format!("{count} copies") }
}

/// When the server writes to the disk what it has acknowledged, which only its monitoring tells.
async fn sync_interval(monitor: &str, replicas: u64, findings: &mut DoctorFindings) {
    let asked = async {
        let client = crate::model::http_client().ok()?;
        let url = format!("{}/jsz", monitor.trim_end_matches('/'));
        let answer = client.get(url).timeout(MONITOR_WAIT).send().await.ok()?;
        crate::bounds::parse::<Value>(&answer.bytes().await.ok()?).ok()
    };
    match asked.await {
        Some(jsz) => written(&jsz["config"], replicas, findings),
        None => findings.warn(
            TOPIC,
            "when the server writes to the disk is not known: its monitoring does not answer",
            "add `http: 127.0.0.1:8222` to its configuration, or name it with --nats-monitor",
        ),
    }
}

/// What is lost with the power of a machine, by the server's `jetstream` settings.
fn written(config: &Value, replicas: u64, findings: &mut DoctorFindings) {
    let every = config["sync_interval"].as_u64().map(Duration::from_nanos);
    let lost = |every: Duration| {
        format!("it writes to the disk every {every:?}: what came since is lost if the machine loses its power")
    };
    match (config["sync_always"].as_bool().unwrap_or(false), every) {
        (true, _) => findings.ok(TOPIC, "it writes to the disk before it acknowledges (sync_interval: always)"),
        (false, Some(every)) if replicas >= ENOUGH_COPIES => {
            findings.ok(TOPIC, format!("it writes to the disk every {every:?}, and {replicas} servers have a copy"));
        }
        (false, Some(every)) if every <= RECOMMENDED_SYNC => {
            findings.note(TOPIC, lost(every), "`sync_interval: always` loses nothing, and is 6 to 8 times slower");
        }
        (false, Some(every)) => findings.warn(
            TOPIC,
            lost(every),
            "set `jetstream { sync_interval: 1s }`, or `always`, or have three servers and nats.replicas: 3",
        ),
        (false, None) => {}
    }
}

/// Who is there.
async fn known(examined: &ServerExamination, findings: &mut DoctorFindings) -> KnownTiers {
    let mut known = KnownTiers { asked: true, ..KnownTiers::default() };
    let bucket_is_there = |bucket: Bucket| {
        let name = crate::broker::subjects::bucket_stream(&crate::broker::subjects::bucket_name(bucket));
        matches!(examined.streams.get(&name), Some(Ok(Some(_))))
    };
    let mut ours = Vec::new();
    if bucket_is_there(Bucket::Workers) && bucket_is_there(Bucket::Workflows) {
        let workers = examined.catalogue.list(Bucket::Workers, None).await;
        let workflows = examined.catalogue.list(Bucket::Workflows, None).await;
        match (workers, workflows) {
            (Ok(workers), Ok(workflows)) => {
                known.workers = workers.iter().filter_map(|entry| crate::bounds::parse(&entry.value).ok()).collect();
                let cards =
                    workflows.iter().filter_map(|entry| crate::bounds::parse::<WorkflowCard>(&entry.value).ok());
                ours.extend(cards.map(|card| card.name.to_string()));
            }
            (Err(error), _) | (_, Err(error)) => findings.fail(
                TOPIC,
                format!("the catalogue cannot be read: {}", chain(&error)),
                "let this user publish to $JS.API.> (docs/explanation/broker.md)",
            ),
        }
    }
    if matches!(examined.streams.get(FASTAGENCY_STREAM), Some(Ok(Some(_))))
        && let Some(contract) = &examined.contract
        && let Ok(found) = contract.discovered().await
    {
        known.foreign = found.into_iter().map(|found| found.name).filter(|name| !ours.contains(name)).collect();
    }
    known
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::FindingLevel;
    use super::*;

    #[test]
    fn the_interval_of_the_shipped_file_is_no_warning() {
        let level = |config: Value, replicas: u64| {
            let mut findings = DoctorFindings::default();
            written(&config, replicas, &mut findings);
            (findings.worst(), findings.to_string())
        };
        let every = |seconds: u64| json!({"sync_interval": seconds * 1_000_000_000});
        for shipped in [include_str!("../../../nats-server.conf"), include_str!("../../../nats-server.tiers.conf")] {
            assert!(shipped.contains("sync_interval: 1s"));
        }
        let (shipped, words) = level(every(1), 1);
        assert_eq!(shipped, FindingLevel::Note, "{words}");
        assert!(words.contains("every 1s: what came since is lost") && words.ends_with("no errors, no warnings"));
        assert_eq!(level(every(120), 1).0, FindingLevel::Warning);
        assert_eq!(level(every(120), 3).0, FindingLevel::Ok);
        assert_eq!(level(json!({"sync_always": true}), 1).0, FindingLevel::Ok);
    }

    #[test]
    fn a_server_that_nobody_named_is_no_error_whatever_it_says() {
        let found = |wants_nats: bool, address: Option<&str>| {
            let mut findings = DoctorFindings::default();
            let all = EmbeddedProcess { address: address.map(str::to_owned), data_dir: "data".into(), wants_nats };
            let error = ConnectError::Unauthorized { url: "nats://127.0.0.1:4222".into(), who: "us".into() };
            unusable(&error, &all, &mut findings);
            (findings.worst(), findings.to_string())
        };
        for address in [None, Some("http://127.0.0.1:8008")] {
            let (level, words) = found(false, address);
            assert_eq!(level, FindingLevel::Note, "{words}");
            assert!(words.contains("does not let") && words.contains("none is needed for `fastagency all`"), "{words}");
            assert_eq!(found(true, address).0, FindingLevel::Error);
        }
    }
}
